// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The filter of system calls (see filter.h): lists of calls that are refused, some of them only with certain arguments.
 * What a call reads from memory cannot be looked at, so a call that takes its flags from there is not there at all
 * (ENOSYS), and libraries use the older one in its stead.
 */
#include "agent/confine/filter.h"
#include "common/cleanup.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define NATIVE_ARCH AUDIT_ARCH_RISCV64
#else
#error "say here by which AUDIT_ARCH a filter of system calls knows this machine"
#endif

#define NEW_NAMESPACE                                                                                                  \
        (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)
#ifndef SYS_fchmodat2 // since Linux 6.6, the same number everywhere
#define SYS_fchmodat2 452
#endif

// ---- what is refused ----

// Nothing that looks into or changes other processes, mounts or the kernel; no queue that makes such calls out of this
// filter's sight; and no leaving the group in which it is ended. A file's length is not what Landlock guards before
// Linux 6.2.
static const int everybody[] = {SYS_ptrace,       SYS_process_vm_readv, SYS_process_vm_writev,
                                SYS_keyctl,       SYS_add_key,          SYS_request_key,
                                SYS_bpf,          SYS_perf_event_open,  SYS_userfaultfd,
                                SYS_mount,        SYS_umount2,          SYS_pivot_root,
                                SYS_move_mount,   SYS_open_tree,        SYS_fsopen,
                                SYS_setns,        SYS_unshare,          SYS_init_module,
                                SYS_finit_module, SYS_delete_module,    SYS_kexec_load,
                                SYS_pidfd_getfd,  SYS_io_uring_setup,   SYS_open_by_handle_at,
                                SYS_setsid,       SYS_setpgid,          SYS_truncate};
static const int not_there[] = {SYS_clone3, SYS_openat2};
static const int sockets[] = {SYS_socket, SYS_connect, SYS_bind};
static const int signals[] = {
        SYS_kill, SYS_tkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_pidfd_open, SYS_pidfd_send_signal};
// Landlock does not guard a file's mode and attributes, and what is root's is its own.
static const int modes[] = {
#ifdef SYS_chmod
        SYS_chmod,
#endif
        SYS_fchmod,    SYS_fchmodat,    SYS_fchmodat2,    SYS_setxattr,    SYS_lsetxattr,
        SYS_fsetxattr, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr};

// A call that is refused by one of its arguments: when (argument & mask) is this value, or unless it is.
struct condition {
        int number;
        unsigned argument;
        uint32_t mask, value;
        bool unless;
        int answer;
};
// To open for reading and cut to nothing is to write.
#define CUTS .mask = O_ACCMODE | O_TRUNC, .value = O_RDONLY | O_TRUNC, .answer = EPERM
static const struct condition always[] = {
#ifdef SYS_open
        {SYS_open, 1, CUTS},
#endif
        {SYS_openat, 2, CUTS},
        {SYS_clone, 0, .mask = NEW_NAMESPACE, .value = 0, .unless = true, .answer = EPERM},
        {SYS_prlimit64, 0, .mask = ~0u, .value = 0, .unless = true, .answer = EPERM}, // of others
};
static const struct condition of_local_sockets[] = {
        {SYS_socket, 0, .mask = ~0u, .value = AF_UNIX, .unless = true, .answer = EAFNOSUPPORT},
};
// Whoever owns a descriptor has signals sent when something happens to it.
static const struct condition of_owners[] = {
        {SYS_fcntl, 1, .mask = ~0u, .value = F_SETOWN, .answer = EPERM},
        {SYS_fcntl, 1, .mask = ~0u, .value = F_SETOWN_EX, .answer = EPERM},
        {SYS_ioctl, 1, .mask = ~0u, .value = FIOSETOWN, .answer = EPERM},
        {SYS_ioctl, 1, .mask = ~0u, .value = SIOCSPGRP, .answer = EPERM},
};
static const struct condition to_itself = {SYS_tgkill,     0, .mask = ~0u, .value = 0, .unless = true,
                                           .answer = EPERM}; // value: filled in by the child

// ---- making it ----

static void add(struct filter *filter, struct sock_filter instruction) {
        filter->code[filter->n++] = instruction;
}

#define STATEMENT(filter, ...) add(filter, (struct sock_filter) BPF_STMT(__VA_ARGS__))
#define JUMP(filter, ...)      add(filter, (struct sock_filter) BPF_JUMP(__VA_ARGS__))

static void load_number(struct filter *filter) {
        STATEMENT(filter, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
}

static void refuse(struct filter *filter, const int *numbers, unsigned n, int answer) {
        for (unsigned i = 0; i < n; i++) {
                JUMP(filter, BPF_JMP | BPF_JEQ | BPF_K, (unsigned) numbers[i], 0, 1);
                STATEMENT(filter, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned) answer);
        }
}

// The lower half of an argument is all that the kernel looks at in each of these.
static void refuse_by(struct filter *filter, const struct condition *conditions, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                const struct condition *at = &conditions[i];
                unsigned offset = (unsigned) (offsetof(struct seccomp_data, args) + at->argument * sizeof(uint64_t));
                JUMP(filter, BPF_JMP | BPF_JEQ | BPF_K, (unsigned) at->number, 0, 5);
                STATEMENT(filter, BPF_LD | BPF_W | BPF_ABS, offset);
                STATEMENT(filter, BPF_ALU | BPF_AND | BPF_K, at->mask);
                JUMP(filter, BPF_JMP | BPF_JEQ | BPF_K, at->value, at->unless, !at->unless);
                STATEMENT(filter, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned) at->answer);
                load_number(filter);
        }
}

void filter_make(struct filter *filter, const struct profile *profile) {
        *filter = (struct filter){0};
        STATEMENT(filter, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
        JUMP(filter, BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0);
        STATEMENT(filter, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
        load_number(filter);
#ifdef __x86_64__ // the same calls under other numbers (x32)
        JUMP(filter, BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1);
        STATEMENT(filter, BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
#endif
        refuse(filter, everybody, ARRAY_SIZE(everybody), EPERM);
        refuse(filter, not_there, ARRAY_SIZE(not_there), ENOSYS);
        refuse_by(filter, always, ARRAY_SIZE(always));
        if (profile->local_sockets)
                refuse_by(filter, of_local_sockets, ARRAY_SIZE(of_local_sockets));
        else
                refuse(filter, sockets, ARRAY_SIZE(sockets), EPERM);
        if (!profile->modes)
                refuse(filter, modes, ARRAY_SIZE(modes), EPERM);
        if (!profile->signals) {
                refuse(filter, signals, ARRAY_SIZE(signals), EPERM);
                refuse_by(filter, of_owners, ARRAY_SIZE(of_owners));
                filter->own = (unsigned short) (filter->n + 3);
                refuse_by(filter, &to_itself, 1);
        }
        STATEMENT(filter, BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        static_assert(
                7 +
                                2 * (ARRAY_SIZE(everybody) + ARRAY_SIZE(not_there) + ARRAY_SIZE(sockets) +
                                     ARRAY_SIZE(modes) + ARRAY_SIZE(signals)) +
                                6 * (ARRAY_SIZE(always) + ARRAY_SIZE(of_local_sockets) + ARRAY_SIZE(of_owners) + 1) <=
                        FILTER_MAX,
                "room for the filter");
}

// ---- in the child ----

int filter_put_up(const struct filter *filter) {
        struct filter mine = *filter;
        const struct sock_fprog program = {.len = mine.n, .filter = mine.code};
        if (mine.own)
                mine.code[mine.own].k = (uint32_t) getpid();
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}
