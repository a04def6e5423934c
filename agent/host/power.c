// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Starting and stopping domains. Blocking, for workers. A request to shut down may keep libvirt for a minute while it
 * waits for a guest agent that says nothing, so it is made on a thread of its own, and the caller looks at the domain
 * four times a second meanwhile.
 */
#include "agent/host/power.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/memory.h"
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define POLL_MS          250
#define REPEAT_MS        10000
#define SHUTDOWN_SECONDS 120

static int state_of(virDomainPtr domain, int *ret_state, struct error *err) {
        int reason;
        if (virDomainGetState(domain, ret_state, &reason, 0) < 0)
                return connection_error(err, "ask for the VM's state");
        return 0;
}

bool power_is_active(virDomainPtr domain) {
        return virDomainIsActive(domain) == 1;
}

int power_start(virDomainPtr domain, struct error *err) {
        if (virDomainCreate(domain) == 0)
                return 0;
        connection_error(err, "start");
        if (!power_is_active(domain))
                return -1;
        error_clear(err);
        return 0;
}

int power_stop(virDomainPtr domain, struct error *err) {
        if (virDomainDestroy(domain) == 0)
                return 0;
        connection_error(err, "stop");
        if (virDomainIsActive(domain) != 0)
                return -1;
        error_clear(err);
        return 0;
}

// One request to shut down, shared with its thread; the last one to let go frees it.
struct request {
        atomic_uint references;
        atomic_bool done;
        virDomainPtr domain;
        unsigned flags;
        struct error error; // read only when done; ERROR_NONE: it was passed on
};

static void request_unref(struct request *request) {
        if (atomic_fetch_sub(&request->references, 1) != 1)
                return;
        virDomainFree(request->domain);
        free(request);
}

static void *request_thread(void *data) {
        struct request *request = data;
        if (virDomainShutdownFlags(request->domain, request->flags) < 0)
                connection_error(&request->error, "shut down");
        atomic_store(&request->done, true);
        request_unref(request);
        return NULL;
}

static int request_start(virDomainPtr domain, unsigned flags, struct request **ret, struct error *err) {
        struct request *request = new (struct request);
        virDomainRef(domain);
        request->domain = domain;
        request->flags = flags;
        request->references = 2;
        pthread_t thread;
        int r = pthread_create(&thread, NULL, request_thread, request);
        if (r != 0) {
                request->references = 1;
                request_unref(request);
                return error_errno(err, r, "start a thread to shut down");
        }
        pthread_detach(thread);
        *ret = request;
        return 0;
}

struct shutdown {
        virDomainPtr domain;
        struct request *request; // the one under way, or NULL
        uint64_t next_ms;        // when to ask again
        unsigned tries;
        struct error last; // why the last request was not passed on
};

// Without flags libvirt asks the guest agent where it is connected and falls back to ACPI; every other time the
// power button alone, in case the agent agreed and did nothing.
static int shutdown_ask(struct shutdown *shutdown, uint64_t now, struct error *err) {
        if (shutdown->request && atomic_load(&shutdown->request->done)) {
                shutdown->last = shutdown->request->error;
                request_unref(shutdown->request);
                shutdown->request = NULL;
                if (shutdown->last.code == ERROR_UNREACHABLE) {
                        if (err)
                                *err = shutdown->last;
                        return -1;
                }
        }
        if (shutdown->request || now < shutdown->next_ms)
                return 0;
        shutdown->next_ms = now + REPEAT_MS;
        unsigned flags = shutdown->tries++ % 2 ? VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN : 0;
        return request_start(shutdown->domain, flags, &shutdown->request, err);
}

static int shutdown_timeout(const struct shutdown *shutdown, unsigned seconds, struct error *err) {
        if (shutdown->last.code != ERROR_NONE)
                error_set(err, ERROR_TIMEOUT, "VM did not shut down within %u s: %s", seconds, shutdown->last.message);
        else
                error_set(err, ERROR_TIMEOUT, "VM did not shut down within %u s", seconds);
        error_hint(err, "give it longer: --timeout %us", seconds * 2);
        error_hint(err, "or switch it off hard: --stop");
        return -1;
}

