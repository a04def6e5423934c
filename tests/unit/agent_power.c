// SPDX-License-Identifier: LGPL-2.1-or-later
/* Starting and stopping, over libvirt's test driver. */
#include "agent/host/connection.h"
#include "agent/host/events.h"
#include "agent/host/power.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct scene {
        struct connection *connection;
        virConnectPtr conn;
        virDomainPtr domain; // runs at the beginning
        struct error err;
};

static int set_up(void **state) {
        struct scene *scene = calloc(1, sizeof(*scene));
        assert_int_equal(connection_new("test:///default", &scene->connection, &scene->err), 0);
        assert_int_equal(connection_get(scene->connection, &scene->conn, &scene->err), 0);
        scene->domain = virDomainLookupByName(scene->conn, "test");
        assert_non_null(scene->domain);
        power_act(scene->domain, DROVER__POWER_ACTION__POWER_START, 0, NULL, NULL, NULL);
        power_act(scene->domain, DROVER__POWER_ACTION__POWER_RESUME, 0, NULL, NULL, NULL);
        *state = scene;
        return 0;
}

static int tear_down(void **state) {
        struct scene *scene = *state;
        virDomainFree(scene->domain);
        connection_put(scene->conn);
        connection_free(scene->connection);
        free(scene);
        return 0;
}

static int state_of(struct scene *scene) {
        int now, reason;
        assert_int_equal(virDomainGetState(scene->domain, &now, &reason, 0), 0);
        return now;
}

static void act(struct scene *scene, Drover__PowerAction action, int expected_state) {
        for (int i = 0; i < 2; i++) { // what is already so is success
                if (power_act(scene->domain, action, 30, NULL, NULL, &scene->err) < 0)
                        fail_msg("%s", scene->err.message);
                assert_int_equal(state_of(scene), expected_state);
        }
}

static void assert_fails(struct scene *scene, Drover__PowerAction action, enum error_code code, const char *message) {
        assert_int_equal(power_act(scene->domain, action, 30, NULL, NULL, &scene->err), -1);
        assert_string_equal(scene->err.message, message);
        assert_int_equal(scene->err.code, code);
}

static void each_action_reaches_its_state_and_may_be_repeated(void **state) {
        struct scene *scene = *state;
        act(scene, DROVER__POWER_ACTION__POWER_SUSPEND, VIR_DOMAIN_PAUSED);
        act(scene, DROVER__POWER_ACTION__POWER_RESUME, VIR_DOMAIN_RUNNING);
        act(scene, DROVER__POWER_ACTION__POWER_STOP, VIR_DOMAIN_SHUTOFF);
        assert_false(power_is_active(scene->domain));
        act(scene, DROVER__POWER_ACTION__POWER_START, VIR_DOMAIN_RUNNING);
        assert_true(power_is_active(scene->domain));
        act(scene, DROVER__POWER_ACTION__POWER_SHUTDOWN, VIR_DOMAIN_SHUTOFF);
}

static void what_is_shut_off_cannot_be_suspended(void **state) {
        struct scene *scene = *state;
        act(scene, DROVER__POWER_ACTION__POWER_STOP, VIR_DOMAIN_SHUTOFF);
        assert_fails(scene, DROVER__POWER_ACTION__POWER_SUSPEND, ERROR_CONFLICT, "VM is shut off");
        assert_string_equal(scene->err.hints[0], "start it: drover vm start VM");
        assert_fails(scene, DROVER__POWER_ACTION__POWER_RESUME, ERROR_CONFLICT, "VM is shut off");
        assert_fails(scene, DROVER__POWER_ACTION__POWER_REBOOT, ERROR_CONFLICT, "VM is shut off");
}

static void what_is_paused_cannot_shut_down(void **state) {
        struct scene *scene = *state;
        act(scene, DROVER__POWER_ACTION__POWER_SUSPEND, VIR_DOMAIN_PAUSED);
        assert_fails(scene, DROVER__POWER_ACTION__POWER_SHUTDOWN, ERROR_CONFLICT, "VM is paused and cannot shut down");
        act(scene, DROVER__POWER_ACTION__POWER_STOP, VIR_DOMAIN_SHUTOFF);
}

static bool always(void *data) {
        (*(unsigned *) data)++;
        return true;
}

static void a_shutdown_can_be_cancelled(void **state) {
        struct scene *scene = *state;
        unsigned asked = 0;
        assert_int_equal(power_shutdown(scene->domain, 30, always, &asked, &scene->err), -1);
        assert_int_equal(scene->err.code, ERROR_CANCELLED);
        assert_string_equal(scene->err.message, "cancelled while the VM was shutting down");
        assert_int_equal(asked, 1);
        assert_int_equal(state_of(scene), VIR_DOMAIN_RUNNING); // before anything was asked of it
}

static void autostart_is_set_and_taken_back(void **state) {
        struct scene *scene = *state;
        int autostart = 0;
        act(scene, DROVER__POWER_ACTION__POWER_AUTOSTART_ON, VIR_DOMAIN_RUNNING);
        assert_int_equal(virDomainGetAutostart(scene->domain, &autostart), 0);
        assert_true(autostart);
        act(scene, DROVER__POWER_ACTION__POWER_AUTOSTART_OFF, VIR_DOMAIN_RUNNING);
        assert_int_equal(virDomainGetAutostart(scene->domain, &autostart), 0);
        assert_false(autostart);
}

static void an_action_that_nobody_knows_is_refused(void **state) {
        assert_fails(*state, (Drover__PowerAction) 99, ERROR_PROTOCOL, "unknown power action 99");
        assert_fails(*state, DROVER__POWER_ACTION__POWER_ACTION_UNSPECIFIED, ERROR_PROTOCOL, "unknown power action 0");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        if (events_init(NULL) < 0)
                return 1;
        const struct CMUnitTest tests[] = {
                TEST(each_action_reaches_its_state_and_may_be_repeated),
                TEST(what_is_shut_off_cannot_be_suspended),
                TEST(what_is_paused_cannot_shut_down),
                TEST(a_shutdown_can_be_cancelled),
                TEST(autostart_is_set_and_taken_back),
                TEST(an_action_that_nobody_knows_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
