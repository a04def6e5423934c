// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The walls of a confined program (see confined.h), each of them one that an unprivileged process may put up around
 * itself: resource limits, no new privileges, capabilities, Landlock for files, a filter for system calls. Runs in the
 * child between fork and exec; allocates nothing there.
 */
#include "agent/blocks/confined_child.h"
#include "common/cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

// qemu-nbd takes some 50 MiB with an image of ordinary size; a header that claims more than this does not get it
// (fault 55).
#define MEMORY_MAX      (UINT64_C(768) << 20)
#define STACK_MAX       (UINT64_C(1) << 20) // of each of its threads, of which there may be dozens
#define DESCRIPTORS_MAX 256
#define OUT_OF_THE_WAY  32 // from here on there are descriptors whose places are yet to be taken

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define NATIVE_ARCH AUDIT_ARCH_RISCV64
#else
#error "say here by which AUDIT_ARCH a filter of system calls knows this machine"
#endif

// ---- before the fork ----

static int take(int fd, int *ret) {
        *ret = fcntl(fd, F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
        return *ret < 0 ? -1 : 0;
}

#define READ_AND_RUN (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_EXECUTE)

static int allow(int ruleset_fd, int fd, uint64_t access) {
        struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
        return (int) syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

static void allow_path(int ruleset_fd, const char *path, uint64_t access) {
        _cleanup_(close_p) int fd = open(path, O_PATH | O_CLOEXEC);
        if (fd >= 0)
                allow(ruleset_fd, fd, access);
}

// The program itself and its libraries, and the very files that it was given: nothing else can be opened.
static int make_ruleset(const struct confined_order *order, int *ret_fd, struct error *err) {
        struct landlock_ruleset_attr all = {.handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1};
        _cleanup_(close_p) int fd = (int) syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
        if (fd < 0) {
                *ret_fd = -1;
                return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : error_errno(err, errno, "confine QEMU's program");
        }
        static const char *const programs[] = {"/usr", "/lib", "/lib64", "/bin"};
        for (unsigned i = 0; i < ARRAY_SIZE(programs); i++)
                allow_path(fd, programs[i], READ_AND_RUN);
        allow_path(fd, "/etc/ld.so.cache", LANDLOCK_ACCESS_FS_READ_FILE);
        allow_path(fd, "/dev/null", LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE);
        uint64_t access = LANDLOCK_ACCESS_FS_READ_FILE | (order->writable ? LANDLOCK_ACCESS_FS_WRITE_FILE : 0);
        for (unsigned i = 0; i < order->n_files; i++)
                if (allow(fd, order->files[i], access) < 0)
                        return error_errno(err, errno, "confine QEMU's program");
        return take(fd, ret_fd) < 0 ? error_errno(err, errno, "confine QEMU's program") : 0;
}

int confined_child_prepare(const struct confined_order *order, struct confined_child *ret, struct error *err) {
        struct confined_child child = {.order = *order, .null_fd = -1, .ruleset_fd = -1};
        child.order.listener = -1;
        for (unsigned i = 0; i < order->n_files; i++)
                child.order.files[i] = -1;
        int status = 0;
        for (unsigned i = 0; status == 0 && i < order->n_files; i++)
                status = take(order->files[i], &child.order.files[i]);
        if (status == 0 && order->listener >= 0)
                status = take(order->listener, &child.order.listener);
        if (status == 0)
                status = child.null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (status < 0)
                error_errno(err, errno, "start %s", order->argv[0]);
        else
                status = make_ruleset(order, &child.ruleset_fd, err);
        if (status < 0) {
                confined_child_fini(&child);
                return -1;
        }
        *ret = child;
        return 0;
}

void confined_child_fini(struct confined_child *child) {
        for (unsigned i = 0; i < child->order.n_files; i++)
                close_p(&child->order.files[i]);
        close_p(&child->order.listener);
        close_p(&child->null_fd);
        close_p(&child->ruleset_fd);
}

// ---- in the child ----

static _Noreturn void fail(const char *program, const char *what) {
        const char *why = strerrordesc_np(errno);
        const char *const words[] = {program, ": ", what, ": ", why ? why : "failed", "\n"};
        for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
                if (write(STDERR_FILENO, words[i], strlen(words[i])) < 0)
                        break;
        _exit(127);
}

static int place_descriptors(const struct confined_child *child, int words) {
        const struct confined_order *order = &child->order;
        if (dup2(child->null_fd, STDIN_FILENO) < 0 || dup2(words, STDOUT_FILENO) < 0 || dup2(words, STDERR_FILENO) < 0)
                return -1;
        int last = STDERR_FILENO;
        if (order->listener >= 0 && (last = dup2(order->listener, CONFINED_LISTENER)) < 0)
                return -1;
        for (unsigned i = 0; i < order->n_files; i++)
                if ((last = dup2(order->files[i], CONFINED_FIRST_FILE + (int) i)) < 0)
                        return -1;
        // At the exec: the ruleset is still needed. What was open here in the listener's place is not for the program.
        if (order->listener < 0 && fcntl(CONFINED_LISTENER, F_SETFD, FD_CLOEXEC) < 0 && errno != EBADF)
                return -1;
        return close_range((unsigned) last + 1, ~0u, CLOSE_RANGE_CLOEXEC);
}

static int limit(__rlimit_resource_t resource, uint64_t value) {
        struct rlimit limits = {.rlim_cur = value, .rlim_max = value};
        return setrlimit(resource, &limits);
}

static int set_limits(const struct confined_order *order) {
        if (order->cpu_seconds && limit(RLIMIT_CPU, order->cpu_seconds) < 0)
                return -1;
        return limit(RLIMIT_DATA, MEMORY_MAX) < 0 || limit(RLIMIT_STACK, STACK_MAX) < 0 || limit(RLIMIT_CORE, 0) < 0 ||
                               limit(RLIMIT_NOFILE, DESCRIPTORS_MAX) < 0
                       ? -1
                       : 0;
}

// Of root's powers only that to open what it was given, whoever owns it.
static int drop_capabilities(void) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[2];
        if (syscall(SYS_capget, &header, data) < 0)
                return -1;
        data[0].permitted &= 1u << CAP_DAC_OVERRIDE;
        data[0].effective = data[0].permitted;
        data[1].permitted = data[1].effective = 0;
        data[0].inheritable = data[1].inheritable = 0;
        return (int) syscall(SYS_capset, &header, data);
}

#define DENY(number)                                                                                                   \
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)

