// SPDX-License-Identifier: LGPL-2.1-or-later
/* The table of verbs against the protocol's own list, and what each row lets through: tests made from the table. */
#include "agent/session/parameters.h"
#include "agent/session/verbs.h"
#include "common/memory.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "scratch.h"

#define VM     "6c1f8a8e-0f4e-4b3c-9d5e-0a1b2c3d4e5f"
#define SOURCE "11111111-2222-4333-8444-555555555555"
#define SHA256 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// ---- requests that pass, one for each verb

static char *text(const char *from) {
        return memory_string(from);
}

static ProtobufCBinaryData blob(const char *from) {
        return (ProtobufCBinaryData){.len = strlen(from), .data = (uint8_t *) memory_string(from)};
}

static char **one_text(const char *from) {
        char **list = new_array(char *, 1);
        list[0] = text(from);
        return list;
}

static Drover__MoveDisk *new_disk(void) {
        Drover__MoveDisk *disk = new (Drover__MoveDisk);
        drover__move_disk__init(disk);
        disk->target = text("vda");
        disk->format = text("qcow2");
        disk->pool = text("default");
        disk->volume = text("erp.qcow2");
        return disk;
}

static Drover__MoveDisk **one_disk(void) {
        Drover__MoveDisk **disks = new_array(Drover__MoveDisk *, 1);
        disks[0] = new_disk();
        return disks;
}

static Drover__TransferOrder *new_order(void) {
        Drover__TransferOrder *order = new (Drover__TransferOrder);
        drover__transfer_order__init(order);
        order->ticket = blob("ticket");
        order->peer_address = text("2001:db8::1");
        order->peer_port = 7444;
        return order;
}

static void fill_verb(Drover__AgentRequest *request, const struct verb *verb) {
        const ProtobufCMessageDescriptor *descriptor = request->base.descriptor;
        const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(descriptor, verb->verb);
        const ProtobufCMessageDescriptor *type = field->descriptor;
        ProtobufCMessage *message = memory_new(type->sizeof_message);
        type->message_init(message);
        request->verb_case = verb->verb;
        *(ProtobufCMessage **) ((char *) request + field->offset) = message;
}

static void fill_reserve(Drover__MoveReserve *reserve) {
        reserve->vm_name = text("erp");
        reserve->n_disks = reserve->n_macs = reserve->n_bridges = reserve->n_networks = 1;
        reserve->disks = one_disk();
        reserve->macs = one_text("52:54:00:12:34:56");
        reserve->bridges = one_text("br0");
        reserve->networks = one_text("default");
}

static void fill_define(Drover__MoveDefine *define) {
        define->vm_name = text("erp");
        define->n_disks = define->n_bridges = define->n_snapshot_xml = 1;
        define->disks = one_disk();
        define->bridges = new_array(Drover__NameMap *, 1);
        define->bridges[0] = new (Drover__NameMap);
        drover__name_map__init(define->bridges[0]);
        define->bridges[0]->from = text("br0");
        define->bridges[0]->to = text("br1");
        define->definition_xml = blob("<domain/>");
        define->snapshot_xml = new_array(ProtobufCBinaryData, 1);
        define->snapshot_xml[0] = blob("<domainsnapshot/>");
        define->identity = new (Drover__CloneIdentity);
        drover__clone_identity__init(define->identity);
        define->identity->uuid = text(VM);
        define->identity->n_macs = 1;
        define->identity->macs = new_array(Drover__NameMap *, 1);
        define->identity->macs[0] = new (Drover__NameMap);
        drover__name_map__init(define->identity->macs[0]);
        define->identity->macs[0]->from = text("52:54:00:12:34:56");
        define->identity->macs[0]->to = text("02:00:00:12:34:56");
}

