// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Making, wiring and taking down. The order: lock, store, authority, fleet, hub, runner, session, port; and backwards
 * at the end, after the last connection has gone. Jobs need no goodbye: what they are doing is in the store.
 */
#include "controller/controller.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/timer.h"
#include "controller/lock.h"
#include "controller/notify.h"
#include "controller/session/hub.h"
#include <malloc.h>
#include <signal.h>

#define FLUSH_MS         2000u
#define RENEW_MOST       3600u // seconds between two looks at the controller's own certificate
#define RENEW_PARTS      12u   // looks in its life, if that is shorter
#define LOCK_PATIENCE_MS 2000u // for an init, or a controller that is just ending
#define STOP_MS          8000u // for an orderly end; connections are flushed for less

struct controller {
        uv_loop_t *loop;
        int lock;
        struct store *store;
        struct authority *authority;
        struct fleet *fleet;
        struct hub *hub;
        struct runner *runner;
        struct session *session;
        struct timer *flush, *renew;
};

// ---- what the loop calls

static void on_flush(void *data) {
        struct controller *controller = data;
        struct error err = ERROR_INIT;
        if (fleet_flush(controller->fleet, &err) < 0)
                log_failure(LOG_LEVEL_ERROR, "the inventory could not be stored", &err, NULL);
}

// Connections that are open go on with the certificate that they were opened with.
static void on_renew(void *data) {
        struct controller *controller = data;
        struct error err = ERROR_INIT;
        bool renewed = false;
        if (authority_renew_own(controller->authority, &renewed, &err) < 0)
                log_failure(LOG_LEVEL_ERROR, "the controller's certificate could not be renewed", &err, NULL);
        else if (renewed)
                log_info("the controller's certificate was renewed", NULL);
}

// ---- making

static int take_lock(struct controller *controller, const char *directory, struct error *err) {
        _cleanup_(free_p) char *authority = memory_format("%s/ca.crt", directory);
        if (access(authority, F_OK) < 0) { // before the lock leaves a file in somebody else's directory
                error_set(err, ERROR_NOT_FOUND, "there is no authority in %s", directory);
                error_hint(err, "drover-controller init");
                return -1;
        }
        return lock_take(directory, LOCK_PATIENCE_MS, &controller->lock, err);
}

static int open_authority(struct controller *controller, const struct settings *settings, const char *directory,
                          struct error *err) {
        const struct authority_config config = {.directory = directory,
                                                .host_days = (uint32_t) (settings->host_certificate / 86400),
                                                .user_days = (uint32_t) (settings->user_certificate / 86400),
                                                .server_days = (uint32_t) (settings->server_certificate / 86400),
                                                .certificate_seconds = (uint32_t) settings->certificate_seconds,
                                                .clock = &system_clock};
        _cleanup_(free_p) char *path = memory_format("%s/controller.db", directory);
        if (store_open(path, &controller->store, err) < 0)
                return -1;
        return authority_open(&config, controller->store, &controller->authority, err);
}

static int open_session(struct controller *controller, const struct settings *settings,
                        const struct session_limits *limits, struct error *err) {
        controller->hub = hub_new();
        const struct runner_port port = hub_port(controller->hub);
        if (fleet_open(controller->store, &system_clock, &controller->fleet, err) < 0 ||
            runner_new(controller->loop, controller->store, controller->fleet, controller->authority, &system_clock,
                       &port, &controller->runner, err) < 0)
                return -1;
        runner_set_stall(controller->runner, (unsigned) settings->stall_seconds);
        if (runner_recover(controller->runner, err) < 0)
                return -1;
        const struct session_config config = {.loop = controller->loop,
                                              .store = controller->store,
                                              .fleet = controller->fleet,
                                              .authority = controller->authority,
                                              .runner = controller->runner,
                                              .hub = controller->hub,
                                              .clock = &system_clock,
                                              .limits = *limits};
        return session_new(&config, &controller->session, err);
}

// Where nobody has said otherwise, a machine without IPv6 is no reason to fail.
static int listen_on(struct controller *controller, const char *given, struct error *err) {
        _cleanup_(free_p) char *stored = NULL;
        if (!given && store_meta_get(controller->store, "listen", &stored, err) < 0)
                return -1;
        if (given || stored)
                return session_listen(controller->session, given ? given : stored, err);
        if (session_listen(controller->session, LISTEN_DEFAULT, NULL) == 0)
                return 0;
        return session_listen(controller->session, LISTEN_WITHOUT_IPV6, err);
}

static void start_timers(struct controller *controller, const struct settings *settings) {
        uint64_t life = settings->certificate_seconds ? settings->certificate_seconds : settings->server_certificate;
        uint64_t every = life / RENEW_PARTS < RENEW_MOST ? life / RENEW_PARTS : RENEW_MOST;
        controller->flush = timer_new(controller->loop, on_flush, controller);
        controller->renew = timer_new(controller->loop, on_renew, controller);
        timer_every(controller->flush, FLUSH_MS);
        timer_every(controller->renew, (every ? every : 1) * 1000);
}

