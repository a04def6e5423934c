// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/transfer/wire, common/dial: which traffic class connections carry, in both families of addresses. */
#include "agent/transfer/channel.h"
#include "common/dial.h"
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#define LE   (1 << 2)
#define AF21 (18 << 2)

static int listen_on(int family, in_port_t *ret_port) {
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = family == AF_INET ? sizeof v4 : sizeof v6;
        struct sockaddr *address = family == AF_INET ? (struct sockaddr *) &v4 : (struct sockaddr *) &v6;
        int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), off = 0;
        if (fd < 0)
                skip(); // a kernel without IPv6
        if (family == AF_INET6)
                assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off), 0);
        assert_int_equal(bind(fd, address, size), 0);
        assert_int_equal(listen(fd, 1), 0);
        assert_int_equal(getsockname(fd, address, &size), 0);
        *ret_port = family == AF_INET ? v4.sin_port : v6.sin6_port;
        return fd;
}

// From 127.0.0.1 or ::1 to it.
static int dial_it(int family, in_port_t port) {
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT, .sin6_port = port};
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = port};
        int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(family == AF_INET ? connect(fd, (struct sockaddr *) &v4, sizeof v4)
                                           : connect(fd, (struct sockaddr *) &v6, sizeof v6),
                         0);
        return fd;
}

static int option(int fd, int level, int name) {
        int value = -1;
        socklen_t size = sizeof value;
        assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
        return value;
}

static void assert_class(int fd, int family, int class) {
        assert_int_equal(option(fd, IPPROTO_IP, IP_TOS), class); // also of IPv4 in an IPv6 socket
        if (family == AF_INET6)
                assert_int_equal(option(fd, IPPROTO_IPV6, IPV6_TCLASS), class);
}

static void check_bulk(int listens, int dials) {
        in_port_t port;
        int listener = listen_on(listens, &port), one = dial_it(dials, port), other = accept(listener, NULL, NULL);
        struct channel *dialled = channel_new(one, &system_clock), *accepted = channel_new(other, &system_clock);
        assert_class(one, dials, LE);
        assert_class(other, listens, LE);
        channel_free(dialled);
        channel_free(accepted);
        close(listener);
}

static void bulk_carries_the_lower_effort_class(void **state) {
        (void) state;
        check_bulk(AF_INET, AF_INET);
        check_bulk(AF_INET6, AF_INET6);
        check_bulk(AF_INET6, AF_INET);
}

static void what_is_relayed_carries_it_too_and_what_is_said_a_higher_one(void **state) {
        (void) state;
        for (unsigned i = 0; i < 2; i++) {
                int family = i ? AF_INET6 : AF_INET, detached;
                in_port_t port;
                int listener = listen_on(family, &port), fd = dial_it(family, port);
                uv_loop_t loop;
                uv_tcp_t *tcp = malloc(sizeof *tcp);
                uv_loop_init(&loop);
                uv_tcp_init(&loop, tcp);
                assert_int_equal(uv_tcp_open(tcp, fd), 0);
                dial_tune_tcp(tcp);
                assert_class(fd, family, AF21);
                assert_int_equal(dial_detach_tcp(tcp, &detached, NULL), 0);
                assert_class(detached, family, LE);
                close(detached);
                dial_close_tcp(tcp);
                uv_run(&loop, UV_RUN_DEFAULT);
                assert_int_equal(uv_loop_close(&loop), 0);
                close(listener);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(bulk_carries_the_lower_effort_class),
                cmocka_unit_test(what_is_relayed_carries_it_too_and_what_is_said_a_higher_one),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
