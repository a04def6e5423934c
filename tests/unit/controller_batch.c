// SPDX-License-Identifier: LGPL-2.1-or-later
/* Several moves at once: how they are chosen and planned, run within bounds, end, and are tried again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "controller/job/plan_batch.h"
#include "played.h"

static Drover__BatchPlan *plan;
static char batch[33];

static char *uuid_of(unsigned i) {
        return memory_format("eeeeeeee-eeee-4eee-8eee-%012x", i);
}

// lyon/kvm1 with VMs vm0, vm1 ..., all off, a disk of 1 GiB each whose volume is named like the VM.
static void tell_vms(unsigned n) {
        struct error err = ERROR_INIT;
        Drover__InventoryPart *part = new (Drover__InventoryPart);
        drover__inventory_part__init(part);
        part->generation = lyon->generation + 1;
        part->begin = part->end = true;
        part->facts = new_facts();
        part->pools = new_array(Drover__Pool *, 4);
        part->pools[part->n_pools++] = new_pool("default", 50 * GIB);
        part->domains = new_array(Drover__Domain *, n + 1);
        for (unsigned i = 0; i < n; i++) {
                char *uuid = uuid_of(i), *name = memory_format("vm%u", i),
                     *mac = memory_format("52:54:00:00:01:%02x", i);
                Drover__Domain *domain = new_domain(uuid, name, "shut off", mac);
                proto_free(&domain->disks[--domain->n_disks]->base);
                free(domain->disks[0]->volume);
                domain->disks[0]->volume = memory_format("%s.qcow2", name);
                domain->disks[0]->capacity_bytes = GIB;
                part->domains[part->n_domains++] = domain;
                free(uuid);
                free(name);
                free(mac);
        }
        must(fleet_apply(fleet, lyon, part, &err), &err);
        proto_free(&part->base);
}

static Drover__Domain *domain(unsigned i) {
        char *uuid = uuid_of(i);
        Drover__Domain *found = fleet_vm_on(fleet, lyon, uuid)->domain;
        free(uuid);
        return found;
}

static void set(char **text, const char *value) {
        free(*text);
        *text = memory_string(value);
}

static bool sees_all(const char *site, void *data) {
        (void) site;
        (void) data;
        return true;
}

static int ask_for(const char *const *words, size_t n, struct error *err) {
        Drover__VmMoveMany request = DROVER__VM_MOVE_MANY__INIT;
        Drover__VmMove move = DROVER__VM_MOVE__INIT;
        move.host = (char *) "nantes/kvm2";
        request.move = &move;
        request.vms = (char **) words;
        request.n_vms = n;
        return plan_batch(fleet, &request, sees_all, NULL, &plan, err);
}

static void ask(const char *word) {
        struct error err = ERROR_INIT;
        must(ask_for(&word, 1, &err), &err);
}

static void done(void) {
        proto_free(&plan->base);
        plan = NULL;
}

static void expect_refusal(size_t i, const char *code, const char *message) {
        assert_int_equal(plan->plans[i]->n_refusals, 1);
        assert_string_equal(plan->plans[i]->refusals[0]->code, code);
        assert_string_equal(plan->plans[i]->refusals[0]->message, message);
}

// ---- plans

static void patterns_fit_site_host_and_name_and_their_endings(void **state) {
        static const struct {
                const char *pattern;
                size_t n;
        } cases[] = {{"lyon/kvm1/*", 3}, {"kvm1/vm[01]", 2}, {"vm?", 3}, {"*/*/vm2", 1}, {"l*/kvm*/vm*", 3}, {"*", 3}};
        (void) state;
        tell_vms(3);
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                ask(cases[i].pattern); // crm is there already and left out
                assert_int_equal(plan->n_plans, cases[i].n);
                done();
        }
        static const char *const twice[] = {"vm1", "vm*", "lyon/kvm1/vm0"};
        struct error err = ERROR_INIT;
        must(ask_for(twice, 3, &err), &err);
        assert_int_equal(plan->n_plans, 3);
        done();
}

static void what_finds_nothing_is_refused_before_anything(void **state) {
        static const char *const none[] = {"lyon/kvm1/x*"}, *const typo[] = {"vm0", "vm9"}, *const there[] = {"c*"},
                                 *const site[] = {"lyon/*"};
        struct error err = ERROR_INIT;
        (void) state;
        tell_vms(2);
        assert_int_equal(ask_for(none, 1, &err), -1);
        assert_error(err, ERROR_NOT_FOUND, "no VM fits lyon/kvm1/x*");
        assert_int_equal(ask_for(site, 1, &err), -1);
        assert_error(err, ERROR_NOT_FOUND, "no VM fits lyon/*");
        assert_string_equal(err.hints[0], "all of a site: 'lyon/*/*'");
        assert_int_equal(ask_for(typo, 2, &err), -1);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        assert_int_equal(ask_for(there, 1, &err), -1);
        assert_error(err, ERROR_REFUSED, "all of them are on nantes/kvm2 already");
}

