// SPDX-License-Identifier: LGPL-2.1-or-later
/* The connection to libvirt, over libvirt's own test driver and over a daemon that never answers. */
#include "agent/host/connection.h"
#include "agent/host/events.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <cmocka.h>
#include "scratch.h"

static struct error err;

static struct connection *connection_to(const char *uri) {
        struct connection *connection = NULL;
        error_clear(&err);
        assert_int_equal(connection_new(uri, &connection, &err), 0);
        return connection;
}

static void a_connection_is_opened_when_it_is_asked_for(void **state) {
        (void) state;
        struct connection *connection = connection_to("test:///default");
        assert_false(connection_alive(connection));
        assert_int_equal(connection_generation(connection), 0);
        virConnectPtr first = NULL, second = NULL;
        assert_int_equal(connection_get(connection, &first, &err), 0);
        assert_int_equal(connection_get(connection, &second, &err), 0);
        assert_ptr_equal(first, second);
        assert_true(connection_alive(connection));
        assert_int_equal(connection_generation(connection), 1);
        connection_put(first);
        connection_put(second);
        connection_free(connection);
}

static void a_caller_keeps_what_it_was_given(void **state) {
        (void) state;
        struct connection *connection = connection_to("test:///default");
        virConnectPtr conn = NULL;
        assert_int_equal(connection_get(connection, &conn, &err), 0);
        connection_free(connection);
        assert_int_equal(virConnectIsAlive(conn), 1);
        connection_put(conn);
}

static void *get_and_put(void *data) {
        virConnectPtr conn = NULL;
        if (connection_get(data, &conn, NULL) == 0)
                connection_put(conn);
        return NULL;
}

static void many_callers_open_it_once(void **state) {
        (void) state;
        struct connection *connection = connection_to("test:///default");
        pthread_t threads[8];
        for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
                assert_int_equal(pthread_create(&threads[i], NULL, get_and_put, connection), 0);
        for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(connection_generation(connection), 1);
        connection_free(connection);
}

static void fault_26_a_daemon_that_is_away_is_unreachable(void **state) {
        (void) state;
        struct connection *connection = connection_to("qemu+unix:///system?socket=/nonexistent/libvirt-sock");
        virConnectPtr conn = NULL;
        for (int i = 0; i < 2; i++) { // and may be asked for again
                assert_int_equal(connection_get(connection, &conn, &err), -1);
                assert_int_equal(err.code, ERROR_UNREACHABLE);
                assert_string_equal(err.message, "libvirt is not reachable: Failed to connect socket to "
                                                 "'/nonexistent/libvirt-sock': No such file or directory");
                assert_string_equal(err.hints[0], "on the host: systemctl status libvirtd");
        }
        assert_null(conn);
        assert_false(connection_alive(connection));
        connection_free(connection);
}

// A socket on which nobody ever answers. The opening is left behind, not repeated, and ends with the socket.
static void fault_26_a_daemon_that_hangs_does_not_hang_the_agent(void **state) {
        (void) state;
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof(address.sun_path), "%s", scratch_path("sock"));
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(listener, (struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(listen(listener, 8), 0);
        char uri[160];
        snprintf(uri, sizeof(uri), "qemu+unix:///system?socket=%s", address.sun_path);
        struct connection *connection = connection_to(uri);
        virConnectPtr conn = NULL;
        uint64_t start = clock_ms(&system_clock);
        assert_int_equal(connection_get(connection, &conn, &err), -1);
        uint64_t took = clock_ms(&system_clock) - start;
        assert_int_equal(err.code, ERROR_UNREACHABLE);
        assert_string_equal(err.message, "libvirt is not reachable: no answer within 10 s");
        assert_in_range(took, 9500, 20000);

        int stuck = accept(listener, NULL, NULL);
        assert_true(stuck >= 0);
        close(stuck);
        close(listener);
        // The same opening ends now, and the next one is refused at once.
        assert_int_equal(connection_get(connection, &conn, &err), -1);
        assert_int_equal(connection_get(connection, &conn, &err), -1);
        assert_int_equal(err.code, ERROR_UNREACHABLE);
        connection_free(connection);
}

static void errors_of_libvirt_are_translated(void **state) {
        (void) state;
        struct connection *connection = connection_to("test:///default");
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        assert_int_equal(connection_get(connection, &conn, &err), 0);
        assert_null(virDomainLookupByName(conn, "none"));
        assert_int_equal(connection_error(&err, "look up none"), -1);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        assert_non_null(strstr(err.message, "look up none: Domain not found"));
        assert_null(virStoragePoolLookupByName(conn, "none"));
        connection_error(&err, "look up");
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        _cleanup_(domain_free_p) virDomainPtr running = virDomainLookupByName(conn, "test");
        assert_int_equal(virDomainCreate(running), -1);
        connection_error(&err, "start");
        assert_true(err.code == ERROR_CONFLICT || err.code == ERROR_LIBVIRT);
        virResetLastError();
        connection_error(&err, "start");
        assert_string_equal(err.message, "start: libvirt gave no reason");
        connection_free(connection);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)

int main(void) {
        if (events_init(&err) < 0)
                return 1;
        const struct CMUnitTest tests[] = {
                TEST(a_connection_is_opened_when_it_is_asked_for),
                TEST(a_caller_keeps_what_it_was_given),
                TEST(many_callers_open_it_once),
                TEST(fault_26_a_daemon_that_is_away_is_unreachable),
                TEST(fault_26_a_daemon_that_hangs_does_not_hang_the_agent),
                TEST(errors_of_libvirt_are_translated),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
