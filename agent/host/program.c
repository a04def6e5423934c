// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Running a confined program to its end. What happens between fork and exec uses system calls only: this process has
 * threads, and one of them may hold the allocator's lock at the fork.
 */
#include "agent/host/program.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define POLL_MS         250
#define DESCRIPTORS_MAX 1024

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define NATIVE_ARCH AUDIT_ARCH_RISCV64
#else
#error "say here by which AUDIT_ARCH a filter of system calls knows this machine"
#endif

// ---- in the child ----

static _Noreturn void fail(const char *what) {
        const char *why = strerrordesc_np(errno);
        const char *const words[] = {"confine: ", what, ": ", why ? why : "failed", "\n"};
        for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
                if (write(STDERR_FILENO, words[i], strlen(words[i])) < 0)
                        break;
        _exit(127);
}

static void limit(__rlimit_resource_t resource, uint64_t value) {
        struct rlimit limits = {.rlim_cur = value, .rlim_max = value};
        if (setrlimit(resource, &limits) < 0)
                fail("limits");
}

static void drop_capabilities(void) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[2];
        // What an exec as root would give back is bounded first, where that is allowed.
        for (unsigned i = 0; i <= CAP_LAST_CAP; i++)
                if (i != CAP_DAC_OVERRIDE)
                        prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
        if (syscall(SYS_capget, &header, data) < 0)
                fail("capabilities");
        data[0].permitted &= 1u << CAP_DAC_OVERRIDE;
        data[0].effective = data[0].permitted;
        data[1].permitted = data[1].effective = 0;
        data[0].inheritable = data[1].inheritable = 0;
        if (syscall(SYS_capset, &header, data) < 0)
                fail("capabilities");
}

#define DENY(number)                                                                                                   \
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)

// Sockets of this host only; nothing that looks into or changes other processes, mounts or the kernel.
static void filter_calls(void) {
        static struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#ifdef __x86_64__ // the same calls under other numbers (x32)
                BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
#endif
                DENY(SYS_ptrace),
                DENY(SYS_process_vm_readv),
                DENY(SYS_process_vm_writev),
                DENY(SYS_keyctl),
                DENY(SYS_bpf),
                DENY(SYS_mount),
                DENY(SYS_umount2),
                DENY(SYS_setns),
                DENY(SYS_unshare),
                DENY(SYS_init_module),
                DENY(SYS_finit_module),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 4),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 1, 0),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        static const struct sock_fprog program = {.len = ARRAY_SIZE(filter), .filter = filter};
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
                fail("system calls");
}

static void reset_signals(void) {
        struct sigaction plain = {.sa_handler = SIG_DFL};
        sigset_t none;
        sigemptyset(&none);
        for (int i = 1; i < NSIG; i++)
                sigaction(i, &plain, NULL);
        sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void child(const struct program_order *order, int words, pid_t parent) {
        int null_fd = open("/dev/null", O_RDWR);
        if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(words, STDOUT_FILENO) < 0 ||
            dup2(words, STDERR_FILENO) < 0 || close_range(STDERR_FILENO + 1, ~0u, 0) < 0)
                _exit(127);
        reset_signals();
        // A group of its own, so that all of it can be ended.
        if (setpgid(0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || chdir(order->directory) < 0)
                fail("start");
        if (getppid() != parent) // died before it was told to take us along
                _exit(127);
        // Without the privilege for it the filter alone keeps it from the network.
        if (unshare(CLONE_NEWNET | CLONE_NEWIPC) < 0)
                errno = 0;
        umask(077);
        limit(RLIMIT_AS, order->memory_bytes);
        limit(RLIMIT_CPU, order->seconds);
        limit(RLIMIT_CORE, 0);
        limit(RLIMIT_NOFILE, DESCRIPTORS_MAX);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                fail("privileges");
        drop_capabilities();
        filter_calls();
        execve(order->argv[0], (char *const *) order->argv, (char *const *) order->environment);
        fail(order->argv[0]);
}

// ---- in the parent ----

// The last of what was said is kept.
static void keep(char *words, size_t *used, const char *text, size_t n) {
        const size_t most = PROGRAM_WORDS_MAX - 1;
        if (n > most) {
                text += n - most;
                n = most;
        }
        if (*used + n > most) {
                size_t drop = *used + n - most;
                memmove(words, words + drop, *used - drop);
                *used -= drop;
        }
        memcpy(words + *used, text, n);
        *used += n;
        words[*used] = 0;
}

// 0: it has closed its output, -1: cancelled or too late.
static int listen_to(const struct program_order *order, int fd, char *words, struct error *err) {
        uint64_t until = clock_ms(&system_clock) + order->seconds * UINT64_C(1000);
        size_t used = 0;
        char text[1024];
        for (;;) {
                struct pollfd ready = {.fd = fd, .events = POLLIN};
                if (order->cancelled && order->cancelled(order->data))
                        return error_set(err, ERROR_CANCELLED, "cancelled");
                if (clock_ms(&system_clock) >= until)
                        return error_set(err, ERROR_TIMEOUT, "%s has not ended after %u seconds", order->argv[0],
                                         order->seconds);
                if (poll(&ready, 1, POLL_MS) <= 0)
                        continue;
                ssize_t n = read(fd, text, sizeof(text));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return 0;
                keep(words, &used, text, (size_t) n);
        }
}

int program_run(const struct program_order *order, int *ret_code, char ret_words[PROGRAM_WORDS_MAX],
                struct error *err) {
        int fds[2], status = 0;
        if (access(order->argv[0], X_OK) < 0)
                return error_errno(err, errno, "%s", order->argv[0]);
        if (pipe2(fds, O_CLOEXEC) < 0)
                return error_errno(err, errno, "start %s", order->argv[0]);
        ret_words[0] = 0;
        pid_t parent = getpid(), pid = fork();
        if (pid == 0)
                child(order, fds[1], parent);
        int why = errno;
        close(fds[1]);
        if (pid < 0) {
                close(fds[0]);
                return error_errno(err, why, "start %s", order->argv[0]);
        }
        setpgid(pid, pid); // whoever is first
        int heard = listen_to(order, fds[0], ret_words, err);
        close(fds[0]);
        // What it has started itself goes as well, also after an orderly end. It is not reaped yet, so its number is
        // nobody else's.
        siginfo_t info;
        if (heard == 0)
                while (waitid(P_PID, (id_t) pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
                        ;
        kill(-pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        *ret_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        return heard;
}