static void waves_keep_to_what_a_line_bears(void **state) {
        (void) state;
        tell_vms(5);
        ask("vm*");
        assert_int_equal(plan->waves, 3);
        static const uint32_t waves[] = {1, 1, 2, 2, 3};
        for (size_t i = 0; i < 5; i++)
                assert_int_equal(plan->plans[i]->wave, waves[i]);
        assert_int_equal(plan->bytes_to_copy, 5 * GIB);
        done();
}

static void fault_70_names_uuids_and_macs_that_are_there_twice_are_refused(void **state) {
        (void) state;
        tell_vms(4);
        set(&domain(1)->interfaces[0]->mac, "52:54:00:00:01:00");
        set(&domain(2)->interfaces[0]->mac, "52:54:00:00:00:02"); // crm's
        ask("vm*");
        assert_int_equal(plan_batch_accepted(plan), 2);
        assert_string_equal(plan->plans[2]->vm_name, "vm1"); // refused ones come last
        expect_refusal(2, "mac-exists",
                       "its MAC address 52:54:00:00:01:00 is also that of lyon/kvm1/vm0, which goes there before it");
        expect_refusal(3, "mac-exists", "its MAC address 52:54:00:00:00:02 is in use at nantes/kvm2, by crm");
        assert_int_equal(plan->waves, 1);
        done();
}

static void fault_71_room_is_counted_for_all_of_them(void **state) {
        (void) state;
        tell_vms(3);
        tell_picture(nantes, NULL, 2 * GIB + GIB / 2);
        ask("vm*");
        assert_int_equal(plan_batch_accepted(plan), 2);
        expect_refusal(2, "no-space",
                       "its disks can grow to 1.0 GiB, and of 2.5 GiB free in pool default at nantes/kvm2 the VMs "
                       "before it can take 2.0 GiB");
        done();
}

static void fault_71_what_a_host_keeps_free_is_kept_of_what_they_share(void **state) {
        (void) state;
        tell_vms(3);
        tell_picture(nantes, NULL, 3 * GIB);
        ask("vm*");
        assert_int_equal(plan_batch_accepted(plan), 3);
        done();
        for (size_t i = 0; i < nantes->n_pools; i++)
                nantes->pools[i]->spare_bytes = GIB / 4;
        ask("vm*");
        assert_int_equal(plan_batch_accepted(plan), 2);
        expect_refusal(2, "no-space",
                       "its disks can grow to 1.0 GiB, and of 3.0 GiB free in pool default at nantes/kvm2 the VMs "
                       "before it can take 2.0 GiB, and 256.0 MiB stay free for the VMs there");
        done();
}

static void volumes_of_one_name_get_names_of_their_own(void **state) {
        (void) state;
        tell_vms(2);
        set(&domain(1)->disks[0]->volume, "vm0.qcow2");
        ask("vm*");
        assert_int_equal(plan_batch_accepted(plan), 2);
        assert_string_equal(plan->plans[0]->disks[0]->volume, "vm0.qcow2");
        assert_string_equal(plan->plans[1]->disks[0]->volume, "vm1-vda.qcow2");
        done();
}

static void a_vm_that_a_job_holds_is_a_refusal_and_all_of_them_an_error(void **state) {
        struct error err = ERROR_INIT;
        (void) state;
        tell_vms(2);
        fleet_hold(fleet, domain(0)->uuid, "abcdabcdab");
        set(&domain(1)->state, "running");
        ask("vm*");
        expect_refusal(0, "conflict", "vm0 is held by job abcdabcdab");
        expect_refusal(1, "running", "it is running");
        assert_int_equal(plan_batch_refused(plan, &err), -1);
        assert_error(err, ERROR_REFUSED, "none of the 2 VMs can be moved");
        assert_string_equal(err.hints[1], "lyon/kvm1/vm1: it is running: --shutdown asks the guest to shut down first, "
                                          "--stop stops it hard");
        done();
}

// ---- running

static void start(void) {
        struct error err = ERROR_INIT;
        must(plan_batch_refused(plan, &err), &err);
        must(runner_batch(runner, plan, "vm*", &played_caller, batch, &err), &err);
        done();
        look();
}

