// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Making, wiring and taking down. The order: lock and identity, journal, libvirt, data plane, session, events; and
 * backwards at the end, after the session has said that no step runs any more and the last worker has returned.
 */
#include "agent/agent.h"
#include "agent/blocks/nbd_meeting.h"
#include "agent/host/watch.h"
#include "agent/notify.h"
#include "agent/session/session.h"
#include "agent/session/state.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/timer.h"
#include "common/worker.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>

#define STOP_MS       4500u                 // of the five seconds that an orderly end may take
#define PRUNE_MS      (24ull * 3600 * 1000) // between two prunings of the journal
#define PRUNE_AGE     (30ll * 24 * 3600)    // seconds: how long finished steps are remembered
#define TRANSFERS_MAX 16u                   // data connections, each way

#define LARGE (256 << 10) // bytes: a block, a window, a table of the coder

struct agent {
        const struct settings *settings;
        uv_loop_t loop;
        int lock;
        struct state state;
        struct tls_credentials *credentials;
        struct journal *journal;
        struct connection *connection;
        struct transfers *transfers;
        struct session *session;
        struct events *events;
        struct watch *watch;
        struct notify *notify;
        struct timer *prune, *deadline;
        uv_signal_t signals[2];
        bool stopping, stopped;
};

// ---- what the loop calls

static void on_status(const char *text, void *data) {
        (void) data;
        notify_status(text);
}

static void on_libvirt(enum event_kind kind, const char *uuid, void *data) {
        struct agent *agent = data;
        if (agent->stopping)
                return;
        if (kind == EVENT_CONNECTED)
                watch_again(agent->watch);
        session_libvirt_event(agent->session, kind, uuid);
}

static void on_watch(void *data) {
        struct agent *agent = data;
        if (!agent->stopping)
                session_libvirt_event(agent->session, EVENT_LOST, "");
}

static void prune(void *data) {
        struct journal *journal = data;
        struct error err = ERROR_INIT;
        if (journal_prune(journal, clock_wall(&system_clock) - PRUNE_AGE, &err) < 0)
                log_failure(LOG_LEVEL_WARNING, "prune the journal", &err, NULL);
}

static void on_pruned(void *data) {
        (void) data;
}

static void on_prune(void *data) {
        struct agent *agent = data;
        worker_run(&agent->loop, prune, on_pruned, agent->journal);
}

static void on_session_stopped(void *data) {
        struct agent *agent = data;
        agent->stopped = true;
        uv_stop(&agent->loop);
}

// A call that cannot be interrupted (libvirtd hangs, a disk does): what it was is in the journal.
static void on_deadline(void *data) {
        (void) data;
        log_warning("an operation does not end; it will be taken up at the next start", NULL);
        _exit(0);
}

static void on_signal(uv_signal_t *handle, int number) {
        struct agent *agent = handle->data;
        (void) number;
        if (agent->stopping)
                return;
        agent->stopping = true;
        notify_stopping();
        log_info("stopping", NULL);
        timer_once(agent->deadline, STOP_MS);
        session_stop(agent->session, on_session_stopped, agent);
}

// ---- making

static int open_state(struct agent *agent, const char *directory, struct error *err) {
        _cleanup_(free_p) char *journal = state_path(directory, "agent.db");
        if (!state_joined(directory)) // before the lock makes the directory
                return state_load(directory, &agent->state, err);
        if (state_lock(directory, &agent->lock, err) < 0 || state_load(directory, &agent->state, err) < 0)
                return -1;
        if (tls_credentials_load(directory, STATE_NAME, &agent->credentials, err) < 0)
                return -1;
        return journal_open(journal, &agent->journal, err);
}

static int try_transfers(struct agent *agent, const char *address, uint16_t port, struct error *err) {
        const struct transfers_config config = {
                .port = port, .listen_address = address, .concurrent_max = TRANSFERS_MAX, .clock = &system_clock};
        return transfers_new(&agent->loop, &config, &agent->transfers, err);
}

// Without its port an agent still moves images, by the paths on which it dials; so a port in use is no reason to stay
// away.
static int open_transfers(struct agent *agent, struct error *err) {
        uint16_t port = (uint16_t) agent->settings->data_port;
        const char *listen = agent->settings->data_listen;
        struct error why = ERROR_INIT;
        if (try_transfers(agent, listen ? listen : "::", port, &why) == 0)
                return 0;
        if (!listen && try_transfers(agent, "0.0.0.0", port, &why) == 0)
                return 0;
        log_failure(LOG_LEVEL_WARNING, "no data connections can come in", &why, NULL);
        return try_transfers(agent, "0.0.0.0", 0, err);
}