int controller_open(uv_loop_t *loop, const struct settings *settings, const struct session_limits *limits,
                    const char *state_directory, const char *listen, struct controller **ret, struct error *err) {
        struct controller *controller = new (struct controller);
        controller->loop = loop;
        controller->lock = -1;
        if (take_lock(controller, state_directory, err) < 0 ||
            open_authority(controller, settings, state_directory, err) < 0 ||
            open_session(controller, settings, limits, err) < 0 ||
            listen_on(controller, listen ? listen : settings->listen, err) < 0) {
                controller_free(controller);
                return -1;
        }
        start_timers(controller, settings);
        *ret = controller;
        return 0;
}

// ---- taking down

void controller_close(struct controller *controller, void (*closed)(void *data), void *data) {
        session_stop(controller->session, closed, data);
}

void controller_free(struct controller *controller) {
        struct error err = ERROR_INIT;
        if (!controller)
                return;
        timer_free(controller->flush);
        timer_free(controller->renew);
        session_free(controller->session);
        runner_free(controller->runner);
        hub_free(controller->hub);
        if (controller->fleet && fleet_flush(controller->fleet, &err) < 0)
                log_failure(LOG_LEVEL_ERROR, "the inventory could not be stored", &err, NULL);
        fleet_free(controller->fleet);
        authority_free(controller->authority);
        store_close(controller->store);
        close_p(&controller->lock);
        free(controller);
}

unsigned controller_port(const struct controller *controller) {
        return session_port(controller->session);
}

struct store *controller_store(const struct controller *controller) {
        return controller->store;
}

struct authority *controller_authority(const struct controller *controller) {
        return controller->authority;
}

struct fleet *controller_fleet(const struct controller *controller) {
        return controller->fleet;
}

struct runner *controller_runner(const struct controller *controller) {
        return controller->runner;
}

// ---- the program

struct program {
        uv_loop_t loop;
        uv_signal_t signals[2];
        struct controller *controller;
        struct notify *notify;
        struct timer *deadline;
        bool stopping, stopped;
};

static void on_closed(void *data) {
        struct program *program = data;
        program->stopped = true;
        uv_stop(&program->loop);
}

static void on_deadline(void *data) {
        log_warning("connections do not end; leaving them", NULL);
        on_closed(data);
}

static void on_signal(uv_signal_t *handle, int number) {
        struct program *program = handle->data;
        (void) number;
        if (program->stopping)
                return;
        program->stopping = true;
        notify_stopping();
        log_info("stopping", NULL);
        timer_once(program->deadline, STOP_MS);
        controller_close(program->controller, on_closed, program);
}

static void watch_signals(struct program *program) {
        static const int numbers[] = {SIGTERM, SIGINT};
        for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
                uv_signal_init(&program->loop, &program->signals[i]);
                program->signals[i].data = program;
                uv_signal_start(&program->signals[i], on_signal, numbers[i]);
        }
        signal(SIGPIPE, SIG_IGN);
}

static void run(struct program *program) {
        char port[16];
        snprintf(port, sizeof(port), "%u", controller_port(program->controller));
        log_info("started", "version", DROVER_VERSION, "name", authority_name(program->controller->authority), "port",
                 port, NULL);
        notify_ready("listening");
        while (!program->stopped)
                uv_run(&program->loop, UV_RUN_DEFAULT);
        log_info("stopped", NULL);
}

static void take_down(struct program *program) {
        controller_free(program->controller);
        notify_free(program->notify);
        timer_free(program->deadline);
        for (size_t i = 0; i < ARRAY_SIZE(program->signals); i++)
                uv_close((uv_handle_t *) &program->signals[i], NULL);
        uv_run(&program->loop, UV_RUN_DEFAULT); // the close callbacks
        uv_loop_close(&program->loop);
}

int controller_run(const struct settings *settings, const char *state_directory, struct error *err) {
        struct program program = {0};
        struct session_limits limits = session_limits;
        limits.connections = (uint32_t) settings->connections;
        limits.relay_pairs = (uint32_t) settings->relay_connections;
        limits.failed_joins_per_minute = (uint32_t) settings->joins_per_minute;
        mallopt(M_ARENA_MAX, 2);
        int r = uv_loop_init(&program.loop);
        if (r)
                return error_errno(err, -r, "make a loop");
        program.notify = notify_new(&program.loop);
        program.deadline = timer_new(&program.loop, on_deadline, &program);
        watch_signals(&program);
        r = controller_open(&program.loop, settings, &limits, state_directory, NULL, &program.controller, err);
        if (r == 0)
                run(&program);
        take_down(&program);
        return r;
}