static void fill_parameters(Drover__AgentRequest *request) {
        switch (request->verb_case) {
        case DROVER__AGENT_REQUEST__VERB_DOMAIN_POWER:
                request->domain_power->action = DROVER__POWER_ACTION__POWER_START;
                break;
        case DROVER__AGENT_REQUEST__VERB_MOVE_INSPECT:
                request->move_inspect->definition_sha256 = text(SHA256);
                break;
        case DROVER__AGENT_REQUEST__VERB_MOVE_RESERVE:
                fill_reserve(request->move_reserve);
                break;
        case DROVER__AGENT_REQUEST__VERB_MOVE_FENCE:
                request->move_fence->definition_sha256 = text(SHA256);
                request->move_fence->n_targets = 1;
                request->move_fence->targets = one_text("vda");
                break;
        case DROVER__AGENT_REQUEST__VERB_TRANSFER_SEND:
                request->transfer_send->order = new_order();
                request->transfer_send->target = text("vda");
                break;
        case DROVER__AGENT_REQUEST__VERB_TRANSFER_RECEIVE:
                request->transfer_receive->order = new_order();
                request->transfer_receive->disk = new_disk();
                break;
        case DROVER__AGENT_REQUEST__VERB_MOVE_DEFINE:
                fill_define(request->move_define);
                break;
        case DROVER__AGENT_REQUEST__VERB_MOVE_VERIFY:
                request->move_verify->vm_name = text("erp");
                request->move_verify->n_disks = request->move_verify->n_digests = 1;
                request->move_verify->disks = one_disk();
                request->move_verify->digests = one_text("d2:" SHA256);
                break;
        case DROVER__AGENT_REQUEST__VERB_CLONE_HOLD:
                request->clone_hold->source_uuid = text(SOURCE);
                request->clone_hold->n_targets = 1;
                request->clone_hold->targets = one_text("vda");
                break;
        case DROVER__AGENT_REQUEST__VERB_CLONE_LOCAL:
                request->clone_local->source_uuid = text(SOURCE);
                request->clone_local->disk = new_disk();
                break;
        case DROVER__AGENT_REQUEST__VERB_CLONE_CONFIRM:
                request->clone_confirm->source_uuid = text(SOURCE);
                request->clone_confirm->n_targets = 1;
                request->clone_confirm->targets = one_text("vda");
                break;
        case DROVER__AGENT_REQUEST__VERB_IDENTITY_RESET:
                request->identity_reset->host_name = text("web-7.example.org");
                break;
        case DROVER__AGENT_REQUEST__VERB_MOVE_REVIVE:
                request->move_revive->retired_job = text("job0");
                break;
        case DROVER__AGENT_REQUEST__VERB_MOVE_UNREVIVE:
                request->move_unrevive->retired_job = text("job0");
                break;
        case DROVER__AGENT_REQUEST__VERB_RETIRED_PURGE:
                request->retired_purge->retired_job = text("job0");
                break;
        case DROVER__AGENT_REQUEST__VERB_TRANSFER_RATE:
                request->transfer_rate->step = text("send vda");
                break;
        case DROVER__AGENT_REQUEST__VERB_CANCEL_STEP:
                request->cancel_step->step = text("send vda");
                break;
        default:
                break;
        }
}

static Drover__AgentRequest *new_request(const struct verb *verb) {
        Drover__AgentRequest *request = new (Drover__AgentRequest);
        drover__agent_request__init(request);
        request->id = 1;
        request->job = text("job1");
        request->step = text("step");
        request->vm_uuid = text(VM);
        request->attempt = 1;
        request->epoch = 3;
        fill_verb(request, verb);
        fill_parameters(request);
        return request;
}

// ---- the table

static void every_member_of_the_protocol_has_one_row(void **state) {
        (void) state;
        size_t n_rows;
        const struct verb *rows = verbs_table(&n_rows);
        const ProtobufCMessageDescriptor *descriptor = &drover__agent_request__descriptor;
        unsigned n_members = 0;
        for (unsigned i = 0; i < descriptor->n_fields; i++) {
                const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
                if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
                        continue;
                const struct verb *row = verbs_find((Drover__AgentRequest__VerbCase) field->id);
                assert_non_null(row);
                assert_string_equal(row->name, field->name);
                n_members++;
        }
        assert_int_equal(n_rows, n_members);
        for (size_t i = 0; i < n_rows; i++)
                assert_true(rows[i].thread == VERB_LOOP ? !rows[i].run : rows[i].run != NULL);
        assert_null(verbs_find(DROVER__AGENT_REQUEST__VERB__NOT_SET));
}

