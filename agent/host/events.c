// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libvirt's events, from its thread to the loop's.
 *
 *     events thread                              loop thread
 *     virEventRunDefaultImpl() -> on_domain ...  on_wake
 *            put(kind, uuid) -> queue -> uv_async_send -> drained, fn(kind, uuid)
 *
 * The events thread owns the registrations; the queue and `stop` are shared under the lock; the rest belongs to the
 * loop. A registration lives as long as its connection: after each turn of libvirt's loop the thread looks whether the
 * connection is still the one that it registered with, and renews otherwise.
 */
#include "agent/host/events.h"
#include "common/backoff.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/memory.h"
#include "common/name.h"
#include "common/random.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define QUEUE_MAX        1024u
#define FIRST_RETRY_MS   1000u
#define MOST_RETRY_MS    15000u
#define REGISTRATION_MAX 16

struct event {
        enum event_kind kind;
        char uuid[NAME_UUID_LENGTH + 1];
};

struct registrations {      // the events thread's alone
        virConnectPtr conn; // NULL: none
        unsigned generation;
        int domain[REGISTRATION_MAX], n_domain;
        int pool_lifecycle, pool_refresh, network_lifecycle; // -1: none
};

struct events {
        struct connection *connection;
        events_fn fn;
        void *data;
        uv_async_t wake;
        pthread_t thread;

        pthread_mutex_t lock; // of the next four
        struct event *queue;
        unsigned n;
        bool lost;
        bool stop;

        int timer; // of libvirt's loop: ends a turn of it
        uint64_t next_try_ms;
        struct backoff backoff;
        struct registrations registrations;
};

int events_init(struct error *err) {
        if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)
                return connection_error(err, "start libvirt's library");
        connection_quiet();
        return 0;
}

// ---- the queue ----

static void put(struct events *events, enum event_kind kind, const char *uuid) {
        pthread_mutex_lock(&events->lock);
        const struct event *last = events->n ? &events->queue[events->n - 1] : NULL;
        if (last && last->kind == kind && strcmp(last->uuid, uuid) == 0) {
                // a burst about one thing
        } else if (events->n == QUEUE_MAX) {
                events->n = 0;
                events->lost = true;
        } else {
                struct event *event = &events->queue[events->n++];
                event->kind = kind;
                snprintf(event->uuid, sizeof(event->uuid), "%s", uuid);
        }
        pthread_mutex_unlock(&events->lock);
        uv_async_send(&events->wake);
}

// Loop thread. The queue is taken whole, so that fn may take its time.
static void on_wake(uv_async_t *wake) {
        struct events *events = wake->data;
        struct event *fresh = new_array(struct event, QUEUE_MAX);
        pthread_mutex_lock(&events->lock);
        struct event *taken = events->queue;
        unsigned n = events->n;
        bool lost = events->lost;
        events->queue = fresh;
        events->n = 0;
        events->lost = false;
        pthread_mutex_unlock(&events->lock);
        if (lost)
                events->fn(EVENT_LOST, "", events->data);
        for (unsigned i = 0; i < n; i++)
                events->fn(taken[i].kind, taken[i].uuid, events->data);
        free(taken);
}

// ---- libvirt's callbacks, on the events thread ----

static void put_domain(struct events *events, enum event_kind kind, virDomainPtr domain) {
        char uuid[VIR_UUID_STRING_BUFLEN];
        if (virDomainGetUUIDString(domain, uuid) == 0)
                put(events, kind, uuid);
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr domain, int event, int detail, void *data) {
        (void) conn;
        // Undefined while it runs: it goes on as a transient domain. Renamed: it is defined again at once.
        bool removed = event == VIR_DOMAIN_EVENT_UNDEFINED && detail != VIR_DOMAIN_EVENT_UNDEFINED_RENAMED &&
                       virDomainGetID(domain) == (unsigned) -1;
        put_domain(data, removed ? EVENT_DOMAIN_REMOVED : EVENT_DOMAIN_CHANGED, domain);
        return 0;
}

static void on_change(virConnectPtr conn, virDomainPtr domain, void *data) {
        (void) conn;
        put_domain(data, EVENT_DOMAIN_CHANGED, domain);
}

static void on_power(virConnectPtr conn, virDomainPtr domain, int reason, void *data) {
        (void) reason;
        on_change(conn, domain, data);
}

static void on_device(virConnectPtr conn, virDomainPtr domain, const char *alias, void *data) {
        (void) alias;
        on_change(conn, domain, data);
}

static void on_metadata(virConnectPtr conn, virDomainPtr domain, int type, const char *uri, void *data) {
        (void) type;
        (void) uri;
        on_change(conn, domain, data);
}

