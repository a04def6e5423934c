// SPDX-License-Identifier: LGPL-2.1-or-later
/* Taking back a committed move: revived where nothing happened since, moved back where something did, refused in words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/log.h"
#include "played_story.h"

static char moved[33]; // the job to be taken back
static Drover__MovePlan *plan;

static Drover__Domain *domain_now(const char *state, const char *images_version) {
        Drover__Domain *domain = new_domain(ERP, "erp-2", state, "52:54:00:00:00:01");
        domain->autostart = false;
        free(domain->interfaces[0]->source);
        domain->interfaces[0]->source = memory_string("br-dmz");
        domain->images_version = memory_string(images_version);
        return domain;
}

static void tell_retired_disks(struct fleet_host *host, const char *job, char **disks, size_t n) {
        struct error err = ERROR_INIT;
        Drover__InventoryPart part = DROVER__INVENTORY_PART__INIT;
        Drover__Retired retired = DROVER__RETIRED__INIT, *all[] = {&retired};
        retired.job = (char *) job;
        retired.vm_uuid = (char *) ERP;
        retired.vm_name = (char *) "erp";
        retired.disks = disks;
        retired.n_disks = n;
        part.generation = host->generation;
        part.serial = host->serial + 1;
        part.retired = all;
        part.n_retired = job[0] ? 1 : 0;
        part.retired_changed = true;
        must(fleet_apply(fleet, host, &part, &err), &err);
}

static char *disks[] = {"vda", "vdb"};

static void tell_retired(struct fleet_host *host, const char *job) {
        tell_retired_disks(host, job, disks, ARRAY_SIZE(disks));
}

static void ended_before(const char *job, int64_t ms) {
        struct error err = ERROR_INIT;
        struct store_job row = {0};
        assert_int_equal(store_job_get(store, job, &row, &err), 1);
        row.finished_ms -= ms;
        must(store_job_put(store, &row, &err), &err);
        store_job_fini(&row);
}

// erp is moved from lyon to nantes, where it is called erp-2, into another pool and on another bridge.
static void move_away(const char *state) {
        Drover__VmMove request = DROVER__VM_MOVE__INIT;
        Drover__NameMap bridge = DROVER__NAME_MAP__INIT, *bridges[] = {&bridge};
        struct error err = ERROR_INIT;
        request.vm = (char *) "lyon/kvm1/erp";
        request.host = (char *) "nantes/kvm2";
        request.new_name = (char *) "erp-2";
        request.pool = (char *) "fast";
        request.stop = DROVER__STOP_MODE__STOP_HARD;
        request.start = DROVER__VM_MOVE__START__START_NO;
        bridge.from = (char *) "br0";
        bridge.to = (char *) "br-dmz";
        request.bridges = bridges;
        request.n_bridges = 1;
        tell_picture(lyon, new_domain(ERP, "erp", state, "52:54:00:00:00:01"), 50 * GIB);
        must(plan_move(fleet, &request, &plan, &err), &err);
        must(plan_refused(plan, &err), &err);
        must(runner_move(runner, plan, &played_caller, moved, &err), &err);
        proto_free(&plan->base);
        plan = NULL;
        finish(moved, "done");
        ended_before(moved, 60000);
        forget_story();
}

static void now_at_nantes(const char *state, const char *images_version) {
        tell_picture(lyon, NULL, 50 * GIB);
        tell_retired(lyon, moved);
        tell_picture(nantes, domain_now(state, images_version), 50 * GIB);
}

static int ask_undo(Drover__StopMode stop, struct error *err) {
        Drover__JobUndo request = DROVER__JOB_UNDO__INIT;
        *err = (struct error) ERROR_INIT;
        request.id = moved;
        request.stop = stop;
        return runner_plan_undo(runner, moved, &request, &plan, err);
}

static void start_undo(Drover__StopMode stop, char job[33]) {
        struct error err = ERROR_INIT;
        must(ask_undo(stop, &err), &err);
        must(plan_refused(plan, &err), &err);
        must(runner_undo(runner, plan, &played_caller, job, &err), &err);
        proto_free(&plan->base);
        plan = NULL;
}

static void assert_refused_undo(const char *message, const char *hint) {
        struct error err = ERROR_INIT;
        assert_int_equal(ask_undo(DROVER__STOP_MODE__STOP_MODE_NONE, &err), -1);
        assert_error(err, ERROR_CONFLICT, message);
        if (hint)
                assert_string_equal(err.hints[0], hint);
        else
                assert_int_equal(err.n_hints, 0);
}

static char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *text(const char *format, ...) {
        static char buffers[4][200];
        static unsigned next;
        va_list args;
        char *buffer = buffers[next++ % 4];
        va_start(args, format);
        vsnprintf(buffer, sizeof(buffers[0]), format, args);
        va_end(args);
        return buffer;
}

static void assert_record(const char *job, const char *kind, const char *undoes, const char *undone_by) {
        struct error err = ERROR_INIT;
        Drover__JobRecord *record = NULL;
        must(runner_job(runner, job, &record, &err), &err);
        assert_string_equal(record->kind, kind);
        assert_string_equal(record->undoes, undoes);
        assert_string_equal(record->undone_by, undone_by);
        proto_free(&record->base);
}

static void a_vm_that_has_not_run_since_is_revived_and_nothing_is_carried(void **state) {
        (void) state;
        static const char *const order[] = {"check", "fence", "revive", "confirm", "settle", "retire", "start"};
        char job[33];
        move_away("running");
        now_at_nantes("shut off", "v1");
        start_undo(DROVER__STOP_MODE__STOP_MODE_NONE, job);
        finish(job, "done");
        assert_int_equal(n_questions, ARRAY_SIZE(order));
        for (unsigned i = 0; i < n_questions; i++) {
                assert_string_equal(questions[i].request->step, order[i]);
                bool first_host = i == 2 || i == 4 || i == 6;
                assert_string_equal(questions[i].host, first_host ? LYON : NANTES);
        }
        assert_int_equal(questions[6].request->verb_case,
                         DROVER__AGENT_REQUEST__VERB_DOMAIN_POWER); // it ran before the move
        assert_string_equal(fleet_owner(fleet, ERP)->host_uuid, LYON);
        assert_true(questions[4].request->epoch > questions[3].request->epoch);
        assert_record(job, "vm.undo", moved, "");
        assert_record(moved, "vm.move", "", job);
}

static void the_plan_of_a_revival_says_so(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        move_away("shut off");
        now_at_nantes("shut off", "v1");
        must(ask_undo(DROVER__STOP_MODE__STOP_MODE_NONE, &err), &err);
        assert_true(plan->revives && plan->purge_source && !plan->start && plan->autostart);
        assert_int_equal(plan->n_refusals, 0);
        assert_int_equal(plan->bytes_to_copy, 0);
        assert_int_equal(plan->n_warnings, 0);
        assert_string_equal(plan->new_name, "erp");
        assert_string_equal(plan->images_version, "v1");
        assert_string_equal(plan->undoes, moved);
        proto_free(&plan->base);
}

static void a_vm_that_ran_since_is_moved_back_to_where_it_was(void **state) {
        (void) state;
        char job[33];
        struct error err = ERROR_INIT;
        move_away("running");
        now_at_nantes("running", "v2");
        must(ask_undo(DROVER__STOP_MODE__STOP_MODE_NONE, &err), &err);
        assert_false(plan->revives);
        assert_int_equal(plan->n_refusals, 1); // it runs, and nobody said that it may be stopped
        assert_string_equal(plan->refusals[0]->code, "running");
        assert_string_equal(plan->new_name, "erp");
        assert_string_equal(plan->disks[0]->pool, "default");
        assert_string_equal(plan->bridges[0]->from, "br-dmz");
        assert_string_equal(plan->bridges[0]->to, "br0");
        assert_string_equal(plan->warnings[0], "it has run since: what was written meanwhile is carried back");
        proto_free(&plan->base);
        start_undo(DROVER__STOP_MODE__STOP_HARD, job);
        finish(job, "done");
        assert_true(place_of("send-vda") > 0 && place_of("revive") == 0);
        assert_string_equal(fleet_owner(fleet, ERP)->host_uuid, LYON);
        assert_record(job, "vm.undo", moved, "");
        assert_record(moved, "vm.move", "", job);
}

static void without_its_first_copy_or_with_another_definition_it_is_moved_back(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        move_away("shut off");
        now_at_nantes("shut off", "v1");
        tell_retired(lyon, "");
        must(ask_undo(DROVER__STOP_MODE__STOP_MODE_NONE, &err), &err);
        assert_false(plan->revives);
        assert_string_equal(plan->warnings[0],
                            "its first copy at lyon/kvm1 has been purged: its images are carried back");
        proto_free(&plan->base);
        tell_retired(lyon, moved);
        Drover__Domain *domain = fleet_vm_on(fleet, nantes, ERP)->domain;
        free(domain->definition_sha256);
        domain->definition_sha256 = memory_string("beef");
        must(ask_undo(DROVER__STOP_MODE__STOP_MODE_NONE, &err), &err);
        assert_false(plan->revives);
        assert_string_equal(plan->warnings[0], "its definition was changed since: it is carried back with its images");
        proto_free(&plan->base);
}

static void what_is_left_of_a_first_copy_is_not_revived(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        move_away("shut off");
        now_at_nantes("shut off", "v1");
        tell_retired_disks(lyon, moved, &disks[1], 1);
        must(ask_undo(DROVER__STOP_MODE__STOP_MODE_NONE, &err), &err);
        assert_false(plan->revives);
        assert_int_equal(plan->n_disks, 2);
        assert_string_equal(plan->warnings[0],
                            "its first copy at lyon/kvm1 has been purged: its images are carried back");
        proto_free(&plan->base);
}

// As if the move with that id had made one image of several.
static void was_layered(const char *job) {
        struct error err = ERROR_INIT;
        struct store_job row = {0};
        Drover__MovePlan *done = NULL;
        struct buffer bytes;
        buffer_init(&bytes, 0);
        assert_int_equal(store_job_get(store, job, &row, &err), 1);
        must(PROTO_UNPACK(move_plan, row.spec, row.spec_length, &done, &err), &err);
        done->disks[1]->layered = true;
        must(PROTO_PACK(done, &bytes, &err), &err);
        free(row.spec);
        row.spec_length = bytes.length;
        row.spec = (uint8_t *) buffer_steal_text(&bytes);
        must(store_job_put(store, &row, &err), &err);
        proto_free(&done->base);
        store_job_fini(&row);
}

static void what_was_laid_over_another_image_is_carried_back(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        move_away("shut off");
        now_at_nantes("shut off", "v1");
        was_layered(moved);
        must(ask_undo(DROVER__STOP_MODE__STOP_MODE_NONE, &err), &err);
        assert_false(plan->revives);
        assert_string_equal(plan->warnings[0], "vdb was laid over another image at lyon/kvm1, which may have changed "
                                               "since: its images are carried back");
        proto_free(&plan->base);
}

static void dirty_bitmaps_that_are_lost_on_the_way_back_are_kept_with_the_job(void **state) {
        (void) state;
        char job[33];
        move_away("shut off");
        now_at_nantes("shut off", "v2");
        for (size_t i = 0; i < lyon->n_pools; i++) { // which holds no images by now, only disks
                free(lyon->pools[i]->type);
                lyon->pools[i]->type = memory_string("logical");
        }
        played_bitmaps = 1;
        start_undo(DROVER__STOP_MODE__STOP_MODE_NONE, job);
        finish(job, "done");
        Drover__JobRecord *record = record_of(job);
        assert_int_equal(record->n_warnings, 1);
        assert_string_equal(record->warnings[0],
                            "vda: its image is made anew, without its 1 dirty bitmap: a backup that follows them has "
                            "to begin with all of it");
        proto_free(&record->base);
}

static void what_hosts_have_not_told_yet_after_a_move_is_no_reason_against_its_undoing(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        move_away("shut off");
        ended_before(moved, -60000); // this moment
        tell_picture(nantes, domain_now("shut off", "v1"),
                     50 * GIB); // lyon has told nothing: defined there, not retired
        must(ask_undo(DROVER__STOP_MODE__STOP_MODE_NONE, &err), &err);
        assert_true(plan->revives);
        assert_int_equal(plan->n_refusals, 0);
        proto_free(&plan->base);
        tell_picture(nantes, NULL, 50 * GIB);
        assert_int_equal(ask_undo(DROVER__STOP_MODE__STOP_MODE_NONE, &err), -1);
        assert_error(err, ERROR_BUSY,
                     "nantes/kvm2 has not told yet of erp-2, which has just arrived: try again in a moment");
}

static void fault_70_a_first_name_that_is_taken_meanwhile_is_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        move_away("shut off");
        now_at_nantes("shut off", "v1");
        tell_picture(lyon, new_domain(CRM, "erp", "shut off", "52:54:00:00:00:07"), 50 * GIB);
        tell_retired(lyon, moved);
        must(ask_undo(DROVER__STOP_MODE__STOP_MODE_NONE, &err), &err);
        assert_true(plan->revives);
        assert_int_equal(plan->n_refusals, 1);
        assert_string_equal(plan->refusals[0]->message, "a VM named erp exists at lyon/kvm1");
        proto_free(&plan->base);
}

static void fault_11_a_controller_that_dies_after_any_answer_finishes_the_undo(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        char job[33];
        move_away("running");
        now_at_nantes("shut off", "v1");
        must(fleet_flush(fleet, &err), &err);
        start_undo(DROVER__STOP_MODE__STOP_MODE_NONE, job);
        while (one_thing(job))
                die_and_come_back();
        finish(job, "done");
        assert_string_equal(fleet_owner(fleet, ERP)->host_uuid, LYON);
        assert_int_equal(times_asked("unrevive"), 0);
        for (unsigned i = 0; i < n_questions; i++)
                assert_int_equal(questions[i].request->attempt, 1);
        assert_record(moved, "vm.move", "", job);
}

static void a_failed_undo_leaves_the_vm_where_it_is(void **state) {
        static const char *const steps[] = {"check", "fence", "revive", "confirm"};
        for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
                char job[33];
                if (i > 0)
                        story_again(state);
                move_away("running");
                now_at_nantes("shut off", "v1");
                let_fail(steps[i], ERROR_STALE, 1);
                start_undo(DROVER__STOP_MODE__STOP_MODE_NONE, job);
                finish(job, "failed");
                assert_int_equal(times_asked("unrevive"), i >= 2);
                assert_int_equal(times_asked("release"), i >= 1);
                if (i >= 2) // out of the way at its first host before it is back at this one
                        assert_true(place_of("unrevive") < place_of("release"));
                assert_string_equal(fleet_owner(fleet, ERP)->host_uuid, NANTES);
                assert_string_equal(fleet_owner(fleet, ERP)->job, "");
                assert_record(moved, "vm.move", "", "");
                char again[33]; // and it can be tried again
                start_undo(DROVER__STOP_MODE__STOP_MODE_NONE, again);
                finish(again, "done");
        }
}

static void a_move_is_taken_back_once(void **state) {
        (void) state;
        char job[33];
        move_away("shut off");
        now_at_nantes("shut off", "v1");
        start_undo(DROVER__STOP_MODE__STOP_MODE_NONE, job);
        assert_refused_undo(text("erp-2 is held by job %s", job), text("drover job follow %s", job));
        finish(job, "done");
        assert_refused_undo(text("job %s was taken back by job %s", moved, job), text("drover job show %s", job));
        memcpy(moved, job, sizeof(moved));
        struct error err = ERROR_INIT;
        assert_int_equal(ask_undo(DROVER__STOP_MODE__STOP_MODE_NONE, &err), -1);
        assert_string_equal(err.hints[0], "drover vm move lyon/kvm1/erp nantes/kvm2");
}

static void a_vm_that_went_on_or_away_is_not_looked_for_elsewhere(void **state) {
        (void) state;
        move_away("shut off");
        tell_picture(lyon, NULL, 50 * GIB);
        tell_picture(nantes, NULL, 50 * GIB);
        assert_refused_undo(text("erp-2 is no longer at nantes/kvm2, where job %s brought it", moved),
                            "drover vm list --retired shows what is left of it");
        tell_picture(lyon, new_domain(ERP, "erp-3", "shut off", "52:54:00:00:00:01"), 50 * GIB);
        assert_refused_undo(text("erp-2 is no longer at nantes/kvm2, where job %s brought it", moved),
                            "it is lyon/kvm1/erp-3 now: undo the newer job first, or move it");
}

static void what_is_no_committed_move_is_not_taken_back(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        must(runner_power(runner, fleet_vm_on(fleet, lyon, ERP), DROVER__POWER_ACTION__POWER_STOP, 0, &played_caller,
                          moved, &err),
             &err);
        finish(moved, "done");
        assert_refused_undo(text("job %s is a vm.stop, and only a move can be taken back", moved), NULL);
        let_fail("fence", ERROR_STALE, 1);
        Drover__VmMove request = DROVER__VM_MOVE__INIT;
        request.vm = (char *) "erp";
        request.host = (char *) "nantes/kvm2";
        request.stop = DROVER__STOP_MODE__STOP_HARD;
        must(plan_move(fleet, &request, &plan, &err), &err);
        must(runner_move(runner, plan, &played_caller, moved, &err), &err);
        proto_free(&plan->base);
        assert_refused_undo(text("job %s has not ended", moved), text("drover job cancel %s", moved));
        finish(moved, "failed");
        assert_refused_undo(text("job %s is failed: it did not move erp", moved), text("drover job show %s", moved));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                STORY_TEST(a_vm_that_has_not_run_since_is_revived_and_nothing_is_carried),
                STORY_TEST(the_plan_of_a_revival_says_so),
                STORY_TEST(a_vm_that_ran_since_is_moved_back_to_where_it_was),
                STORY_TEST(without_its_first_copy_or_with_another_definition_it_is_moved_back),
                STORY_TEST(what_is_left_of_a_first_copy_is_not_revived),
                STORY_TEST(what_was_laid_over_another_image_is_carried_back),
                STORY_TEST(dirty_bitmaps_that_are_lost_on_the_way_back_are_kept_with_the_job),
                STORY_TEST(what_hosts_have_not_told_yet_after_a_move_is_no_reason_against_its_undoing),
                STORY_TEST(fault_70_a_first_name_that_is_taken_meanwhile_is_refused),
                STORY_TEST(fault_11_a_controller_that_dies_after_any_answer_finishes_the_undo),
                STORY_TEST(a_failed_undo_leaves_the_vm_where_it_is),
                STORY_TEST(a_move_is_taken_back_once),
                STORY_TEST(a_vm_that_went_on_or_away_is_not_looked_for_elsewhere),
                STORY_TEST(what_is_no_committed_move_is_not_taken_back),
        };
        log_set_level(LOG_LEVEL_ERROR);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