static void what_a_file_system_can_keep_waiting_takes_no_thread_of_the_pool(void **state) {
        (void) state;
        assert_int_equal(verbs_find(DROVER__AGENT_REQUEST__VERB_MOVE_RESERVE)->thread, VERB_THREAD);
}

static void a_request_as_it_should_be_passes(void **state) {
        (void) state;
        size_t n;
        const struct verb *rows = verbs_table(&n);
        for (size_t i = 0; i < n; i++) {
                struct error err = ERROR_INIT;
                Drover__AgentRequest *request = new_request(&rows[i]);
                if (verbs_check(&rows[i], request, &err) < 0)
                        fail_msg("%s", err.message);
                proto_free(&request->base);
        }
}

static void set_text(char **member, const char *value) {
        free(*member);
        *member = text(value);
}

static void what_a_row_requires_cannot_be_left_out(void **state) {
        (void) state;
        size_t n;
        const struct verb *rows = verbs_table(&n);
        for (size_t i = 0; i < n; i++) {
                Drover__AgentRequest *request = new_request(&rows[i]);
                set_text(&request->job, "");
                bool wants_job = rows[i].flags & VERB_JOB || rows[i].thread == VERB_LOOP;
                assert_int_equal(verbs_check(&rows[i], request, NULL), wants_job ? -1 : 0);
                set_text(&request->job, "job1");
                request->epoch = 0;
                assert_int_equal(verbs_check(&rows[i], request, NULL), rows[i].flags & VERB_EPOCH ? -1 : 0);
                set_text(&request->vm_uuid, "");
                assert_int_equal(verbs_check(&rows[i], request, NULL), rows[i].flags & (VERB_VM | VERB_EPOCH) ? -1 : 0);
                proto_free(&request->base);
        }
}

// ---- names: every text of every request is tried with what must not pass

static char long_name[4097];
static const char *const bad_names[] = {"../x", "a/b", "a\nb", "-rf", "..", long_name};

// Texts that are free or that a row does not read.
static bool is_ignored(const ProtobufCFieldDescriptor *field, const Drover__AgentRequest *request) {
        bool at_once = request->verb_case == DROVER__AGENT_REQUEST__VERB_CANCEL_STEP ||
                       request->verb_case == DROVER__AGENT_REQUEST__VERB_TRANSFER_RATE;
        return !strcmp(field->name, "step") && at_once && field == &drover__agent_request__descriptor.fields[2];
}

static void try_message(const struct verb *verb, const Drover__AgentRequest *request, ProtobufCMessage *message);

static void try_text(const struct verb *verb, const Drover__AgentRequest *request, const char *name, char **member) {
        char *kept = *member;
        for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++) {
                struct error err = ERROR_INIT;
                *member = (char *) bad_names[i];
                if (verbs_check(verb, request, &err) == 0)
                        fail_msg("%s: %s = \"%.20s\" passes", verb->name, name, bad_names[i]);
                assert_int_equal(err.code, ERROR_INVALID);
        }
        *member = kept;
}

static void try_field(const struct verb *verb, const Drover__AgentRequest *request, ProtobufCMessage *message,
                      const ProtobufCFieldDescriptor *field) {
        bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
        char *member = (char *) message + field->offset;
        size_t n = repeated ? *(size_t *) ((char *) message + field->quantifier_offset) : 1;
        if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF &&
            *(uint32_t *) ((char *) message + field->quantifier_offset) != field->id)
                return;
        for (size_t i = 0; i < n; i++) {
                char *place = repeated ? *(char **) member + i * sizeof(void *) : member;
                if (field->type == PROTOBUF_C_TYPE_STRING && !is_ignored(field, request))
                        try_text(verb, request, field->name, (char **) place);
                else if (field->type == PROTOBUF_C_TYPE_MESSAGE)
                        try_message(verb, request, *(ProtobufCMessage **) place);
        }
}