static void on_agent(virConnectPtr conn, virDomainPtr domain, int state, int reason, void *data) {
        (void) state;
        (void) reason;
        on_change(conn, domain, data);
}

static void on_disk(virConnectPtr conn, virDomainPtr domain, const char *old, const char *now, const char *alias,
                    int reason, void *data) {
        (void) old;
        (void) now;
        (void) alias;
        (void) reason;
        on_change(conn, domain, data);
}

static void on_tray(virConnectPtr conn, virDomainPtr domain, const char *alias, int reason, void *data) {
        (void) alias;
        (void) reason;
        on_change(conn, domain, data);
}

static void on_block_job(virConnectPtr conn, virDomainPtr domain, const char *disk, int type, int status, void *data) {
        (void) disk;
        (void) type;
        (void) status;
        on_change(conn, domain, data);
}

static void put_pool(struct events *events, virStoragePoolPtr pool) {
        char uuid[VIR_UUID_STRING_BUFLEN];
        if (virStoragePoolGetUUIDString(pool, uuid) == 0)
                put(events, EVENT_POOL_CHANGED, uuid);
}

static void on_pool(virConnectPtr conn, virStoragePoolPtr pool, int event, int detail, void *data) {
        (void) conn;
        (void) event;
        (void) detail;
        put_pool(data, pool);
}

static void on_pool_refresh(virConnectPtr conn, virStoragePoolPtr pool, void *data) {
        (void) conn;
        put_pool(data, pool);
}

static void on_network(virConnectPtr conn, virNetworkPtr network, int event, int detail, void *data) {
        (void) conn;
        (void) event;
        (void) detail;
        char uuid[VIR_UUID_STRING_BUFLEN];
        if (virNetworkGetUUIDString(network, uuid) == 0)
                put(data, EVENT_NETWORK_CHANGED, uuid);
}

// ---- registration, on the events thread ----

static const struct {
        int id;
        virConnectDomainEventGenericCallback callback;
} domain_events[] = {
        {VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle)},
        {VIR_DOMAIN_EVENT_ID_PMSUSPEND, VIR_DOMAIN_EVENT_CALLBACK(on_power)},
        {VIR_DOMAIN_EVENT_ID_PMSUSPEND_DISK, VIR_DOMAIN_EVENT_CALLBACK(on_power)},
        {VIR_DOMAIN_EVENT_ID_PMWAKEUP, VIR_DOMAIN_EVENT_CALLBACK(on_power)},
        {VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, VIR_DOMAIN_EVENT_CALLBACK(on_device)},
        {VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(on_device)},
        {VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_metadata)},
        {VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_agent)},
        {VIR_DOMAIN_EVENT_ID_DISK_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_disk)},
        {VIR_DOMAIN_EVENT_ID_TRAY_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_tray)},
        {VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, VIR_DOMAIN_EVENT_CALLBACK(on_block_job)},
};
_Static_assert(ARRAY_SIZE(domain_events) <= REGISTRATION_MAX, "room for each registration");

static void deregister(struct registrations *registrations) {
        virConnectPtr conn = registrations->conn;
        if (!conn)
                return;
        for (int i = 0; i < registrations->n_domain; i++)
                virConnectDomainEventDeregisterAny(conn, registrations->domain[i]);
        if (registrations->pool_lifecycle >= 0)
                virConnectStoragePoolEventDeregisterAny(conn, registrations->pool_lifecycle);
        if (registrations->pool_refresh >= 0)
                virConnectStoragePoolEventDeregisterAny(conn, registrations->pool_refresh);
        if (registrations->network_lifecycle >= 0)
                virConnectNetworkEventDeregisterAny(conn, registrations->network_lifecycle);
        connection_put(conn);
        *registrations = (struct registrations){0};
}

// Domain events are needed; a host without libvirt's storage or network driver has no events of those.
static int register_all(struct events *events, virConnectPtr conn, struct error *err) {
        struct registrations *registrations = &events->registrations;
        *registrations = (struct registrations){.conn = conn};
        registrations->pool_lifecycle =
                virConnectStoragePoolEventRegisterAny(conn, NULL, VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE,
                                                      VIR_STORAGE_POOL_EVENT_CALLBACK(on_pool), events, NULL);
        registrations->pool_refresh =
                virConnectStoragePoolEventRegisterAny(conn, NULL, VIR_STORAGE_POOL_EVENT_ID_REFRESH,
                                                      VIR_STORAGE_POOL_EVENT_CALLBACK(on_pool_refresh), events, NULL);
        registrations->network_lifecycle = virConnectNetworkEventRegisterAny(
                conn, NULL, VIR_NETWORK_EVENT_ID_LIFECYCLE, VIR_NETWORK_EVENT_CALLBACK(on_network), events, NULL);
        for (size_t i = 0; i < ARRAY_SIZE(domain_events); i++) {
                int id = virConnectDomainEventRegisterAny(conn, NULL, domain_events[i].id, domain_events[i].callback,
                                                          events, NULL);
                if (id < 0) {
                        connection_error(err, "register for libvirt's events");
                        deregister(registrations);
                        return -1;
                }
                registrations->domain[registrations->n_domain++] = id;
        }
        return 0;
}

