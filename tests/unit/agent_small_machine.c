// SPDX-License-Identifier: LGPL-2.1-or-later
/* What virt-sysprep needs of its host, and what is made of its words. It is run itself by
 * integration/test_identity_reset. */
#include "agent/host/small_machine.h"
#include "common/cleanup.h"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <cmocka.h>
#include "scratch.h"

// As systemd does for MemoryDenyWriteExecute=: no memory that is written and run.
static void forbid_written_code(void) {
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 4),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
                BPF_STMT(BPF_ALU | BPF_AND | BPF_K, PROT_WRITE | PROT_EXEC),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PROT_WRITE | PROT_EXEC, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        const struct sock_fprog program = {.len = ARRAY_SIZE(filter), .filter = filter};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
                _exit(98);
}

static bool says_that_it_is_missing(const struct error *err) {
        return access(SMALL_MACHINE_PROGRAM, X_OK) != 0 && err->code == ERROR_REFUSED &&
               strcmp(err->message, "guests cannot be opened here: " SMALL_MACHINE_PROGRAM " is not installed") == 0 &&
               strcmp(err->hints[0], "on the host: apt install libguestfs-tools") == 0;
}

static void refused_with_all_that_helps(void) {
        struct error err = ERROR_INIT;
        setenv("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg", 1);
        if (small_machine_check(&err) != 0 && !says_that_it_is_missing(&err))
                _exit(1);
        forbid_written_code();
        if (small_machine_check(&err) != -1 || err.code != ERROR_REFUSED)
                _exit(2);
        if (strcmp(err.message, "guests cannot be opened here: there is no /dev/kvm that works, and the agent's unit "
                                "forbids emulation") != 0)
                _exit(3);
        if (!strstr(err.hints[0], "modprobe kvm_intel") || !strstr(err.hints[1], "MemoryDenyWriteExecute=no"))
                _exit(4);
}

static void without_kvm_it_emulates_unless_the_unit_forbids_that(void **state) {
        (void) state;
        assert_int_equal(status_of_child(refused_with_all_that_helps), 0);
}

static void what_went_well_is_fine_whatever_it_warned_of(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        assert_int_equal(small_machine_explain(0, "", &err), 0);
        assert_int_equal(
                small_machine_explain(0, "virt-sysprep: warning: random seed could not be set for this type of guest\n",
                                      &err),
                0);
}

static void a_guest_that_it_does_not_like_is_refused_with_a_reason(void **state) {
        (void) state;
        static const struct {
                int code;
                const char *words, *reason, *hint;
        } cases[] = {
                {1,
                 "virt-sysprep: error: no operating systems were found in the guest image\n\nIf reporting bugs, ...\n",
                 "no system was found on its disks: they hold none, or are encrypted", "clone it without"},
                {0, "virt-sysprep: warning: hostname could not be set for this type of guest\n",
                 "it is of no kind that can be given a host name from outside", "clone it without"},
                {1, "virt-sysprep: error: libguestfs error: touch: open: /etc/machine-id: No such file or directory\n",
                 "it is no Linux system with an /etc that can be written to", "clone it without"},
                {1, "virt-sysprep: error: libguestfs error: /usr/bin/supermin exited with error status 1.\n",
                 "libguestfs error: /usr/bin/supermin exited with error status 1.", "linux-image"},
                {1, "virt-sysprep: error: libguestfs error: guestfs_launch failed.\n",
                 "libguestfs error: guestfs_launch failed.", "libguestfs-test-tool"},
                {1, "virt-sysprep: error: libguestfs error: mount: wrong fs type\nmore\n",
                 "libguestfs error: mount: wrong fs type", "clone it without"},
                {137, "", "virt-sysprep ended with 137", "clone it without"},
        };
        for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
                struct error err = ERROR_INIT;
                char message[256];
                snprintf(message, sizeof(message), "the guest cannot be changed: %s", cases[i].reason);
                assert_int_equal(small_machine_explain(cases[i].code, cases[i].words, &err), -1);
                assert_error(err, ERROR_REFUSED, message);
                assert_non_null(strstr(err.hints[0], cases[i].hint));
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(without_kvm_it_emulates_unless_the_unit_forbids_that),
                cmocka_unit_test(what_went_well_is_fine_whatever_it_warned_of),
                cmocka_unit_test(a_guest_that_it_does_not_like_is_refused_with_a_reason),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