static void try_message(const struct verb *verb, const Drover__AgentRequest *request, ProtobufCMessage *message) {
        for (unsigned i = 0; message && i < message->descriptor->n_fields; i++)
                try_field(verb, request, message, &message->descriptor->fields[i]);
}

static void fault_48_no_text_of_any_request_lets_a_bad_name_through(void **state) {
        (void) state;
        size_t n;
        const struct verb *rows = verbs_table(&n);
        memset(long_name, 'a', sizeof long_name - 1);
        for (size_t i = 0; i < n; i++) {
                Drover__AgentRequest *request = new_request(&rows[i]);
                try_message(&rows[i], request, &request->base);
                proto_free(&request->base);
        }
}

static void a_bad_name_is_named_in_the_refusal(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        const struct verb *verb = verbs_find(DROVER__AGENT_REQUEST__VERB_MOVE_RESERVE);
        Drover__AgentRequest *request = new_request(verb);
        set_text(&request->move_reserve->disks[0]->format, "vmdk");
        assert_int_equal(verbs_check(verb, request, &err), -1);
        assert_error(err, ERROR_INVALID, "request move_reserve: format is neither qcow2 nor raw");
        set_text(&request->move_reserve->disks[0]->format, "raw");
        set_text(&request->move_reserve->macs[0], "52:54:00:12:34");
        assert_int_equal(verbs_check(verb, request, &err), -1);
        assert_error(err, ERROR_INVALID, "request move_reserve: macs: not a MAC address of the form 52:54:00:12:34:56");
        proto_free(&request->base);
}

static void fault_57_a_host_name_is_never_an_option_of_a_program(void **state) {
        (void) state;
        static const char *const bad[] = {"-x", "--run=x", "a;b", "a b", "a/b"};
        struct error err = ERROR_INIT;
        const struct verb *verb = verbs_find(DROVER__AGENT_REQUEST__VERB_IDENTITY_RESET);
        Drover__AgentRequest *request = new_request(verb);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                set_text(&request->identity_reset->host_name, bad[i]);
                assert_int_equal(verbs_check(verb, request, &err), -1);
        }
        assert_error(err, ERROR_INVALID,
                     "request identity_reset: host_name: \"a/b\" is not a host name that a guest can have (RFC 1123)");
        proto_free(&request->base);
}

// ---- bounds

static void refuse_changed(int verb_case, void (*change)(Drover__AgentRequest *request), const char *message) {
        struct error err = ERROR_INIT;
        const struct verb *verb = verbs_find((Drover__AgentRequest__VerbCase) verb_case);
        Drover__AgentRequest *request = new_request(verb);
        change(request);
        assert_int_equal(verbs_check(verb, request, &err), -1);
        assert_error(err, ERROR_INVALID, message);
        proto_free(&request->base);
}

