// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The connection to libvirt. virConnectOpen() knows no time limit on a unix socket, so it runs on a thread of its own,
 * which is left behind when it takes too long: a daemon that hangs costs one thread, not the agent. Whoever asks
 * meanwhile waits for the same opening. libvirt's errors are translated here and nowhere else.
 */
#include "agent/host/connection.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define OPEN_SECONDS      10
#define KEEPALIVE_SECONDS 5
#define KEEPALIVE_MISSED  3

// One call of virConnectOpen(), shared by its thread and the connection; the last one to let go frees it.
struct opening {
        atomic_uint references;
        pthread_mutex_t lock;
        pthread_cond_t finished;
        bool done;
        char *uri;
        virConnectPtr conn; // the result, until somebody takes it
        struct error error;
};

struct connection {
        pthread_mutex_t lock;
        char *uri;
        virConnectPtr conn;      // NULL: none
        struct opening *opening; // NULL: none under way
        atomic_uint generation;
        atomic_bool alive; // cleared by libvirt's close callback, on its event thread
};

int connection_new(const char *uri, struct connection **ret, struct error *err) {
        (void) err;
        struct connection *connection = new (struct connection);
        pthread_mutex_init(&connection->lock, NULL);
        connection->uri = memory_string(uri);
        *ret = connection;
        return 0;
}

static void opening_unref(struct opening *opening) {
        if (atomic_fetch_sub(&opening->references, 1) != 1)
                return;
        if (opening->conn)
                virConnectClose(opening->conn);
        pthread_cond_destroy(&opening->finished);
        pthread_mutex_destroy(&opening->lock);
        free(opening->uri);
        free(opening);
}

static void *open_thread(void *data) {
        struct opening *opening = data;
        struct error error = ERROR_INIT;
        virConnectPtr conn = virConnectOpen(opening->uri);
        if (!conn) {
                connection_error(&error, "libvirt is not reachable");
                error.code = ERROR_UNREACHABLE;
                error_hint(&error, "on the host: systemctl status libvirtd");
        } else {
                virConnectSetKeepAlive(conn, KEEPALIVE_SECONDS,
                                       KEEPALIVE_MISSED); // without it a hang is found later, no more
        }
        pthread_mutex_lock(&opening->lock);
        opening->conn = conn;
        opening->error = error;
        opening->done = true;
        pthread_cond_broadcast(&opening->finished);
        pthread_mutex_unlock(&opening->lock);
        opening_unref(opening);
        return NULL;
}

static int opening_start(const char *uri, struct opening **ret, struct error *err) {
        struct opening *opening = new (struct opening);
        pthread_condattr_t monotonic;
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&opening->finished, &monotonic);
        pthread_condattr_destroy(&monotonic);
        pthread_mutex_init(&opening->lock, NULL);
        opening->uri = memory_string(uri);
        opening->references = 2;

        pthread_t thread;
        pthread_attr_t detached;
        pthread_attr_init(&detached);
        pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
        int r = pthread_create(&thread, &detached, open_thread, opening);
        pthread_attr_destroy(&detached);
        if (r != 0) {
                opening->references = 1;
                opening_unref(opening);
                return error_errno(err, r, "start a thread to reach libvirt");
        }
        *ret = opening;
        return 0;
}

// Waits until it is done or the time is over; false in the latter case.
static bool opening_wait(struct opening *opening) {
        struct timespec deadline;
        clock_gettime(CLOCK_MONOTONIC, &deadline);
        deadline.tv_sec += OPEN_SECONDS;
        pthread_mutex_lock(&opening->lock);
        int r = 0;
        while (!opening->done && r == 0)
                r = pthread_cond_timedwait(&opening->finished, &opening->lock, &deadline);
        bool done = opening->done;
        pthread_mutex_unlock(&opening->lock);
        return done;
}

static void on_close(virConnectPtr conn, int reason, void *data) {
        struct connection *connection = data;
        (void) conn;
        (void) reason;
        atomic_store(&connection->alive, false);
}

// With the lock held.
static void forget(struct connection *connection) {
        if (!connection->conn)
                return;
        virConnectUnregisterCloseCallback(connection->conn, on_close);
        virConnectClose(connection->conn);
        connection->conn = NULL;
        atomic_store(&connection->alive, false);
}

// With the lock held, when the opening is done: the first who comes takes the result.
static int adopt(struct connection *connection, struct opening *opening, struct error *err) {
        if (connection->opening == opening) {
                connection->opening = NULL;
                opening_unref(opening);
                if (opening->conn) {
                        connection->conn = opening->conn;
                        opening->conn = NULL;
                        virConnectRegisterCloseCallback(connection->conn, on_close, connection, NULL);
                        atomic_store(&connection->alive, true);
                        atomic_fetch_add(&connection->generation, 1);
                }
        }
        if (connection->conn)
                return 0;
        if (err)
                *err = opening->error;
        return -1;
}

