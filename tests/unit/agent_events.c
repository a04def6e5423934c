// SPDX-License-Identifier: LGPL-2.1-or-later
/* libvirt's events on the loop, over libvirt's test driver. */
#include "agent/host/events.h"
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define NEW_UUID "6c1f8a8e-0f4e-4b3c-9d5e-0a1b2c3d4e5f"
#define NEW_XML                                                                                                        \
        "<domain type='test'><name>new</name><uuid>" NEW_UUID "</uuid><memory>8192</memory><os><type>hvm</type></os>"  \
        "</domain>"

struct seen {
        enum event_kind kind;
        char uuid[40];
};

struct scene {
        uv_loop_t loop;
        struct connection *connection;
        struct events *events;
        struct seen seen[4096];
        unsigned n;
        enum event_kind awaited;
        char awaited_uuid[40];
        bool found, timed_out;
        struct error err;
};

static void on_event(enum event_kind kind, const char *uuid, void *data) {
        struct scene *scene = data;
        assert_true(scene->n < 4096);
        struct seen *seen = &scene->seen[scene->n++];
        seen->kind = kind;
        snprintf(seen->uuid, sizeof(seen->uuid), "%s", uuid);
        if (kind == scene->awaited && strcmp(uuid, scene->awaited_uuid) == 0) {
                scene->found = true;
                uv_stop(&scene->loop);
        }
}

static void on_deadline(uv_timer_t *timer) {
        struct scene *scene = timer->data;
        scene->timed_out = true;
        uv_stop(&scene->loop);
}

// Run the loop until the event comes.
static void await(struct scene *scene, enum event_kind kind, const char *uuid) {
        uv_timer_t timer;
        uv_timer_init(&scene->loop, &timer);
        timer.data = scene;
        uv_timer_start(&timer, on_deadline, 20000, 0);
        scene->awaited = kind;
        snprintf(scene->awaited_uuid, sizeof(scene->awaited_uuid), "%s", uuid);
        scene->found = false;
        uv_run(&scene->loop, UV_RUN_DEFAULT);
        uv_close((uv_handle_t *) &timer, NULL);
        uv_run(&scene->loop, UV_RUN_NOWAIT);
        if (!scene->found)
                fail_msg("event %d %s never came", (int) kind, uuid);
}

static void start_with(struct scene *scene, const char *uri) {
        assert_int_equal(connection_new(uri, &scene->connection, &scene->err), 0);
        assert_int_equal(events_start(&scene->loop, scene->connection, on_event, scene, &scene->events, &scene->err),
                         0);
}

static int set_up(void **state) {
        struct scene *scene = calloc(1, sizeof(*scene));
        uv_loop_init(&scene->loop);
        *state = scene;
        return 0;
}

static int tear_down(void **state) {
        struct scene *scene = *state;
        unsigned before = scene->n;
        events_stop(scene->events);
        uv_run(&scene->loop, UV_RUN_DEFAULT);
        assert_int_equal(scene->n, before); // nothing after the stop
        assert_int_equal(uv_loop_close(&scene->loop), 0);
        connection_free(scene->connection);
        free(scene);
        return 0;
}

static void a_domain_is_followed_from_its_definition_to_its_end(void **state) {
        struct scene *scene = *state;
        virConnectPtr conn = NULL;
        start_with(scene, "test:///default");
        await(scene, EVENT_CONNECTED, "");
        assert_int_equal(connection_get(scene->connection, &conn, &scene->err), 0);
        virDomainPtr domain = virDomainDefineXML(conn, NEW_XML);
        assert_non_null(domain);
        await(scene, EVENT_DOMAIN_CHANGED, NEW_UUID);
        assert_int_equal(virDomainCreate(domain), 0);
        await(scene, EVENT_DOMAIN_CHANGED, NEW_UUID);
        assert_int_equal(virDomainDestroy(domain), 0);
        await(scene, EVENT_DOMAIN_CHANGED, NEW_UUID);
        assert_int_equal(virDomainUndefine(domain), 0);
        await(scene, EVENT_DOMAIN_REMOVED, NEW_UUID);
        virDomainFree(domain);
        connection_put(conn);
}