static int open_session(struct agent *agent, const char *directory, struct error *err) {
        const struct session_config config = {.addresses = (const char *const *) agent->state.addresses.items,
                                              .n_addresses = agent->state.addresses.n,
                                              .state_directory = directory,
                                              .data_address = agent->settings->data_address,
                                              .retry_first_ms = (uint32_t) agent->settings->retry_first_ms,
                                              .retry_most_ms = (uint32_t) agent->settings->retry_most * 1000,
                                              .clock = &system_clock,
                                              .on_status = on_status,
                                              .on_status_data = agent};
        return session_new(&agent->loop, &config, agent->credentials, agent->connection, agent->journal,
                           agent->transfers, &agent->session, err);
}

static int open_libvirt(struct agent *agent, struct error *err) {
        if (events_init(err) < 0)
                return -1;
        connection_quiet();
        return connection_new(agent->settings->libvirt_uri, &agent->connection, err);
}

static void watch_signals(struct agent *agent) {
        static const int numbers[] = {SIGTERM, SIGINT};
        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
                uv_signal_init(&agent->loop, &agent->signals[i]);
                agent->signals[i].data = agent;
                uv_signal_start(&agent->signals[i], on_signal, numbers[i]);
        }
        signal(SIGPIPE, SIG_IGN);
}

static int make(struct agent *agent, const char *directory, struct error *err) {
        agent->notify = notify_new(&agent->loop);
        agent->prune = timer_new(&agent->loop, on_prune, agent);
        agent->deadline = timer_new(&agent->loop, on_deadline, agent);
        watch_signals(agent);
        if (open_state(agent, directory, err) < 0 || open_libvirt(agent, err) < 0 || open_transfers(agent, err) < 0 ||
            open_session(agent, directory, err) < 0)
                return -1;
        agent->watch = watch_new(&agent->loop, on_watch, agent);
        return events_start(&agent->loop, agent->connection, on_libvirt, agent, &agent->events, err);
}

// ---- taking down

static void close_loop(struct agent *agent) {
        for (size_t i = 0; i < ARRAY_SIZE(agent->signals); i++)
                uv_close((uv_handle_t *) &agent->signals[i], NULL);
        timer_free(agent->deadline);
        uv_run(&agent->loop, UV_RUN_DEFAULT); // the close callbacks
        uv_loop_close(&agent->loop);
}

static void take_down(struct agent *agent) {
        events_stop(agent->events);
        watch_free(agent->watch);
        session_free(agent->session);
        timer_free(agent->prune);
        notify_free(agent->notify);
        while (worker_pending()) // readings that nobody waits for any more still use what is freed below
                uv_run(&agent->loop, UV_RUN_ONCE);
        transfers_free(agent->transfers);
        connection_free(agent->connection);
        journal_close(agent->journal);
        tls_credentials_unref(agent->credentials);
        state_fini(&agent->state);
        close_loop(agent);
        close_p(&agent->lock);
}

static void run(struct agent *agent) {
        nbd_meeting_collect(); // before anything is copied
        log_info("started", "version", DROVER_VERSION, "site", agent->state.site, "host", agent->state.host, NULL);
        on_prune(agent);
        timer_every(agent->prune, PRUNE_MS);
        session_start(agent->session);
        notify_ready();
        while (!agent->stopped)
                uv_run(&agent->loop, UV_RUN_DEFAULT);
        log_info("stopped", NULL);
}

int agent_run(const struct settings *settings, const char *state_directory, struct error *err) {
        struct agent agent = {.settings = settings, .lock = -1};
        mallopt(M_ARENA_MAX, 2); // a dozen threads would otherwise keep an arena each
        // What a copy takes in large pieces goes back at once when it ends, or is cut. Left to itself malloc would,
        // after the first of them, keep all but the largest in its arenas, and the next copy find no hole that fits.
        mallopt(M_MMAP_THRESHOLD, LARGE);
        worker_init(8);
        int r = uv_loop_init(&agent.loop);
        if (r)
                return error_errno(err, -r, "make a loop");
        r = make(&agent, state_directory, err);
        if (!r)
                run(&agent);
        take_down(&agent);
        return r;
}