// With the lock held, which is let go while waiting.
static int reopen(struct connection *connection, struct error *err) {
        if (!connection->opening && opening_start(connection->uri, &connection->opening, err) < 0)
                return -1;
        struct opening *opening = connection->opening;
        atomic_fetch_add(&opening->references, 1);
        pthread_mutex_unlock(&connection->lock);
        bool done = opening_wait(opening);
        pthread_mutex_lock(&connection->lock);
        int r = -1;
        if (done) {
                r = adopt(connection, opening, err);
        } else {
                error_set(err, ERROR_UNREACHABLE, "libvirt is not reachable: no answer within %d s", OPEN_SECONDS);
                error_hint(err, "on the host: systemctl restart libvirtd");
        }
        opening_unref(opening);
        return r;
}

int connection_get(struct connection *connection, virConnectPtr *ret, struct error *err) {
        int r = 0;
        pthread_mutex_lock(&connection->lock);
        if (connection->conn && (!atomic_load(&connection->alive) || virConnectIsAlive(connection->conn) != 1))
                forget(connection);
        if (!connection->conn)
                r = reopen(connection, err);
        if (r == 0) {
                virConnectRef(connection->conn);
                *ret = connection->conn;
        }
        pthread_mutex_unlock(&connection->lock);
        return r;
}

void connection_put(virConnectPtr conn) {
        virConnectClose(conn); // gives back one reference
}

void connection_free(struct connection *connection) {
        if (!connection)
                return;
        forget(connection);
        if (connection->opening)
                opening_unref(connection->opening);
        pthread_mutex_destroy(&connection->lock);
        free(connection->uri);
        free(connection);
}

bool connection_alive(struct connection *connection) {
        return atomic_load(&connection->alive);
}

unsigned connection_generation(struct connection *connection) {
        return atomic_load(&connection->generation);
}

static enum error_code translate(int code, int domain) {
        switch (code) {
        case VIR_ERR_NO_DOMAIN:
        case VIR_ERR_NO_NETWORK:
        case VIR_ERR_NO_STORAGE_POOL:
        case VIR_ERR_NO_STORAGE_VOL:
        case VIR_ERR_NO_DOMAIN_SNAPSHOT:
        case VIR_ERR_NO_DOMAIN_CHECKPOINT:
        case VIR_ERR_NO_DOMAIN_METADATA:
                return ERROR_NOT_FOUND;
        case VIR_ERR_OPERATION_INVALID:
        case VIR_ERR_DOM_EXIST:
        case VIR_ERR_NETWORK_EXIST:
        case VIR_ERR_STORAGE_VOL_EXIST:
                return ERROR_CONFLICT;
        case VIR_ERR_AUTH_FAILED:
        case VIR_ERR_AUTH_CANCELLED:
        case VIR_ERR_AUTH_UNAVAILABLE:
        case VIR_ERR_ACCESS_DENIED:
        case VIR_ERR_OPERATION_DENIED:
                return ERROR_DENIED;
        case VIR_ERR_NO_MEMORY:
                return ERROR_NO_MEMORY;
        case VIR_ERR_OPERATION_TIMEOUT:
        case VIR_ERR_AGENT_UNRESPONSIVE: // the guest's
        case VIR_ERR_AGENT_UNSYNCED:
                return ERROR_TIMEOUT;
        case VIR_ERR_RPC:
        case VIR_ERR_NO_CONNECT:
        case VIR_ERR_INVALID_CONN:
                return ERROR_UNREACHABLE;
        case VIR_ERR_SYSTEM_ERROR:   // "Cannot recv data: Connection reset by peer" comes as this, from the RPC layer
        case VIR_ERR_INTERNAL_ERROR: // "client socket is closed"
                return domain == VIR_FROM_RPC || domain == VIR_FROM_REMOTE ? ERROR_UNREACHABLE : ERROR_LIBVIRT;
        default:
                return ERROR_LIBVIRT;
        }
}

int connection_error(struct error *err, const char *what) {
        const virError *last = virGetLastError();
        if (!last || last->code == VIR_ERR_OK)
                return error_set(err, ERROR_LIBVIRT, "%s: libvirt gave no reason", what);
        const char *text = last->message ? last->message : "unknown error";
        return error_set(err, translate(last->code, last->domain), "%s: %.*s", what, (int) strcspn(text, "\n"), text);
}

static void ignore(void *data, virErrorPtr error) {
        (void) data;
        (void) error;
}

void connection_quiet(void) {
        virSetErrorFunc(NULL, ignore);
}