static void long_timeout(Drover__AgentRequest *request) {
        request->domain_power->timeout_seconds = 86401;
}
static void no_action(Drover__AgentRequest *request) {
        request->domain_power->action = DROVER__POWER_ACTION__POWER_ACTION_UNSPECIFIED;
}
static void disk_twice(Drover__AgentRequest *request) {
        Drover__MoveReserve *reserve = request->move_reserve;
        reserve->disks = memory_grow(reserve->disks, 2, sizeof *reserve->disks);
        reserve->disks[reserve->n_disks++] = new_disk();
}
static void many_targets(Drover__AgentRequest *request) {
        Drover__MoveFence *fence = request->move_fence;
        fence->targets = memory_grow(fence->targets, 65, sizeof *fence->targets);
        while (fence->n_targets < 65)
                fence->targets[fence->n_targets++] = text("vdb");
}
static void no_ticket(Drover__AgentRequest *request) {
        request->transfer_send->order->ticket.len = 0;
}
static void bad_port(Drover__AgentRequest *request) {
        request->transfer_receive->order->peer_port = 65536;
}
// Its length is what another host says, and nothing was reserved for it.
static void large_nvram(Drover__AgentRequest *request) {
        request->transfer_receive->item = DROVER__TRANSFER_ITEM__TRANSFER_ITEM_NVRAM;
        request->transfer_receive->disk->file_bytes = (64u << 20) + 1;
}
static void large_nvram_reserved(Drover__AgentRequest *request) {
        request->move_reserve->nvram_bytes = (64u << 20) + 1;
}
static void few_digests(Drover__AgentRequest *request) {
        free(request->move_verify->digests[0]);
        request->move_verify->n_digests = 0;
}
static void nothing_to_purge(Drover__AgentRequest *request) {
        set_text(&request->retired_purge->retired_job, "");
}
static void nul_in_xml(Drover__AgentRequest *request) {
        request->move_define->definition_xml.data[3] = 0;
}

static void what_is_out_of_bounds_is_refused(void **state) {
        (void) state;
        refuse_changed(DROVER__AGENT_REQUEST__VERB_DOMAIN_POWER, long_timeout,
                       "request domain_power: timeout_seconds is over 86400");
        refuse_changed(DROVER__AGENT_REQUEST__VERB_DOMAIN_POWER, no_action,
                       "request domain_power: action 0 is not known here");
        refuse_changed(DROVER__AGENT_REQUEST__VERB_MOVE_RESERVE, disk_twice,
                       "request move_reserve: disk target vda is there twice");
        refuse_changed(DROVER__AGENT_REQUEST__VERB_MOVE_FENCE, many_targets,
                       "request move_fence: targets: 65 of them; at most 64 are allowed");
        refuse_changed(DROVER__AGENT_REQUEST__VERB_TRANSFER_SEND, no_ticket,
                       "request transfer_send: ticket: 0 bytes; 1 to 4096 are allowed");
        refuse_changed(DROVER__AGENT_REQUEST__VERB_TRANSFER_RECEIVE, bad_port,
                       "request transfer_receive: peer_port is out of range");
        refuse_changed(DROVER__AGENT_REQUEST__VERB_MOVE_VERIFY, few_digests,
                       "request move_verify: 0 digests for 1 disks");
        refuse_changed(DROVER__AGENT_REQUEST__VERB_RETIRED_PURGE, nothing_to_purge,
                       "request retired_purge: neither all nor retired_job is given");
        refuse_changed(DROVER__AGENT_REQUEST__VERB_MOVE_DEFINE, nul_in_xml,
                       "request move_define: definition_xml holds a NUL byte");
}

static void fault_55_an_nvram_file_larger_than_any_flash_is_refused(void **state) {
        (void) state;
        refuse_changed(DROVER__AGENT_REQUEST__VERB_MOVE_RESERVE, large_nvram_reserved,
                       "request move_reserve: nvram_bytes is out of range");
        refuse_changed(DROVER__AGENT_REQUEST__VERB_TRANSFER_RECEIVE, large_nvram,
                       "request transfer_receive: the NVRAM is larger than 67108864 bytes");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_member_of_the_protocol_has_one_row),
                cmocka_unit_test(what_a_file_system_can_keep_waiting_takes_no_thread_of_the_pool),
                cmocka_unit_test(a_request_as_it_should_be_passes),
                cmocka_unit_test(what_a_row_requires_cannot_be_left_out),
                cmocka_unit_test(fault_48_no_text_of_any_request_lets_a_bad_name_through),
                cmocka_unit_test(a_bad_name_is_named_in_the_refusal),
                cmocka_unit_test(fault_57_a_host_name_is_never_an_option_of_a_program),
                cmocka_unit_test(what_is_out_of_bounds_is_refused),
                cmocka_unit_test(fault_55_an_nvram_file_larger_than_any_flash_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