static void part_id(size_t i, char ret[33]) {
        Drover__JobRecord *record = record_of(batch);
        assert_true(i < record->n_parts);
        snprintf(ret, 33, "%s", record->parts[i]->id);
        proto_free(&record->base);
}

static unsigned parts_in(const char *state) {
        Drover__JobRecord *record = record_of(batch);
        unsigned n = 0;
        for (size_t i = 0; i < record->n_parts; i++)
                n += strcmp(record->parts[i]->state, state) == 0;
        proto_free(&record->base);
        return n;
}

// Answers everything that is asked, until nothing is.
static void answer_all(void) {
        for (bool again = true; again;) {
                again = false;
                for (unsigned i = 0; i < n_questions; i++)
                        if (!questions[i].answered && !is_aside(&questions[i])) {
                                answer(&questions[i], NULL);
                                again = true;
                        }
        }
        look();
}

static void expect_end(const char *state, enum error_code code, const char *message) {
        Drover__JobRecord *record = record_of(batch);
        assert_string_equal(record->state, state);
        assert_int_equal(record->error ? record->error->code : ERROR_NONE, code);
        if (message)
                assert_string_equal(record->error->message, message);
        assert_true(record->finished_ms > 0);
        proto_free(&record->base);
}

static void a_batch_runs_two_at_a_time_and_is_done_when_all_are(void **state) {
        (void) state;
        tell_vms(5);
        ask("vm*");
        start();
        assert_int_equal(parts_in("running"), 2);
        assert_int_equal(parts_in("queued"), 3);
        expect_note(batch, "0 of 5 moved");
        answer_all();
        expect_end("done", ERROR_NONE, NULL);
        assert_int_equal(parts_in("done"), 5);
        Drover__JobRecord *record = record_of(batch);
        assert_string_equal(record->vm, "vm*");
        assert_string_equal(record->source, "lyon/kvm1");
        assert_string_equal(record->parts[4]->vm, "lyon/kvm1/vm4");
        assert_int_equal(record->parts[4]->wave, 3);
        assert_int_equal(record->parts[4]->bytes_done, 4096);
        proto_free(&record->base);
}

static void what_is_refused_does_not_keep_the_others(void **state) {
        (void) state;
        tell_vms(3);
        set(&domain(1)->state, "running");
        ask("vm*");
        start();
        answer_all();
        expect_end("failed", ERROR_PARTLY, "2 of 3 VMs were moved");
        assert_int_equal(parts_in("refused"), 1);
        Drover__JobRecord *record = record_of(batch);
        assert_string_equal(record->error->hints[0], "lyon/kvm1/vm1: cannot move vm1 to nantes/kvm2: it is running");
        proto_free(&record->base);
}

static void a_part_that_fails_fails_alone(void **state) {
        struct error why = ERROR_INIT;
        char part[33];
        (void) state;
        tell_vms(2);
        ask("vm*");
        start();
        part_id(0, part);
        error_set(&why, ERROR_NO_SPACE, "no room");
        answer(open_question(part, "check"), &why);
        answer_all();
        expect_end("failed", ERROR_PARTLY, "1 of 2 VMs were moved");
        expect_state(part, "failed");
        Drover__JobRecord *record = record_of(part);
        assert_string_equal(record->batch, batch);
        proto_free(&record->base);
}

static void fault_11_a_batch_goes_on_after_a_restart(void **state) {
        char part[33];
        (void) state;
        tell_vms(4);
        ask("vm*");
        start();
        part_id(0, part);
        go_on_until(part, "settle");
        answer(open_question(part, "settle"), NULL);
        look();
        for (unsigned i = 0; i < 3; i++) {
                die_and_come_back();
                look();
                assert_int_equal(parts_in("done"), 1);
                assert_int_equal(parts_in("running") + parts_in("queued"), 3);
                expect_note(batch, "1 of 4 moved");
        }
        answer_all();
        expect_end("done", ERROR_NONE, NULL);
        die_and_come_back();
        expect_end("done", ERROR_NONE, NULL);
        assert_int_equal(parts_in("done"), 4);
}

static void fault_74_cancelling_a_batch_cancels_what_can_be(void **state) {
        struct error err = ERROR_INIT;
        char first[33];
        (void) state;
        tell_vms(5);
        ask("vm*");
        start();
        part_id(0, first);
        go_on_until(first, "retire"); // past its commit
        must(runner_cancel(runner, batch, &err), &err);
        assert_int_equal(parts_in("cancelled"), 4);
        answer_all();
        expect_end("cancelled", ERROR_PARTLY, "1 of 5 VMs were moved");
        for (unsigned i = 0; i < 5; i++)
                assert_string_equal(fleet_owner(fleet, domain(i)->uuid)->job, "");
        assert_int_equal(runner_cancel(runner, batch, &err), -1);
        assert_int_equal(err.code, ERROR_CONFLICT);
}

