// SPDX-License-Identifier: LGPL-2.1-or-later
/* The whole agent as a process, without a controller: what it tells systemd and how it ends; and the checks of a join.
 */
#include "agent/agent.h"
#include "agent/host/events.h"
#include "agent/session/checks.h"
#include "agent/session/state.h"
#include "common/log.h"
#include "common/memory.h"
#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <cmocka.h>
#include "certificates.h"
#include "scratch.h"

#define WAIT_MS 20000

// ---- the process

struct service {
        pid_t pid;
        int notify; // where systemd would listen
        char heard[4096];
};

static void join_host(const char *address) {
        struct error err = ERROR_INIT;
        struct authority authority = authority_new();
        EVP_PKEY *key = NULL;
        char *addresses[] = {(char *) address};
        struct state state = {.addresses = {.items = addresses, .n = 1},
                              .site = (char *) "lyon",
                              .host = (char *) "kvm1",
                              .uuid = (char *) UUID_HOST};
        must(pki_new_key(&key, &err), &err);
        X509 *certificate = certificate_now(&authority, key, IDENTITY_HOST);
        must(state_store_join(scratch, &state, key, certificate, authority.certificate, &err), &err);
        X509_free(certificate);
        EVP_PKEY_free(key);
        authority_free(&authority);
}

static void run_agent(void) {
        struct error err = ERROR_INIT;
        struct settings settings = {0};
        char usec[16] = "400000";
        setenv("NOTIFY_SOCKET", scratch_path("notify"), 1);
        setenv("WATCHDOG_USEC", usec, 1);
        scratch_write("agent.yaml", "libvirt_uri: test:///default\ndata_port: 0\nlog_level: error\n");
        if (settings_load(scratch_path("agent.yaml"), &settings, &err) < 0)
                _exit(90);
        log_set_level((enum log_level) settings_log_level(&settings));
        int r = agent_run(&settings, scratch, &err);
        settings_fini(&settings);
        exit(r < 0 ? error_exit_code(err.code) : 0); // and not _exit: the leak check of a sanitizer runs
}

static struct service start(void) {
        struct service service = {.notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        strncpy(address.sun_path, scratch_path("notify"), sizeof address.sun_path - 1);
        assert_int_equal(bind(service.notify, (struct sockaddr *) &address, sizeof address), 0);
        fflush(NULL);
        service.pid = fork();
        if (service.pid == 0)
                run_agent();
        return service;
}

static void hear(struct service *service, const char *wanted) {
        while (!strstr(service->heard, wanted)) {
                struct pollfd ready = {.fd = service->notify, .events = POLLIN};
                size_t have = strlen(service->heard);
                if (poll(&ready, 1, WAIT_MS) != 1 || have + 512 > sizeof service->heard)
                        fail_msg("%s never came, only: %s", wanted, service->heard);
                ssize_t n = recv(service->notify, service->heard + have, sizeof service->heard - have - 2, 0);
                assert_true(n > 0);
                memcpy(service->heard + have + n, "\n", 2);
        }
}

static int end(struct service *service) {
        int status = -1;
        assert_int_equal(waitpid(service->pid, &status, 0), service->pid);
        close(service->notify);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void an_agent_without_a_controller_is_ready_and_says_what_it_waits_for(void **state) {
        (void) state;
        join_host("127.0.0.1:1");
        struct service service = start();
        hear(&service, "READY=1");
        hear(&service, "STATUS=no link to the controller: cannot reach 127.0.0.1:1: connection refused; next try in");
        hear(&service, "WATCHDOG=1");
        kill(service.pid, SIGTERM);
        hear(&service, "STOPPING=1");
        assert_int_equal(end(&service), 0);
}

static void a_second_agent_on_the_same_state_ends_with_a_conflict(void **state) {
        (void) state;
        int lock = -1;
        struct error err = ERROR_INIT;
        join_host("127.0.0.1:1");
        must(state_lock(scratch, &lock, &err), &err);
        struct service service = start();
        assert_int_equal(end(&service), 6);
        close(lock);
}

static void an_agent_whose_key_is_gone_ends_with_an_error(void **state) {
        (void) state;
        join_host("127.0.0.1:1");
        unlink(scratch_path("host.key"));
        struct service service = start();
        assert_int_not_equal(end(&service), 0);
}

// ---- the checks of a join

static void checks_init(void) {
        struct error err = ERROR_INIT;
        static bool done;
        if (!done)
                must(events_init(&err), &err);
        done = true;
}

static const char *warning_with(const struct checks *checks, const char *part) {
        for (unsigned i = 0; i < checks->n_warnings && i < CHECKS_WARNINGS_MAX; i++)
                if (strstr(checks->warnings[i], part))
                        return checks->warnings[i];
        return NULL;
}

static void checks_count_vms_and_what_is_well(void **state) {
        (void) state;
        const struct checks_config config = {.libvirt_uri = "test:///default", .state_directory = scratch};
        struct checks checks;
        checks_init();
        checks_run(&config, &checks);
        assert_int_equal(checks.n_vms, 1);
        assert_true(checks.n_ok >= 5);
        assert_null(warning_with(&checks, "clock"));
        assert_null(warning_with(&checks, "libvirt"));
        checks_fini(&checks);
}

static void a_warning_says_how_to_mend_it(void **state) {
        (void) state;
        struct sockaddr_in6 address = {.sin6_family = AF_INET6};
        socklen_t length = sizeof address;
        char wanted[128];
        int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (struct sockaddr *) &address, sizeof address), 0);
        assert_int_equal(listen(fd, 1), 0);
        getsockname(fd, (struct sockaddr *) &address, &length);
        const struct checks_config config = {.libvirt_uri = "qemu+unix:///system?socket=/nonexistent",
                                             .state_directory = scratch,
                                             .data_port = ntohs(address.sin6_port),
                                             .clock_offset_ms = 1800};
        struct checks checks;
        checks_init();
        checks_run(&config, &checks);
        assert_int_equal(checks.n_vms, -1);
        assert_string_equal(warning_with(&checks, "clock"),
                            "clock is 1.8 s ahead: systemctl enable --now systemd-timesyncd");
        snprintf(wanted, sizeof wanted,
                 "data port %u cannot be used (Address already in use): set data_port in /etc/drover/agent.yaml",
                 config.data_port);
        assert_string_equal(warning_with(&checks, "data port"), wanted);
        assert_non_null(
                strstr(warning_with(&checks, "libvirt is not reachable"), ": apt install libvirt-daemon-system"));
        checks_fini(&checks);
        close(fd);
}

int main(void) {
        log_init("agent_run", LOG_LEVEL_ERROR);
#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)
        const struct CMUnitTest tests[] = {
                TEST(an_agent_without_a_controller_is_ready_and_says_what_it_waits_for),
                TEST(a_second_agent_on_the_same_state_ends_with_a_conflict),
                TEST(an_agent_whose_key_is_gone_ends_with_an_error),
                TEST(checks_count_vms_and_what_is_well),
                TEST(a_warning_says_how_to_mend_it),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