// No new sockets, and no other process.
static int filter_calls(void) {
        static struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#ifdef __x86_64__ // the same calls under other numbers (x32)
                BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
#endif
                DENY(SYS_socket),
                DENY(SYS_connect),
                DENY(SYS_bind),
                DENY(SYS_kill),
                DENY(SYS_tkill),
                DENY(SYS_pidfd_open),
                DENY(SYS_pidfd_send_signal),
                DENY(SYS_ptrace),
                DENY(SYS_process_vm_readv),
                DENY(SYS_process_vm_writev),
                DENY(SYS_keyctl),
                DENY(SYS_bpf),
                DENY(SYS_mount),
                DENY(SYS_umount2),
                DENY(SYS_setns),
                DENY(SYS_unshare),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        static const struct sock_fprog program = {.len = ARRAY_SIZE(filter), .filter = filter};
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

// Without the privilege for it the filter alone keeps it from the network.
static void leave_network(void) {
        if (unshare(CLONE_NEWNET | CLONE_NEWIPC) < 0)
                errno = 0;
}

static void reset_signals(void) {
        struct sigaction plain = {.sa_handler = SIG_DFL};
        sigset_t none;
        sigemptyset(&none);
        for (int i = 1; i < NSIG; i++)
                sigaction(i, &plain, NULL);
        sigprocmask(SIG_SETMASK, &none, NULL);
}

static void number_of(pid_t pid, char *ret) {
        char digits[16];
        unsigned n = 0;
        for (; pid > 0; pid /= 10)
                digits[n++] = (char) ('0' + pid % 10);
        while (n > 0)
                *ret++ = digits[--n];
        *ret = 0;
}

_Noreturn void confined_child_run(const struct confined_child *child, int words, pid_t parent) {
        const struct confined_order *order = &child->order;
        const char *program = order->argv[0];
        char listen_pid[32] = "LISTEN_PID=";
        const char *environment[] = {"LC_ALL=C", order->listener >= 0 ? "LISTEN_FDS=1" : NULL, listen_pid, NULL};
        number_of(getpid(), listen_pid + strlen(listen_pid));
        reset_signals();
        if (place_descriptors(child, words) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || setpgid(0, 0) < 0)
                fail(program, "start");
        if (getppid() != parent) // died before it was told to take us along
                _exit(127);
        leave_network();
        if (set_limits(order) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || drop_capabilities() < 0 ||
            (child->ruleset_fd >= 0 && syscall(SYS_landlock_restrict_self, child->ruleset_fd, 0) < 0) ||
            filter_calls() < 0)
                fail(program, "confine");
        execve(program, (char *const *) order->argv, (char *const *) environment);
        fail(program, "start");
}