static bool stale(const struct events *events) {
        const struct registrations *registrations = &events->registrations;
        return registrations->conn && (!connection_alive(events->connection) ||
                                       connection_generation(events->connection) != registrations->generation);
}

// Success gives CONNECTED; failure the time of the next try.
static void try_connect(struct events *events) {
        virConnectPtr conn = NULL;
        if (connection_get(events->connection, &conn, NULL) == 0) {
                unsigned generation = connection_generation(events->connection);
                if (register_all(events, conn, NULL) == 0) {
                        events->registrations.generation = generation;
                        backoff_reset(&events->backoff);
                        put(events, EVENT_CONNECTED, "");
                        return;
                }
        }
        events->next_try_ms = clock_ms(&system_clock) + backoff_next(&events->backoff, random_u32());
}

static void on_timer(int timer, void *data) {
        (void) data;
        virEventUpdateTimeout(timer, -1);
}

static bool stopping(struct events *events) {
        pthread_mutex_lock(&events->lock);
        bool stop = events->stop;
        pthread_mutex_unlock(&events->lock);
        return stop;
}

// Under the lock, so that it does not undo the timer with which events_stop() ends the turn.
static void arm(struct events *events) {
        uint64_t now = clock_ms(&system_clock), due = events->next_try_ms;
        pthread_mutex_lock(&events->lock);
        if (!events->stop && !events->registrations.conn)
                virEventUpdateTimeout(events->timer, due > now ? (int) (due - now) : 0);
        pthread_mutex_unlock(&events->lock);
}

static void *run(void *data) {
        struct events *events = data;
        while (!stopping(events)) {
                if (stale(events)) {
                        deregister(&events->registrations);
                        put(events, EVENT_DISCONNECTED, "");
                        events->next_try_ms = 0;
                }
                if (!events->registrations.conn && clock_ms(&system_clock) >= events->next_try_ms)
                        try_connect(events);
                arm(events);
                // One turn of libvirt's loop; while there is no connection it ends when the next try is due.
                if (!stopping(events) && virEventRunDefaultImpl() < 0)
                        usleep(FIRST_RETRY_MS * 1000); // it cannot poll: do not spin
        }
        deregister(&events->registrations);
        return NULL;
}

// ---- the loop's side ----

static void on_closed(uv_handle_t *handle) {
        struct events *events = handle->data;
        free(events->queue);
        pthread_mutex_destroy(&events->lock);
        free(events);
}

int events_start(uv_loop_t *loop, struct connection *connection, events_fn fn, void *data, struct events **ret,
                 struct error *err) {
        struct events *events = new (struct events);
        events->connection = connection;
        events->fn = fn;
        events->data = data;
        events->queue = new_array(struct event, QUEUE_MAX);
        pthread_mutex_init(&events->lock, NULL);
        backoff_init(&events->backoff, FIRST_RETRY_MS, MOST_RETRY_MS);
        events->wake.data = events;
        uv_async_init(loop, &events->wake, on_wake);
        events->timer = virEventAddTimeout(-1, on_timer, NULL, NULL);
        int r = events->timer < 0 ? EINVAL : pthread_create(&events->thread, NULL, run, events);
        if (r != 0) {
                error_errno(err, r, "start the thread for libvirt's events");
                if (events->timer >= 0)
                        virEventRemoveTimeout(events->timer);
                uv_close((uv_handle_t *) &events->wake, on_closed);
                return -1;
        }
        *ret = events;
        return 0;
}

void events_stop(struct events *events) {
        if (!events)
                return;
        pthread_mutex_lock(&events->lock);
        events->stop = true;
        virEventUpdateTimeout(events->timer, 0); // ends the turn that libvirt's loop is in
        pthread_mutex_unlock(&events->lock);
        pthread_join(events->thread, NULL);
        virEventRemoveTimeout(events->timer);
        uv_close((uv_handle_t *) &events->wake, on_closed);
}