static void a_batch_that_is_cancelled_before_anything_was_moved(void **state) {
        struct error err = ERROR_INIT;
        (void) state;
        tell_vms(3);
        ask("vm*");
        start();
        must(runner_cancel(runner, batch, &err), &err);
        answer_all();
        expect_end("cancelled", ERROR_CANCELLED, "cancelled");
}

static void what_is_left_is_asked_for_again(void **state) {
        struct error err = ERROR_INIT;
        Drover__VmMoveMany *again = NULL;
        char what[320], first[33];
        (void) state;
        tell_vms(3);
        set(&domain(1)->state, "running");
        ask("vm*");
        start();
        assert_int_equal(runner_batch_again(runner, batch, &again, what, &err), 0); // it has not ended
        part_id(0, first);
        answer_all();
        assert_int_equal(runner_batch_again(runner, first, &again, what, &err), 0); // it is none
        assert_int_equal(runner_batch_again(runner, batch, &again, what, &err), 1);
        assert_string_equal(what, "vm*");
        assert_int_equal(again->n_vms, 1);
        assert_string_equal(again->vms[0], domain(1)->uuid);
        again->move->stop = DROVER__STOP_MODE__STOP_HARD;
        must(plan_batch(fleet, again, sees_all, NULL, &plan, &err), &err);
        start();
        answer_all();
        expect_end("done", ERROR_NONE, NULL);
        assert_int_equal(runner_batch_again(runner, batch, &(Drover__VmMoveMany *){NULL}, what, &err), -1);
        proto_free(&again->base);
}

static void a_part_that_needs_an_operator_is_tried_again_with_the_batch(void **state) {
        struct error why = ERROR_INIT, err = ERROR_INIT;
        char part[33];
        (void) state;
        tell_vms(2);
        ask("vm*");
        start();
        part_id(1, part);
        go_on_until(part, "settle");
        error_set(&why, ERROR_LIBVIRT, "no");
        answer(open_question(part, "settle"), &why);
        answer_all();
        expect_state(part, "needs-operator");
        expect_state(batch, "needs-operator");
        expect_note(batch, "1 of 2 moved, 1 waiting for an operator");
        must(runner_retry(runner, batch, &err), &err);
        answer_all();
        expect_end("done", ERROR_NONE, NULL);
}

static void a_rate_is_for_each_of_its_parts(void **state) {
        struct error err = ERROR_INIT;
        char part[33];
        (void) state;
        tell_vms(3);
        ask("vm*");
        start();
        must(runner_set_rate(runner, batch, 5000, &err), &err);
        part_id(2, part);
        Drover__JobRecord *record = record_of(part);
        assert_int_equal(record->rate_bytes_per_second, 5000);
        proto_free(&record->base);
        record = record_of(batch);
        assert_int_equal(record->rate_bytes_per_second, 5000);
        proto_free(&record->base);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                PLAYED_TEST(patterns_fit_site_host_and_name_and_their_endings),
                PLAYED_TEST(what_finds_nothing_is_refused_before_anything),
                PLAYED_TEST(waves_keep_to_what_a_line_bears),
                PLAYED_TEST(fault_70_names_uuids_and_macs_that_are_there_twice_are_refused),
                PLAYED_TEST(fault_71_room_is_counted_for_all_of_them),
                PLAYED_TEST(fault_71_what_a_host_keeps_free_is_kept_of_what_they_share),
                PLAYED_TEST(volumes_of_one_name_get_names_of_their_own),
                PLAYED_TEST(a_vm_that_a_job_holds_is_a_refusal_and_all_of_them_an_error),
                PLAYED_TEST(a_batch_runs_two_at_a_time_and_is_done_when_all_are),
                PLAYED_TEST(what_is_refused_does_not_keep_the_others),
                PLAYED_TEST(a_part_that_fails_fails_alone),
                PLAYED_TEST(fault_11_a_batch_goes_on_after_a_restart),
                PLAYED_TEST(fault_74_cancelling_a_batch_cancels_what_can_be),
                PLAYED_TEST(a_batch_that_is_cancelled_before_anything_was_moved),
                PLAYED_TEST(what_is_left_is_asked_for_again),
                PLAYED_TEST(a_part_that_needs_an_operator_is_tried_again_with_the_batch),
                PLAYED_TEST(a_rate_is_for_each_of_its_parts),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