static void pools_and_networks_are_followed(void **state) {
        struct scene *scene = *state;
        virConnectPtr conn = NULL;
        char uuid[VIR_UUID_STRING_BUFLEN];
        start_with(scene, "test:///default");
        await(scene, EVENT_CONNECTED, "");
        assert_int_equal(connection_get(scene->connection, &conn, &scene->err), 0);
        virStoragePoolPtr pool = virStoragePoolLookupByName(conn, "default-pool");
        assert_int_equal(virStoragePoolRefresh(pool, 0), 0);
        virStoragePoolGetUUIDString(pool, uuid);
        await(scene, EVENT_POOL_CHANGED, uuid);
        virNetworkPtr network = virNetworkLookupByName(conn, "default");
        assert_int_equal(virNetworkDestroy(network), 0);
        virNetworkGetUUIDString(network, uuid);
        await(scene, EVENT_NETWORK_CHANGED, uuid);
        assert_int_equal(virNetworkCreate(network), 0);
        virNetworkFree(network);
        virStoragePoolFree(pool);
        connection_put(conn);
}

static sem_t heard; // by a callback of the test's own, which is called after that of the events

static void on_metadata(virConnectPtr conn, virDomainPtr domain, int type, const char *uri, void *data) {
        (void) conn;
        (void) domain;
        (void) type;
        (void) uri;
        (void) data;
        sem_post(&heard);
}

// The loop is not run meanwhile, so that the queue fills. Metadata of two domains in turn are not merged.
static void a_flood_is_told_as_a_loss(void **state) {
        struct scene *scene = *state;
        virConnectPtr conn = NULL;
        start_with(scene, "test:///default");
        await(scene, EVENT_CONNECTED, "");
        assert_int_equal(connection_get(scene->connection, &conn, &scene->err), 0);
        virDomainPtr one = virDomainLookupByName(conn, "test"), other = virDomainDefineXML(conn, NEW_XML);
        sem_init(&heard, 0, 0);
        int id = virConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
                                                  VIR_DOMAIN_EVENT_CALLBACK(on_metadata), NULL, NULL);
        assert_true(id >= 0);
        for (int i = 0; i < 600; i++) {
                char title[16];
                snprintf(title, sizeof(title), "t%d", i);
                assert_int_equal(virDomainSetMetadata(one, VIR_DOMAIN_METADATA_TITLE, title, NULL, NULL, 0), 0);
                assert_int_equal(virDomainSetMetadata(other, VIR_DOMAIN_METADATA_TITLE, title, NULL, NULL, 0), 0);
        }
        struct timespec deadline;
        clock_gettime(CLOCK_REALTIME, &deadline);
        deadline.tv_sec += 30;
        for (int i = 0; i < 1200; i++)
                assert_int_equal(sem_timedwait(&heard, &deadline), 0);
        assert_int_equal(virConnectDomainEventDeregisterAny(conn, id), 0);
        await(scene, EVENT_LOST, "");
        assert_int_equal(virDomainUndefine(other), 0);
        await(scene, EVENT_DOMAIN_REMOVED, NEW_UUID);
        assert_true(scene->n < 1100);
        virDomainFree(one);
        virDomainFree(other);
        connection_put(conn);
}

static void stopping_does_not_wait_for_a_daemon_that_is_away(void **state) {
        struct scene *scene = *state;
        start_with(scene, "qemu+unix:///system?socket=/nonexistent/libvirt-sock");
        uv_run(&scene->loop, UV_RUN_NOWAIT);
        assert_int_equal(scene->n, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        if (events_init(NULL) < 0)
                return 1;
        const struct CMUnitTest tests[] = {
                TEST(a_domain_is_followed_from_its_definition_to_its_end),
                TEST(pools_and_networks_are_followed),
                TEST(a_flood_is_told_as_a_loss),
                TEST(stopping_does_not_wait_for_a_daemon_that_is_away),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
