// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Freezing a guest whose agent does what a test says. The functions of libvirt's here stand before its own when the
 * program is linked; the VM itself is one of its test driver's.
 */
#include "agent/host/freeze.h"
#include "common/memory.h"
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "scratch.h"

#define JOB "11111111111111111111111111111111"

static struct {
        bool connected;
        int freezes;        // what the request gives
        unsigned delay_ms;  // before it does
        atomic_int thaws;   // what the request gives
        atomic_uint thawed; // how often
        atomic_int timeout;
        atomic_int error;  // libvirt's code, 0: none
        atomic_int asleep; // seconds, by which the clock is ahead
} agent;

// The one clock that goes on while the machine sleeps.
int clock_gettime(clockid_t which, struct timespec *ret) {
        int (*real)(clockid_t, struct timespec *);
        *(void **) &real = dlsym(RTLD_NEXT, "clock_gettime");
        int r = real(which, ret);
        if (which == CLOCK_BOOTTIME)
                ret->tv_sec += atomic_load(&agent.asleep);
        return r;
}

virErrorPtr virGetLastError(void) {
        static _Thread_local virError error;
        error.code = atomic_load(&agent.error);
        error.domain = VIR_FROM_QEMU;
        error.message = "so it is";
        return &error;
}

static void sleep_ms(unsigned ms) {
        nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

char *virDomainGetXMLDesc(virDomainPtr domain, unsigned flags) {
        (void) domain;
        (void) flags;
        return memory_format(
                "<domain><devices><channel type='pty'><target type='virtio' name='other' state='connected'/>"
                "</channel><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' "
                "state='%s'/></channel></devices></domain>",
                agent.connected ? "connected" : "disconnected");
}

int virDomainAgentSetResponseTimeout(virDomainPtr domain, int timeout, unsigned flags) {
        (void) domain;
        (void) flags;
        atomic_store(&agent.timeout, timeout);
        return 0;
}

int virDomainFSFreeze(virDomainPtr domain, const char **points, unsigned n, unsigned flags) {
        (void) domain;
        (void) points;
        (void) n;
        (void) flags;
        sleep_ms(agent.delay_ms);
        return agent.freezes;
}

int virDomainFSThaw(virDomainPtr domain, const char **points, unsigned n, unsigned flags) {
        (void) domain;
        (void) points;
        (void) n;
        (void) flags;
        int result = atomic_load(&agent.thaws);
        atomic_fetch_add(&agent.thawed, 1);
        return result;
}

struct scene {
        struct connection *connection;
        virConnectPtr conn;
        virDomainPtr domain;
        struct journal *journal;
        struct error err;
};

static int set_up(void **state) {
        struct scene *scene = new (struct scene);
        assert_int_equal(scratch_make(state), 0);
        assert_int_equal(journal_open(scratch_path("journal"), &scene->journal, &scene->err), 0);
        assert_int_equal(connection_new("test:///default", &scene->connection, &scene->err), 0);
        assert_int_equal(connection_get(scene->connection, &scene->conn, &scene->err), 0);
        scene->domain = virDomainLookupByName(scene->conn, "test");
        assert_non_null(scene->domain);
        agent.connected = true;
        agent.freezes = 2;
        agent.delay_ms = 0;
        atomic_store(&agent.thaws, 2);
        atomic_store(&agent.thawed, 0);
        atomic_store(&agent.error, 0);
        atomic_store(&agent.asleep, 0);
        *state = scene;
        return 0;
}

static int tear_down(void **state) {
        struct scene *scene = *state;
        journal_close(scene->journal);
        virDomainFree(scene->domain);
        connection_put(scene->conn);
        connection_free(scene->connection);
        free(scene);
        return scratch_remove(state);
}

static bool is_written_as(struct scene *scene, const char *prefix) {
        char uuid[VIR_UUID_STRING_BUFLEN], job[33], key[JOURNAL_KEY_MAX];
        assert_int_equal(virDomainGetUUIDString(scene->domain, uuid), 0);
        int found = journal_fact_find_prefix(scene->journal, prefix, uuid, job, key, &scene->err);
        assert_true(found >= 0);
        return found;
}

static bool is_written(struct scene *scene) {
        return is_written_as(scene, FREEZE_FACT) || is_written_as(scene, FREEZE_GIVEN_UP);
}

static void write_fact(struct scene *scene, const char *key) {
        char uuid[VIR_UUID_STRING_BUFLEN];
        assert_int_equal(virDomainGetUUIDString(scene->domain, uuid), 0);
        assert_int_equal(journal_fact_set(scene->journal, JOB, key, uuid, strlen(uuid), &scene->err), 0);
}

static void wait_thawed(unsigned times) {
        for (unsigned i = 0; atomic_load(&agent.thawed) < times; i++) {
                assert_true(i < 1000);
                sleep_ms(10);
        }
}

static void wait_ended(void) {
        for (unsigned i = 0; freeze_pending() > 0; i++) {
                assert_true(i < 1000);
                sleep_ms(10);
        }
        assert_int_equal(atomic_load(&agent.timeout), VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK);
}

static void wait_settled(struct scene *scene) {
        wait_ended();
        assert_false(is_written(scene));
}

static void a_guest_stands_still_until_it_is_told(void **state) {
        struct scene *scene = *state;
        struct freeze *freeze;
        unsigned ms;
        assert_int_equal(freeze_begin(scene->domain, scene->journal, JOB, 2500, &freeze, &scene->err), 0);
        assert_true(is_written(scene));
        assert_int_equal(atomic_load(&agent.timeout), 3);
        assert_int_equal(atomic_load(&agent.thawed), 0);
        assert_int_equal(freeze_end(freeze, &ms, &scene->err), 0);
        assert_in_range(ms, 0, 2500);
        assert_int_equal(atomic_load(&agent.thawed), 1);
        wait_settled(scene);
}

static void without_an_agent_nothing_is_tried(void **state) {
        struct scene *scene = *state;
        struct freeze *freeze;
        agent.connected = false;
        assert_int_equal(freeze_begin(scene->domain, scene->journal, JOB, 0, &freeze, &scene->err), 1);
        assert_string_equal(scene->err.message, "no guest agent is connected");
        assert_false(is_written(scene));
        assert_int_equal(atomic_load(&agent.thawed), 0);
}

static void fault_33_a_guest_is_thawed_when_the_limit_is_over(void **state) {
        struct scene *scene = *state;
        struct freeze *freeze;
        unsigned ms;
        assert_int_equal(freeze_begin(scene->domain, scene->journal, JOB, 100, &freeze, &scene->err), 0);
        wait_thawed(1); // nobody has said a word
        assert_int_equal(freeze_end(freeze, &ms, &scene->err), 1);
        assert_string_equal(scene->err.message, "the guest was thawed after 100 ms, before the checkpoint was made");
        assert_true(ms >= 100);
        wait_settled(scene);
}

static void fault_33_a_freeze_that_fails_is_thawed_all_the_same(void **state) {
        struct scene *scene = *state;
        struct freeze *freeze;
        agent.freezes = -1; // it may be on its way
        agent.delay_ms = 200;
        assert_int_equal(freeze_begin(scene->domain, scene->journal, JOB, 100, &freeze, &scene->err), 1);
        assert_memory_equal(scene->err.message, "freeze the guest: ", strlen("freeze the guest: "));
        wait_thawed(1);
        wait_settled(scene);
}

static void fault_33_thawing_is_tried_again(void **state) {
        struct scene *scene = *state;
        struct freeze *freeze;
        unsigned ms;
        atomic_store(&agent.thaws, -1);
        assert_int_equal(freeze_begin(scene->domain, scene->journal, JOB, 1000, &freeze, &scene->err), 0);
        assert_int_equal(freeze_end(freeze, &ms, &scene->err), 1);
        assert_memory_equal(scene->err.message, "thaw the guest: ", strlen("thaw the guest: "));
        assert_true(is_written(scene));
        atomic_store(&agent.thaws, 2);
        wait_thawed(2);
        wait_settled(scene);
}

static void a_guest_that_thawed_itself_is_not_consistent(void **state) {
        struct scene *scene = *state;
        struct freeze *freeze;
        unsigned ms;
        atomic_store(&agent.thaws, 0);
        assert_int_equal(freeze_begin(scene->domain, scene->journal, JOB, 1000, &freeze, &scene->err), 0);
        assert_int_equal(freeze_end(freeze, &ms, &scene->err), 1);
        assert_string_equal(scene->err.message, "the guest thawed itself before the checkpoint was made");
        wait_settled(scene);
}

static void fault_33_the_next_agent_thaws_what_the_journal_names(void **state) {
        struct scene *scene = *state;
        assert_int_equal(freeze_recover(scene->conn, scene->journal, &scene->err), 0);
        assert_int_equal(atomic_load(&agent.thawed), 0);
        write_fact(scene, FREEZE_FACT "1");
        atomic_store(&agent.thaws, -1);
        atomic_store(&agent.error, VIR_ERR_AGENT_UNRESPONSIVE);
        assert_int_equal(freeze_recover(scene->conn, scene->journal, &scene->err), -1);
        assert_string_equal(scene->err.message, "thaw the guest: so it is");
        assert_true(is_written_as(scene, FREEZE_FACT));
        atomic_store(&agent.thaws, 0);
        write_fact(scene, FREEZE_GIVEN_UP "2");
        assert_int_equal(freeze_recover(scene->conn, scene->journal, &scene->err), 1);
        assert_false(is_written(scene));
        assert_int_equal(atomic_load(&agent.timeout), VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK);
}

static void fault_33_the_next_agents_ask_one_that_refuses_twice(void **state) {
        struct scene *scene = *state;
        write_fact(scene, FREEZE_FACT "1");
        atomic_store(&agent.thaws, -1);
        atomic_store(&agent.error, VIR_ERR_INTERNAL_ERROR);
        assert_int_equal(freeze_recover(scene->conn, scene->journal, &scene->err), -1);
        assert_true(is_written_as(scene, FREEZE_GIVEN_UP));
        assert_false(is_written_as(scene, FREEZE_FACT));
        assert_int_equal(freeze_recover(scene->conn, scene->journal, &scene->err), -1);
        assert_false(is_written(scene));
        assert_int_equal(freeze_recover(scene->conn, scene->journal, &scene->err), 0);
}

static void fault_33_a_freeze_forgets_no_other_one(void **state) {
        struct scene *scene = *state;
        struct freeze *freeze;
        unsigned ms;
        write_fact(scene, FREEZE_FACT "1"); // of the same job, and of an agent that was killed
        assert_int_equal(freeze_begin(scene->domain, scene->journal, JOB, 2500, &freeze, &scene->err), 0);
        assert_int_equal(freeze_end(freeze, &ms, &scene->err), 0);
        wait_ended();
        assert_true(is_written_as(scene, FREEZE_FACT));
}

static void fault_33_a_guest_that_is_being_thawed_is_not_frozen_again(void **state) {
        struct scene *scene = *state;
        struct freeze *freeze;
        unsigned ms;
        atomic_store(&agent.thaws, -1);
        assert_int_equal(freeze_begin(scene->domain, scene->journal, JOB, 1000, &freeze, &scene->err), 0);
        assert_int_equal(freeze_end(freeze, &ms, &scene->err), 1);
        assert_int_equal(freeze_begin(scene->domain, scene->journal, JOB, 1000, &freeze, &scene->err), 1);
        assert_int_equal(scene->err.code, ERROR_BUSY);
        assert_string_equal(scene->err.message, "the guest is still being thawed after an earlier freeze");
        atomic_store(&agent.thaws, 2);
        wait_settled(scene);
        for (unsigned i = 0; i < 100; i++) { // at once after one another
                assert_int_equal(freeze_begin(scene->domain, scene->journal, JOB, 1000, &freeze, &scene->err), 0);
                assert_int_equal(freeze_end(freeze, &ms, &scene->err), 0);
        }
        wait_settled(scene);
}

static void fault_33_an_agent_that_refuses_both_is_asked_no_more(void **state) {
        struct scene *scene = *state;
        struct freeze *freeze;
        agent.freezes = -1;
        atomic_store(&agent.thaws, -1);
        atomic_store(&agent.error, VIR_ERR_INTERNAL_ERROR);
        assert_int_equal(freeze_begin(scene->domain, scene->journal, JOB, 60000, &freeze, &scene->err), 1);
        assert_string_equal(scene->err.message, "freeze the guest: so it is");
        wait_settled(scene);
        assert_int_equal(atomic_load(&agent.thawed), 1);
}

static void fault_33_one_that_never_answers_is_given_up(void **state) {
        struct scene *scene = *state;
        struct freeze *freeze;
        agent.freezes = -1;
        atomic_store(&agent.thaws, -1);
        atomic_store(&agent.error, VIR_ERR_AGENT_UNRESPONSIVE);
        assert_int_equal(freeze_begin(scene->domain, scene->journal, JOB, 60000, &freeze, &scene->err), 1);
        wait_thawed(2); // it is asked again
        assert_true(is_written_as(scene, FREEZE_FACT));
        atomic_store(&agent.asleep, FREEZE_TRY_SECONDS + 1);
        wait_ended();
        assert_false(is_written_as(scene, FREEZE_FACT));
        assert_true(is_written_as(scene, FREEZE_GIVEN_UP));
}

static void fault_33_a_machine_that_has_slept_thaws_in_time(void **state) {
        struct scene *scene = *state;
        struct freeze *freeze;
        unsigned ms;
        atomic_store(&agent.asleep, 3600);
        assert_int_equal(freeze_begin(scene->domain, scene->journal, JOB, 100, &freeze, &scene->err), 0);
        wait_thawed(1);
        assert_int_equal(freeze_end(freeze, &ms, &scene->err), 1);
        wait_settled(scene);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_guest_stands_still_until_it_is_told, set_up, tear_down),
                cmocka_unit_test_setup_teardown(without_an_agent_nothing_is_tried, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_33_a_guest_is_thawed_when_the_limit_is_over, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_33_a_freeze_that_fails_is_thawed_all_the_same, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_33_thawing_is_tried_again, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_guest_that_thawed_itself_is_not_consistent, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_33_the_next_agent_thaws_what_the_journal_names, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(fault_33_the_next_agents_ask_one_that_refuses_twice, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_33_a_freeze_forgets_no_other_one, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_33_a_guest_that_is_being_thawed_is_not_frozen_again, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(fault_33_an_agent_that_refuses_both_is_asked_no_more, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(fault_33_one_that_never_answers_is_given_up, set_up, tear_down),
                cmocka_unit_test_setup_teardown(fault_33_a_machine_that_has_slept_thaws_in_time, set_up, tear_down),
        };
        connection_quiet();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
