// SPDX-License-Identifier: LGPL-2.1-or-later
/* Starting virt-sysprep, confined, and understanding what it says (see small_machine.h). */
#include "agent/host/small_machine.h"
#include "agent/confine/confined.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// Without hardware virtualisation it takes minutes to start.
#define SECONDS 900u

// ---- can it run here ----

static bool has_kvm(void) {
        const char *settings = getenv("LIBGUESTFS_BACKEND_SETTINGS");
        if (settings && strstr(settings, "force_tcg"))
                return false;
        _cleanup_(close_p) int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        return fd >= 0;
}

// QEMU emulates by running what it has written itself; whoever starts it must be allowed that.
static bool may_emulate(void) {
        void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED)
                return false;
        munmap(page, 4096);
        return true;
}

static int check_program(struct error *err) {
        if (access(SMALL_MACHINE_PROGRAM, X_OK) == 0)
                return 0;
        error_set(err, ERROR_REFUSED, "guests cannot be opened here: %s is not installed", SMALL_MACHINE_PROGRAM);
        error_hint(err, "on the host: apt install libguestfs-tools");
        return -1;
}

int small_machine_check(struct error *err) {
        if (has_kvm() || may_emulate())
                return check_program(err);
        error_set(err, ERROR_REFUSED,
                  "guests cannot be opened here: there is no /dev/kvm that works, and the agent's unit forbids "
                  "emulation");
        error_hint(err, "on the host: modprobe kvm_intel, or kvm_amd");
        error_hint(err, "or: systemctl edit drover-agent, and there [Service] MemoryDenyWriteExecute=no");
        return -1;
}

// ---- what it says ----

#define WITHOUT "clone it without --reset-identity, and change what must differ in the guest"

static const struct {
        const char *sign, *reason, *hint; // reason NULL: its own words
} known[] = {
        {"no operating systems", "no system was found on its disks: they hold none, or are encrypted", WITHOUT},
        {"multi-boot", "it has more than one system on its disks", WITHOUT},
        {"multiboot", "it has more than one system on its disks", WITHOUT},
        // Windows and whatever else there is: looked into, but not known well enough to be changed.
        {"hostname could not be set", "it is of no kind that can be given a host name from outside", WITHOUT},
        {"/etc/machine-id", "it is no Linux system with an /etc that can be written to", WITHOUT},
        {"supermin", NULL, "the small machine needs a kernel on this host: apt install linux-image-amd64"},
        {"guestfs_launch", NULL, "on the host: libguestfs-test-tool says why the small machine does not start"},
        {"appliance", NULL, "on the host: libguestfs-test-tool says why the small machine does not start"},
};

// "virt-sysprep: error: libguestfs error: mount: ..." and more lines of advice after it.
static void first_error(const char *words, char *ret, size_t size) {
        const char *at = strstr(words, "error: ");
        at = at ? at + strlen("error: ") : words;
        snprintf(ret, size, "%.*s", (int) strcspn(at, "\n"), at);
}

int small_machine_explain(int code, const char *words, struct error *err) {
        // It only warns when it cannot set the host name.
        if (code == 0 && !strstr(words, "hostname could not be set"))
                return 0;
        char own[512];
        first_error(words, own, sizeof(own));
        for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
                if (strstr(words, known[i].sign)) {
                        error_set(err, ERROR_REFUSED, "the guest cannot be changed: %s",
                                  known[i].reason ? known[i].reason : own);
                        error_hint(err, "%s", known[i].hint);
                        return -1;
                }
        if (own[0])
                error_set(err, ERROR_REFUSED, "the guest cannot be changed: %s", own);
        else
                error_set(err, ERROR_REFUSED, "the guest cannot be changed: virt-sysprep ended with %d", code);
        error_hint(err, WITHOUT);
        return -1;
}

// ---- running it ----

// Only these of our own environment are of use to it: where the small machine's kernel is, and whether it may use KVM.
static unsigned add_passed(const char **environment, char **owned) {
        static const char *const passed[] = {"SUPERMIN_KERNEL", "SUPERMIN_MODULES", "LIBGUESTFS_BACKEND_SETTINGS"};
        unsigned n = 0;
        for (unsigned i = 0; i < ARRAY_SIZE(passed); i++) {
                const char *value = getenv(passed[i]);
                if (value)
                        environment[n] = owned[n] = memory_format("%s=%s", passed[i], value), n++;
        }
        return n;
}

static int run(const struct small_machine_order *order, int *ret_code, char *words, struct error *err) {
        static const char *const fixed[] = {
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "LIBGUESTFS_BACKEND=direct",
                // The small machine's files are unpacked without the power to give them away.
                "TAR_OPTIONS=--no-same-owner"};
        const char *environment[CONFINED_ENVIRONMENT_MAX], *paths[SMALL_MACHINE_DISKS_MAX + 1];
        char *owned[3] = {NULL, NULL, NULL};
        unsigned n = add_passed(environment, owned);
        for (unsigned i = 0; i < ARRAY_SIZE(fixed); i++)
                environment[n++] = fixed[i];
        _cleanup_(free_p) char *directory = memory_format("TMPDIR=%s", order->directory);
        environment[n++] = directory;
        paths[0] = order->directory;
        for (unsigned i = 0; i < order->n_disks; i++)
                paths[i + 1] = order->disks[i];
        const struct confined_order confined = {.profile = &profile_small_machine,
                                                .argv = order->argv,
                                                .environment = environment,
                                                .n_environment = n,
                                                .directory = order->directory,
                                                .listener = -1,
                                                .paths = paths,
                                                .n_paths = order->n_disks + 1,
                                                .cpu_seconds = SECONDS};
        const struct confined_patience patience = {
                .seconds = SECONDS, .cancelled = order->cancelled, .data = order->data};
        int status = confined_run(&confined, &patience, ret_code, words, err);
        for (unsigned i = 0; i < ARRAY_SIZE(owned); i++)
                free(owned[i]);
        return status;
}

int small_machine_run(const struct small_machine_order *order, struct error *err) {
        char words[CONFINED_WORDS_MAX];
        struct error why = ERROR_INIT;
        int code = 0;
        if (order->n_disks > SMALL_MACHINE_DISKS_MAX)
                return error_set(err, ERROR_REFUSED, "it has more than %u disks", SMALL_MACHINE_DISKS_MAX);
        if (small_machine_check(err) < 0)
                return -1;
        if (run(order, &code, words, &why) == 0)
                return small_machine_explain(code, words, err);
        if (why.code == ERROR_NOT_FOUND) // of the host, not of the request
                why.code = ERROR_REFUSED;
        if (err)
                *err = why;
        return -1;
}