static int shutdown_wait(struct shutdown *shutdown, unsigned seconds, power_cancelled_fn cancelled, void *data,
                         struct error *err) {
        uint64_t deadline = clock_ms(&system_clock) + (uint64_t) seconds * 1000;
        for (;;) {
                int active = virDomainIsActive(shutdown->domain);
                if (active < 0)
                        return connection_error(err, "ask for the VM's state");
                if (!active)
                        return 0;
                if (cancelled && cancelled(data))
                        return error_set(err, ERROR_CANCELLED, "cancelled while the VM was shutting down");
                uint64_t now = clock_ms(&system_clock);
                if (now >= deadline)
                        return shutdown_timeout(shutdown, seconds, err);
                if (shutdown_ask(shutdown, now, err) < 0)
                        return -1;
                nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
        }
}

int power_shutdown(virDomainPtr domain, unsigned timeout_seconds, power_cancelled_fn cancelled, void *data,
                   struct error *err) {
        int state;
        if (state_of(domain, &state, err) < 0)
                return -1;
        if (state == VIR_DOMAIN_PAUSED || state == VIR_DOMAIN_PMSUSPENDED) {
                error_set(err, ERROR_CONFLICT, "VM is %s and cannot shut down",
                          state == VIR_DOMAIN_PAUSED ? "paused" : "asleep");
                error_hint(err, "let it go on first: drover vm resume VM");
                error_hint(err, "or switch it off hard: --stop");
                return -1;
        }
        struct shutdown shutdown = {.domain = domain};
        unsigned seconds = timeout_seconds ? timeout_seconds : SHUTDOWN_SECONDS;
        int r = shutdown_wait(&shutdown, seconds, cancelled, data, err);
        if (shutdown.request)
                request_unref(shutdown.request);
        return r;
}

static int require_active(virDomainPtr domain, int *ret_state, struct error *err) {
        if (state_of(domain, ret_state, err) < 0)
                return -1;
        if (*ret_state == VIR_DOMAIN_SHUTOFF || *ret_state == VIR_DOMAIN_CRASHED) {
                error_set(err, ERROR_CONFLICT, "VM is shut off");
                error_hint(err, "start it: drover vm start VM");
                return -1;
        }
        return 0;
}

static int suspend(virDomainPtr domain, struct error *err) {
        int state;
        if (require_active(domain, &state, err) < 0)
                return -1;
        if (state == VIR_DOMAIN_PAUSED || virDomainSuspend(domain) == 0)
                return 0;
        return connection_error(err, "suspend");
}

static int resume(virDomainPtr domain, struct error *err) {
        int state;
        if (require_active(domain, &state, err) < 0)
                return -1;
        if (state == VIR_DOMAIN_RUNNING)
                return 0;
        int r = state == VIR_DOMAIN_PMSUSPENDED ? virDomainPMWakeup(domain, 0) : virDomainResume(domain);
        return r == 0 ? 0 : connection_error(err, "resume");
}

static int reboot(virDomainPtr domain, struct error *err) {
        int state;
        if (require_active(domain, &state, err) < 0)
                return -1;
        return virDomainReboot(domain, 0) == 0 ? 0 : connection_error(err, "reboot");
}

static int set_autostart(virDomainPtr domain, bool on, struct error *err) {
        return virDomainSetAutostart(domain, on) == 0 ? 0 : connection_error(err, "set autostart");
}

int power_act(virDomainPtr domain, Drover__PowerAction action, unsigned timeout_seconds, power_cancelled_fn cancelled,
              void *data, struct error *err) {
        switch (action) {
        case DROVER__POWER_ACTION__POWER_START:
                return power_start(domain, err);
        case DROVER__POWER_ACTION__POWER_SHUTDOWN:
                return power_shutdown(domain, timeout_seconds, cancelled, data, err);
        case DROVER__POWER_ACTION__POWER_STOP:
                return power_stop(domain, err);
        case DROVER__POWER_ACTION__POWER_REBOOT:
                return reboot(domain, err);
        case DROVER__POWER_ACTION__POWER_SUSPEND:
                return suspend(domain, err);
        case DROVER__POWER_ACTION__POWER_RESUME:
                return resume(domain, err);
        case DROVER__POWER_ACTION__POWER_AUTOSTART_ON:
                return set_autostart(domain, true, err);
        case DROVER__POWER_ACTION__POWER_AUTOSTART_OFF:
                return set_autostart(domain, false, err);
        default:
                return error_set(err, ERROR_PROTOCOL, "unknown power action %d", (int) action);
        }
}
