// SPDX-License-Identifier: LGPL-2.1-or-later
/* The table of verbs: who may ask for what. The tests of fault 42 are made from the table itself. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "controller_scene.h"
#include "controller/session/verbs.h"

// ---- made from the table

static const ProtobufCFieldDescriptor *field_of(const struct verb *verb) {
        return protobuf_c_message_descriptor_get_field(&drover__operator_request__descriptor, verb->verb_case);
}

static bool is_verb(const ProtobufCFieldDescriptor *field) {
        return field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
}

// An empty message of the verb's type, set in the request. Freed with free().
static ProtobufCMessage *set_verb(Drover__OperatorRequest *request, const struct verb *verb) {
        const ProtobufCFieldDescriptor *field = field_of(verb);
        const ProtobufCMessageDescriptor *type = field->descriptor;
        ProtobufCMessage *message = memory_new(type->sizeof_message);
        protobuf_c_message_init(type, message);
        memcpy((uint8_t *) request + field->offset, &message, sizeof(message));
        request->verb_case = verb->verb_case;
        return message;
}

static void each_verb_has_exactly_one_row(void **state) {
        (void) state;
        const ProtobufCMessageDescriptor *type = &drover__operator_request__descriptor;
        size_t n, n_verbs = 0;
        const struct verb *table = verbs_table(&n);
        for (unsigned i = 0; i < type->n_fields; i++) {
                unsigned rows = 0;
                if (!is_verb(&type->fields[i]))
                        continue;
                n_verbs++;
                for (size_t k = 0; k < n; k++)
                        rows += (uint32_t) table[k].verb_case == type->fields[i].id;
                if (rows != 1)
                        fail_msg("%s has %u rows", type->fields[i].name, rows);
        }
        assert_int_equal(n, n_verbs);
        for (size_t k = 0; k < n; k++) {
                assert_non_null(table[k].run);
                assert_true(table[k].role >= ROLE_VIEWER && table[k].role <= ROLE_ADMIN);
                assert_ptr_equal(verbs_find(table[k].verb_case), &table[k]);
        }
        assert_null(verbs_find(DROVER__OPERATOR_REQUEST__VERB__NOT_SET));
}

static unsigned runs;

static int count_run(struct verb_call *call, struct error *err) {
        (void) err;
        call->answered = true;
        runs++;
        return 0;
}

static struct session *session_new_for_calls(void) {
        struct session_config config = {.loop = &scene.loop,
                                        .store = controller_store(scene.controller),
                                        .fleet = scene_fleet(),
                                        .authority = scene_authority(),
                                        .runner = controller_runner(scene.controller),
                                        .clock = &system_clock,
                                        .limits = scene.limits};
        struct error err = ERROR_INIT;
        struct session *session;
        must(session_new(&config, &session, &err), &err);
        return session;
}

static int call_as(struct session *session, const struct verb *row, enum role role, const char *sites,
                   struct error *err) {
        Drover__OperatorRequest request = DROVER__OPERATOR_REQUEST__INIT;
        ProtobufCMessage *message = set_verb(&request, row);
        struct verb counted = *row;
        counted.run = count_run;
        struct verb_call call = {.session = session,
                                 .request = &request,
                                 .verb = &counted,
                                 .user = "bob",
                                 .address = "192.0.2.7",
                                 .role = role};
        snprintf(call.sites, sizeof(call.sites), "%s", sites);
        error_clear(err);
        int r = verbs_run(&call, err);
        free(message);
        return r;
}

static void assert_newest_audit(const char *outcome, const char *role, const char *message) {
        struct error err = ERROR_INIT;
        struct store_audit *rows;
        unsigned n;
        must(store_audits(controller_store(scene.controller), 1, &rows, &n, &err), &err);
        assert_int_equal(n, 1);
        assert_string_equal(rows[0].user, "bob");
        assert_string_equal(rows[0].role, role);
        assert_string_equal(rows[0].address, "192.0.2.7");
        assert_string_equal(rows[0].outcome, outcome);
        assert_string_equal(rows[0].message, message);
        store_audit_fini(&rows[0]);
        free(rows);
}

static void fault_42_every_verb_is_denied_to_every_role_below_its_own(void **state) {
        (void) state;
        static const char *const with_article[] = {"a none", "a viewer", "an operator"};
        struct error err = ERROR_INIT;
        size_t n;
        const struct verb *table = verbs_table(&n);
        scene_start();
        struct session *session = session_new_for_calls();
        for (size_t i = 0; i < n; i++)
                for (enum role role = ROLE_NONE; role < table[i].role; role++) {
                        char text[128];
                        snprintf(text, sizeof(text), "bob is %s; `%s` needs %s", with_article[role], table[i].name,
                                 role_word(table[i].role));
                        runs = 0;
                        assert_int_equal(call_as(session, &table[i], role, "", &err), -1);
                        assert_error(err, ERROR_DENIED, text);
                        assert_int_equal(runs, 0);
                        assert_newest_audit("denied", role_word(role), text);
                }
        session_free(session);
}

static void the_role_that_a_verb_needs_is_enough_for_it(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        size_t n;
        const struct verb *table = verbs_table(&n);
        scene_start();
        struct session *session = session_new_for_calls();
        for (size_t i = 0; i < n; i++) {
                runs = 0;
                int r = call_as(session, &table[i], table[i].role, "", &err);
                if (r < 0) // an empty name, and nothing worse
                        assert_int_equal(err.code, ERROR_INVALID);
                assert_int_equal(runs, r == 0);
        }
        session_free(session);
}

static void fault_42_verbs_about_the_whole_fleet_are_denied_to_who_is_limited_to_a_site(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        size_t n;
        unsigned seen = 0;
        const struct verb *table = verbs_table(&n);
        scene_start();
        struct session *session = session_new_for_calls();
        for (size_t i = 0; i < n; i++) {
                char text[160];
                struct verb row = table[i];
                if (row.object != VERB_ALL)
                        continue;
                row.check = NULL;
                seen++;
                runs = 0;
                snprintf(text, sizeof(text), "bob may act at lyon only; `%s` is about the whole fleet", row.name);
                assert_int_equal(call_as(session, &row, ROLE_ADMIN, "lyon", &err), -1);
                assert_error(err, ERROR_DENIED, text);
                assert_int_equal(runs, 0);
        }
        assert_true(seen >= 4);
        session_free(session);
}

// ---- the same over the wire

static void fault_42_every_verb_is_denied_over_the_wire_to_every_lower_role(void **state) {
        (void) state;
        size_t n;
        const struct verb *table = verbs_table(&n);
        scene_start();
        for (enum role role = ROLE_VIEWER; role < ROLE_ADMIN; role++) {
                struct member user = new_user(role_word(role), role, "");
                struct peer peer;
                log_in(&peer, &user);
                for (size_t i = 0; i < n; i++) {
                        Drover__OperatorRequest request = DROVER__OPERATOR_REQUEST__INIT;
                        if (table[i].role <= role)
                                continue;
                        ProtobufCMessage *message = set_verb(&request, &table[i]);
                        const Drover__OperatorReply *reply = ask(&peer, &request);
                        assert_non_null(reply->failure);
                        assert_int_equal(reply->failure->code, ERROR_DENIED);
                        assert_int_equal(error_exit_code(ERROR_DENIED), 4);
                        assert_true(reply->last);
                        free(message);
                }
                hang_up(&peer);
                member_fini(&user);
        }
}

// What can be reached without a certificate is drover-join/1, and there is no verb in it.
static void fault_42_every_verb_is_refused_without_a_certificate(void **state) {
        (void) state;
        size_t n;
        const struct verb *table = verbs_table(&n);
        struct peer peer;
        scene_start();
        dial(&peer, TLS_ALPN_OPERATOR, NULL);
        RUN_UNTIL(peer.closed);
        assert_int_equal(peer.why.code, ERROR_DENIED); // by the TLS session itself
        assert_int_equal(peer.n, 0);
        hang_up(&peer);
        for (size_t i = 0; i < n; i++) {
                Drover__OperatorRequest request = DROVER__OPERATOR_REQUEST__INIT;
                ProtobufCMessage *message = set_verb(&request, &table[i]);
                dial(&peer, TLS_ALPN_JOIN, NULL);
                send_request(&peer, &request);
                assert_int_equal(last_words(&peer)->code, ERROR_PROTOCOL);
                free(message);
                hang_up(&peer);
        }
        struct error err = ERROR_INIT;
        struct store_audit *rows = NULL;
        unsigned records;
        must(store_audits(controller_store(scene.controller), 0, &rows, &records, &err), &err);
        assert_int_equal(records, 0);
        free(rows);
}

static void a_verb_of_the_future_is_refused_by_name(void **state) {
        (void) state;
        struct member user = {0};
        struct peer peer;
        Drover__OperatorRequest request = DROVER__OPERATOR_REQUEST__INIT;
        scene_start();
        user = new_user("ann", ROLE_ADMIN, "");
        log_in(&peer, &user);
        assert_refused(ask(&peer, &request), ERROR_VERSION,
                       "this controller (" DROVER_VERSION ") does not know the verb that was asked for");
        hang_up(&peer);
        member_fini(&user);
}

// ---- names

static const char *const name_fields[] = {"name", "vm", "host", "site", "id"};
static const char *const bad_names[] = {"../etc",  "a/../../b", "a/b/c/d",  "-rf",  "new\nline",
                                        ".hidden", "a\tb",      "\xff\xfe", "a//b", "/"};

static bool is_name(const ProtobufCFieldDescriptor *field) {
        for (size_t i = 0; i < sizeof(name_fields) / sizeof(*name_fields); i++)
                if (field->type == PROTOBUF_C_TYPE_STRING && field->label != PROTOBUF_C_LABEL_REPEATED &&
                    strcmp(field->name, name_fields[i]) == 0)
                        return true;
        return false;
}

static unsigned refuse_names(struct session *session, const struct verb *row, const char *name) {
        const ProtobufCMessageDescriptor *type = field_of(row)->descriptor;
        unsigned refused = 0;
        for (unsigned i = 0; i < type->n_fields; i++) {
                Drover__OperatorRequest request = DROVER__OPERATOR_REQUEST__INIT;
                struct error err = ERROR_INIT;
                if (!is_name(&type->fields[i]))
                        continue;
                ProtobufCMessage *message = set_verb(&request, row);
                for (unsigned k = 0; k < type->n_fields; k++) { // the others are good
                        const char *value = k == i ? name : "good";
                        if (is_name(&type->fields[k]))
                                memcpy((uint8_t *) message + type->fields[k].offset, &value, sizeof(value));
                }
                struct verb counted = *row;
                counted.run = count_run;
                struct verb_call call = {.session = session,
                                         .request = &request,
                                         .verb = &counted,
                                         .user = "bob",
                                         .address = "192.0.2.7",
                                         .role = ROLE_ADMIN};
                runs = 0;
                assert_int_equal(verbs_run(&call, &err), -1);
                if (err.code != ERROR_INVALID)
                        fail_msg("`%s` took %s \"%s\": %s", row->name, type->fields[i].name, name, err.message);
                assert_int_equal(runs, 0);
                free(message);
                refused++;
        }
        return refused;
}

static void fault_48_names_in_every_verb_are_refused_before_they_are_looked_up(void **state) {
        (void) state;
        size_t n;
        unsigned refused = 0;
        const struct verb *table = verbs_table(&n);
        char *lengthy = memory_new(4097);
        memset(lengthy, 'a', 4096);
        scene_start();
        struct session *session = session_new_for_calls();
        for (size_t i = 0; i < n; i++) {
                for (size_t k = 0; k < sizeof(bad_names) / sizeof(*bad_names); k++)
                        refused += refuse_names(session, &table[i], bad_names[k]);
                refused += refuse_names(session, &table[i], lengthy);
        }
        assert_true(refused > 20 * sizeof(bad_names) / sizeof(*bad_names));
        session_free(session);
        free(lengthy);
}

// A clone's request holds a move's, so its names lie one level deeper.
static void fault_48_names_of_a_clone_are_refused_before_they_are_looked_up(void **state) {
        (void) state;
        scene_start();
        struct session *session = session_new_for_calls();
        for (size_t i = 0; i < 3 * sizeof(bad_names) / sizeof(*bad_names); i++) {
                Drover__OperatorRequest request = DROVER__OPERATOR_REQUEST__INIT;
                Drover__VmClone clone = DROVER__VM_CLONE__INIT;
                Drover__VmMove move = DROVER__VM_MOVE__INIT;
                struct error err = ERROR_INIT;
                char **const fields[] = {&move.vm, &move.host, &move.new_name};
                move.vm = move.host = move.new_name = (char *) "good";
                *fields[i % 3] = (char *) bad_names[i / 3];
                clone.move = &move;
                request.verb_case = DROVER__OPERATOR_REQUEST__VERB_VM_CLONE;
                request.vm_clone = &clone;
                struct verb counted = *verbs_find(request.verb_case);
                counted.run = count_run;
                struct verb_call call = {.session = session,
                                         .request = &request,
                                         .verb = &counted,
                                         .user = "bob",
                                         .address = "192.0.2.7",
                                         .role = ROLE_ADMIN};
                runs = 0;
                assert_int_equal(verbs_run(&call, &err), -1);
                assert_int_equal(err.code, ERROR_INVALID);
                assert_int_equal(runs, 0);
        }
        session_free(session);
}

// ---- sites

struct two_sites {
        struct member kvm1, kvm2, bob;
        struct peer peer;
};

static void make_two_sites(struct two_sites *two, enum role role) {
        scene_start();
        two->kvm1 = new_host("lyon", "kvm1");
        two->kvm2 = new_host("nantes", "kvm2");
        give_vms(&two->kvm1, (const char *const[]){"erp", "mail"}, 2);
        give_vms(&two->kvm2, (const char *const[]){"crm"}, 1);
        two->bob = new_user("bob", role, "lyon");
        log_in(&two->peer, &two->bob);
}

static void free_two_sites(struct two_sites *two) {
        hang_up(&two->peer);
        member_fini(&two->kvm1);
        member_fini(&two->kvm2);
        member_fini(&two->bob);
}

static void lists_show_only_the_sites_that_an_operator_may_see(void **state) {
        (void) state;
        struct two_sites two;
        make_two_sites(&two, ROLE_VIEWER);
        {
                REQUEST(vm_list, VM_LIST, vm_list, VmList)
                const Drover__OperatorReply *reply = ask(&two.peer, &request);
                assert_int_equal(reply->value_case, DROVER__OPERATOR_REPLY__VALUE_VMS);
                assert_int_equal(reply->vms->n_vms, 2);
                assert_string_equal(reply->vms->vms[0]->domain->name, "erp");
                assert_string_equal(reply->vms->vms[1]->domain->name, "mail");
                verb.state = (char *) "shut off";
                assert_null(ask(&two.peer, &request)->failure);
                verb.state = (char *) "off";
                assert_refused(ask(&two.peer, &request), ERROR_INVALID, "\"off\" is not the state of a VM");
        }
        {
                REQUEST(retired_list, RETIRED_LIST, retired_list, RetiredList)
                verb.site = (char *) "lyon";
                assert_null(ask(&two.peer, &request)->failure);
                verb.site = (char *) "brest";
                assert_refused(ask(&two.peer, &request), ERROR_NOT_FOUND, "no site brest");
                verb.site = (char *) "";
                verb.host = (char *) "nantes/kvm2";
                assert_int_equal(ask(&two.peer, &request)->failure->code, ERROR_DENIED);
                verb.host = (char *) "../kvm2";
                assert_int_equal(ask(&two.peer, &request)->failure->code, ERROR_INVALID);
        }
        {
                REQUEST(host_list, HOST_LIST, host_list, HostList)
                const Drover__OperatorReply *reply = ask(&two.peer, &request);
                assert_int_equal(reply->hosts->n_hosts, 1);
                assert_string_equal(reply->hosts->hosts[0]->name, "kvm1");
                assert_string_equal(reply->hosts->hosts[0]->state, "offline");
        }
        {
                REQUEST(site_list, SITE_LIST, site_list, SiteList)
                const Drover__OperatorReply *reply = ask(&two.peer, &request);
                assert_int_equal(reply->sites->n_sites, 1);
                assert_string_equal(reply->sites->sites[0]->name, "lyon");
                assert_int_equal(reply->sites->sites[0]->vms, 2);
                assert_int_equal(reply->sites->sites[0]->vms_running, 1);
        }
        {
                REQUEST(status_get, STATUS_GET, status_get, StatusGet)
                const Drover__OperatorReply *reply = ask(&two.peer, &request);
                assert_int_equal(reply->status->sites, 1);
                assert_int_equal(reply->status->hosts, 1);
                assert_int_equal(reply->status->vms, 2);
                assert_int_equal(reply->status->n_problems, 1);
                assert_string_equal(reply->status->problems[0]->object, "lyon/kvm1");
        }
        free_two_sites(&two);
}

static void an_operator_limited_to_a_site_is_denied_what_is_elsewhere(void **state) {
        (void) state;
        struct two_sites two;
        make_two_sites(&two, ROLE_OPERATOR);
        {
                REQUEST(vm_power, VM_POWER, vm_power, VmPower)
                verb.vm = (char *) "crm";
                verb.action = DROVER__POWER_ACTION__POWER_STOP;
                assert_refused(ask(&two.peer, &request), ERROR_DENIED,
                               "bob may act at lyon only; `vm stop` is about nantes/kvm2");
        }
        {
                REQUEST(vm_move, VM_MOVE, vm_move, VmMove)
                verb.vm = (char *) "erp";
                verb.host = (char *) "nantes/kvm2";
                assert_refused(ask(&two.peer, &request), ERROR_DENIED,
                               "bob may act at lyon only; `vm move` is about nantes/kvm2");
                verb.vm = (char *) "crm";
                verb.host = (char *) "lyon/kvm1";
                assert_refused(ask(&two.peer, &request), ERROR_DENIED,
                               "bob may act at lyon only; `vm move` is about nantes/kvm2");
        }
        {
                REQUEST(vm_clone, VM_CLONE, vm_clone, VmClone)
                Drover__VmMove clone = DROVER__VM_MOVE__INIT;
                clone.vm = (char *) "erp";
                clone.host = (char *) "nantes/kvm2";
                clone.new_name = (char *) "erp-2";
                verb.move = &clone;
                assert_refused(ask(&two.peer, &request), ERROR_DENIED,
                               "bob may act at lyon only; `vm clone` is about nantes/kvm2");
                verb.move = NULL;
                assert_refused(ask(&two.peer, &request), ERROR_INVALID, "a clone is asked for without saying of what");
        }
        {
                REQUEST(vm_list, VM_LIST, vm_list, VmList)
                verb.vm = (char *) "crm";
                assert_refused(ask(&two.peer, &request), ERROR_DENIED,
                               "bob may act at lyon only; `vm list` is about nantes/kvm2/crm");
        }
        {
                REQUEST(vm_power, VM_POWER, vm_power, VmPower)
                verb.vm = (char *) "erp";
                verb.action = DROVER__POWER_ACTION__POWER_STOP;
                assert_int_equal(ask(&two.peer, &request)->failure->code, ERROR_UNREACHABLE); // allowed, but offline
        }
        free_two_sites(&two);
}

static void a_part_of_a_sites_name_is_not_that_site(void **state) {
        (void) state;
        assert_true(verb_sites_allow("", "lyon"));
        assert_true(verb_sites_allow("lyon", "lyon"));
        assert_true(verb_sites_allow("nantes lyon paris", "lyon"));
        assert_true(verb_sites_allow("lyon-2 lyon", "lyon"));
        assert_false(verb_sites_allow("lyon-2", "lyon"));
        assert_false(verb_sites_allow("old-lyon", "lyon"));
        assert_false(verb_sites_allow("nantes", "lyon"));
        assert_false(verb_sites_allow("lyon", ""));
}

// ---- what verbs answer

static void a_list_that_is_longer_than_a_frame_comes_in_parts(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct peer peer;
        scene_start();
        struct member ann = new_user("ann", ROLE_VIEWER, "");
        struct member host = new_host("lyon", "kvm1");
        struct fleet_host *known = fleet_host_by_uuid(scene_fleet(), host.uuid);
        Drover__InventoryPart part = DROVER__INVENTORY_PART__INIT;
        Drover__Domain domain, *pointer = &domain;
        char uuid[NAME_UUID_LENGTH + 1], name[32], text[1000];
        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        part.generation = 1;
        part.begin = true;
        part.domains = &pointer;
        part.n_domains = 1;
        for (unsigned i = 0; i < 3000; i++) {
                drover__domain__init(&domain);
                snprintf(uuid, sizeof(uuid), "%.24s%012x", host.uuid, i);
                snprintf(name, sizeof(name), "vm%04u", i);
                domain.uuid = uuid;
                domain.name = name;
                domain.state = (char *) "running";
                domain.description = text;
                part.end = i == 2999;
                must(fleet_apply(scene_fleet(), known, &part, &err), &err);
                part.begin = false;
        }
        log_in(&peer, &ann);
        REQUEST(vm_list, VM_LIST, vm_list, VmList)
        unsigned n = 0, parts = 0;
        const Drover__OperatorReply *reply = ask(&peer, &request);
        for (;; reply = hear_reply(&peer)) {
                assert_null(reply->failure);
                assert_true(protobuf_c_message_get_packed_size(&reply->base) < 1u << 20);
                for (size_t i = 0; i < reply->vms->n_vms; i++, n++) {
                        snprintf(name, sizeof(name), "vm%04u", n);
                        assert_string_equal(reply->vms->vms[i]->domain->name, name);
                }
                parts++;
                if (reply->last)
                        break;
        }
        assert_int_equal(n, 3000);
        assert_true(parts > 4);
        hang_up(&peer);
        member_fini(&ann);
        member_fini(&host);
}

static void sites_are_made_changed_shown_and_removed(void **state) {
        (void) state;
        struct peer peer;
        scene_start();
        struct member ann = new_user("ann", ROLE_ADMIN, "");
        log_in(&peer, &ann);
        {
                char *rates[] = {(char *) "20Mbit@mon..fri:8-18", (char *) "full"};
                REQUEST(site_create, SITE_CREATE, site_create, SiteCreate)
                verb.name = (char *) "lyon";
                verb.timezone = (char *) "Europe/Paris";
                verb.rates = rates;
                verb.n_rates = 2;
                assert_null(ask(&peer, &request)->failure);
                assert_refused(ask(&peer, &request), ERROR_CONFLICT, "there is a site lyon already");
                verb.name = (char *) "paris";
                rates[0] = (char *) "20Mbit@monday";
                assert_refused(ask(&peer, &request), ERROR_INVALID, "--rate: \"monday\" is not DAYS:HOURS");
                verb.n_rates = 0;
                verb.timezone = (char *) "../passwd";
                assert_refused(ask(&peer, &request), ERROR_INVALID, "--timezone: \"../passwd\" is not a time zone");
                verb.timezone = (char *) "Europe/Lyon";
                assert_refused(ask(&peer, &request), ERROR_NOT_FOUND, "--timezone: no such time zone: Europe/Lyon");
        }
        {
                REQUEST(site_set, SITE_SET, site_set, SiteSet)
                verb.name = (char *) "lion";
                assert_refused(ask(&peer, &request), ERROR_NOT_FOUND, "no site lion");
                verb.name = (char *) "lyon";
                assert_refused(ask(&peer, &request), ERROR_USAGE, "nothing to change: give --timezone or --rate");
                verb.timezone = (char *) "UTC";
                assert_null(ask(&peer, &request)->failure);
        }
        {
                REQUEST(site_list, SITE_LIST, site_list, SiteList)
                verb.name = (char *) "lyon";
                const Drover__OperatorReply *reply = ask(&peer, &request);
                assert_string_equal(reply->sites->sites[0]->timezone, "UTC");
                assert_int_equal(reply->sites->sites[0]->n_rates, 2);
                assert_string_equal(reply->sites->sites[0]->rates[0], "20Mbit@mon..fri:8-18");
        }
        struct member host = new_host("lyon", "kvm1");
        {
                REQUEST(site_remove, SITE_REMOVE, site_remove, SiteRemove)
                verb.name = (char *) "lyon";
                assert_refused(ask(&peer, &request), ERROR_CONFLICT, "site lyon has 1 host");
        }
        hang_up(&peer);
        member_fini(&ann);
        member_fini(&host);
}

static void a_pattern_finds_only_what_the_operator_may_touch(void **state) {
        static const char *const at_lyon[] = {"erp", "web"}, *const at_nantes[] = {"crm"};
        (void) state;
        struct peer peer;
        scene_start();
        struct member lyon = new_host("lyon", "kvm1"), other = new_host("lyon", "kvm2"),
                      nantes = new_host("nantes", "kvm1");
        give_vms(&lyon, at_lyon, 2);
        give_vms(&nantes, at_nantes, 1);
        struct member bob = new_user("bob", ROLE_OPERATOR, "lyon");
        log_in(&peer, &bob);
        REQUEST(vm_move_many, VM_MOVE_MANY, vm_move_many, VmMoveMany)
        Drover__VmMove move = DROVER__VM_MOVE__INIT;
        char *vms[] = {(char *) "*"};
        assert_refused(ask(&peer, &request), ERROR_INVALID, "no VM is named");
        verb.move = &move;
        verb.vms = vms;
        verb.n_vms = 1;
        move.plan_only = true;
        move.host = (char *) "lyon/kvm2";
        const Drover__OperatorReply *reply = ask(&peer, &request);
        assert_null(reply->failure);
        assert_int_equal(reply->batch_plan->n_plans, 2);
        assert_string_equal(reply->batch_plan->plans[0]->source_name, "lyon/kvm1");
        vms[0] = (char *) "nantes/kvm1/*";
        assert_refused(ask(&peer, &request), ERROR_NOT_FOUND, "no VM fits nantes/kvm1/*");
        vms[0] = (char *) "crm";
        assert_refused(ask(&peer, &request), ERROR_DENIED, "bob may act at lyon only; `vm move` is about nantes/kvm1");
        vms[0] = (char *) "*";
        move.host = (char *) "nantes/kvm1";
        assert_refused(ask(&peer, &request), ERROR_DENIED, "bob may act at lyon only; `vm move` is about nantes/kvm1");
        vms[0] = (char *) "a/b/c/*";
        assert_refused(ask(&peer, &request), ERROR_INVALID, "\"a/b/c/*\" has more parts than SITE/HOST/VM");
        hang_up(&peer);
        member_fini(&bob);
        member_fini(&lyon);
        member_fini(&other);
        member_fini(&nantes);
}

static void a_rate_that_no_transfer_keeps_to_is_refused(void **state) {
        (void) state;
        static const char *const why = "a rate of 1.0 kB/s is too slow: the least is 16kbit";
        struct peer peer;
        scene_start();
        struct member bob = new_user("bob", ROLE_OPERATOR, "");
        log_in(&peer, &bob);
        Drover__VmMove move = DROVER__VM_MOVE__INIT;
        char *vms[] = {(char *) "*"};
        move.vm = (char *) "erp";
        move.host = (char *) "lyon/kvm1";
        move.new_name = (char *) "erp-2";
        move.rate_bytes_per_second = 1000;
        {
                REQUEST(vm_move, VM_MOVE, vm_move, VmMove)
                verb = move;
                assert_refused(ask(&peer, &request), ERROR_INVALID, why);
        }
        {
                REQUEST(vm_clone, VM_CLONE, vm_clone, VmClone)
                verb.move = &move;
                assert_refused(ask(&peer, &request), ERROR_INVALID, why);
        }
        {
                REQUEST(vm_move_many, VM_MOVE_MANY, vm_move_many, VmMoveMany)
                verb.move = &move;
                verb.vms = vms;
                verb.n_vms = 1;
                assert_refused(ask(&peer, &request), ERROR_INVALID, why);
        }
        {
                REQUEST(job_set, JOB_SET, job_set, JobSet)
                verb.id = (char *) "abcdefghij";
                verb.rate_bytes_per_second = 1000;
                assert_refused(ask(&peer, &request), ERROR_INVALID, why);
        }
        {
                REQUEST(job_undo, JOB_UNDO, job_undo, JobUndo)
                verb.id = (char *) "abcdefghij";
                verb.rate_bytes_per_second = 1000;
                assert_refused(ask(&peer, &request), ERROR_INVALID, why);
        }
        hang_up(&peer);
        member_fini(&bob);
}

static void an_invitation_makes_its_site_and_is_listed_until_it_is_used(void **state) {
        (void) state;
        struct peer peer;
        scene_start();
        struct member ann = new_user("ann", ROLE_ADMIN, "");
        log_in(&peer, &ann);
        {
                REQUEST(host_invite, HOST_INVITE, host_invite, HostInvite)
                verb.site = (char *) "lyon";
                verb.host = (char *) "kvm1";
                const Drover__Invitation *invitation = ask(&peer, &request)->invitation;
                assert_string_equal(invitation->name, "lyon/kvm1");
                assert_true(strncmp(invitation->command, "drover-agent join DRV1.", 23) == 0);
                assert_true(invitation->expires_at > time(NULL) + 3500);
        }
        {
                REQUEST(host_list, HOST_LIST, host_list, HostList)
                verb.site = (char *) "lyon";
                const Drover__OperatorReply *reply = ask(&peer, &request);
                assert_int_equal(reply->hosts->n_hosts, 1);
                assert_string_equal(reply->hosts->hosts[0]->state, "invited");
                assert_string_equal(reply->hosts->hosts[0]->name, "kvm1");
        }
        {
                REQUEST(user_invite, USER_INVITE, user_invite, UserInvite)
                char *sites[] = {(char *) "lyon"};
                verb.name = (char *) "bob";
                verb.role = (char *) "boss";
                assert_refused(ask(&peer, &request), ERROR_INVALID, "\"boss\" is not a role");
                verb.role = (char *) "viewer";
                verb.sites = sites;
                verb.n_sites = 1;
                const Drover__Invitation *invitation = ask(&peer, &request)->invitation;
                assert_true(strncmp(invitation->command, "drover login DRV1.", 18) == 0);
                sites[0] = (char *) "lyn";
                assert_refused(ask(&peer, &request), ERROR_NOT_FOUND, "no site lyn");
        }
        {
                REQUEST(user_list, USER_LIST, user_list, UserList)
                const Drover__OperatorReply *reply = ask(&peer, &request);
                assert_int_equal(reply->users->n_users, 2);
                assert_string_equal(reply->users->users[0]->name, "ann");
                assert_string_equal(reply->users->users[0]->state, "active");
                assert_string_equal(reply->users->users[1]->state, "invited");
                assert_string_equal(reply->users->users[1]->sites[0], "lyon");
        }
        {
                REQUEST(audit_list, AUDIT_LIST, audit_list, AuditList)
                const Drover__OperatorReply *reply = ask(&peer, &request);
                assert_int_equal(reply->audits->n_audits, 4);
                assert_string_equal(reply->audits->audits[3]->verb, "host invite");
                assert_string_equal(reply->audits->audits[3]->object, "lyon/kvm1");
                assert_string_equal(reply->audits->audits[3]->outcome, "done");
                assert_string_equal(reply->audits->audits[0]->outcome, "not-found");
        }
        hang_up(&peer);
        member_fini(&ann);
}

static void invitations_are_shown_and_taken_back(void **state) {
        (void) state;
        struct peer peer;
        scene_start();
        struct member ann = new_user("ann", ROLE_ADMIN, "");
        log_in(&peer, &ann);
        {
                REQUEST(host_invite, HOST_INVITE, host_invite, HostInvite)
                verb.site = (char *) "lyon";
                verb.host = (char *) "kvm8";
                assert_null(ask(&peer, &request)->failure);
        }
        {
                REQUEST(host_show, HOST_SHOW, host_show, HostShow)
                verb.host = (char *) "lyon/kvm8";
                const Drover__OperatorReply *reply = ask(&peer, &request);
                assert_string_equal(reply->hosts->hosts[0]->state, "invited");
                assert_true(reply->hosts->hosts[0]->invited_until > time(NULL));
        }
        {
                REQUEST(host_remove, HOST_REMOVE, host_remove, HostRemove)
                verb.host = (char *) "kvm8";
                assert_null(ask(&peer, &request)->failure);
                assert_refused(ask(&peer, &request), ERROR_NOT_FOUND, "no host \"kvm8\"");
        }
        {
                REQUEST(user_invite, USER_INVITE, user_invite, UserInvite)
                verb.name = (char *) "bob";
                verb.role = (char *) "viewer";
                assert_null(ask(&peer, &request)->failure);
        }
        {
                REQUEST(user_remove, USER_REMOVE, user_remove, UserRemove)
                verb.name = (char *) "bob";
                assert_null(ask(&peer, &request)->failure);
                assert_refused(ask(&peer, &request), ERROR_NOT_FOUND, "no user bob");
        }
        hang_up(&peer);
        member_fini(&ann);
}

static void a_removed_user_is_cut_at_once_and_who_removes_himself_is_told(void **state) {
        (void) state;
        struct peer ann_peer, bob_peer;
        scene_start();
        struct member ann = new_user("ann", ROLE_ADMIN, ""), bob = new_user("bob", ROLE_ADMIN, "");
        log_in(&ann_peer, &ann);
        log_in(&bob_peer, &bob);
        REQUEST(user_remove, USER_REMOVE, user_remove, UserRemove)
        verb.name = (char *) "bob";
        assert_null(ask(&bob_peer, &request)->failure);
        assert_last_words(&bob_peer, ERROR_DENIED, "user bob was removed by bob");
        verb.name = (char *) "ann";
        assert_refused(ask(&ann_peer, &request), ERROR_REFUSED, "ann is the last admin");
        hang_up(&ann_peer);
        hang_up(&bob_peer);
        member_fini(&ann);
        member_fini(&bob);
}

static void an_operator_renews_its_own_certificate(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct peer peer;
        EVP_PKEY *key;
        X509 *certificate;
        scene_start();
        struct member bob = new_user("bob", ROLE_VIEWER, "lyon");
        log_in(&peer, &bob);
        REQUEST(certificate_renew, CERTIFICATE_RENEW, certificate_renew, CertificateRenew)
        assert_int_equal(ask(&peer, &request)->failure->code, ERROR_INVALID);
        must(pki_new_key(&key, &err), &err);
        must(pki_new_csr(key, &verb.csr_der.data, &verb.csr_der.len, &err), &err);
        const Drover__OperatorReply *reply = ask(&peer, &request);
        assert_null(reply->failure);
        must(pki_parse_certificate(reply->certificate->certificate_pem.data, reply->certificate->certificate_pem.len,
                                   &certificate, &err),
             &err);
        assert_true(pki_matches(certificate, key));
        X509_free(certificate);
        EVP_PKEY_free(key);
        free(verb.csr_der.data);
        hang_up(&peer);
        member_fini(&bob);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_verb_has_exactly_one_row),
                SCENE_TEST(fault_42_every_verb_is_denied_to_every_role_below_its_own),
                SCENE_TEST(the_role_that_a_verb_needs_is_enough_for_it),
                SCENE_TEST(fault_42_verbs_about_the_whole_fleet_are_denied_to_who_is_limited_to_a_site),
                SCENE_TEST(fault_42_every_verb_is_denied_over_the_wire_to_every_lower_role),
                SCENE_TEST(fault_42_every_verb_is_refused_without_a_certificate),
                SCENE_TEST(a_verb_of_the_future_is_refused_by_name),
                SCENE_TEST(fault_48_names_in_every_verb_are_refused_before_they_are_looked_up),
                SCENE_TEST(fault_48_names_of_a_clone_are_refused_before_they_are_looked_up),
                SCENE_TEST(lists_show_only_the_sites_that_an_operator_may_see),
                SCENE_TEST(an_operator_limited_to_a_site_is_denied_what_is_elsewhere),
                cmocka_unit_test(a_part_of_a_sites_name_is_not_that_site),
                SCENE_TEST(a_list_that_is_longer_than_a_frame_comes_in_parts),
                SCENE_TEST(sites_are_made_changed_shown_and_removed),
                SCENE_TEST(a_pattern_finds_only_what_the_operator_may_touch),
                SCENE_TEST(a_rate_that_no_transfer_keeps_to_is_refused),
                SCENE_TEST(an_invitation_makes_its_site_and_is_listed_until_it_is_used),
                SCENE_TEST(invitations_are_shown_and_taken_back),
                SCENE_TEST(a_removed_user_is_cut_at_once_and_who_removes_himself_is_told),
                SCENE_TEST(an_operator_renews_its_own_certificate),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
