// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The walls around a confined program (see confined.h), each of them one that an unprivileged process may put up around
 * itself: resource limits, no new privileges, capabilities, Landlock for files, a filter for system calls.
 */
#include "agent/confine/walls.h"
#include "common/cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define OUT_OF_THE_WAY 32 // from here on there are descriptors whose places are yet to be taken

// ---- before the fork: files ----

static int take(int fd, int *ret) {
        *ret = fcntl(fd, F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
        return *ret < 0 ? -1 : 0;
}

#define OF_FILES (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE)
#define ALL      ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)

static int allow(int ruleset_fd, int fd, uint64_t access) {
        struct stat status;
        if (fstat(fd, &status) == 0 && !S_ISDIR(status.st_mode))
                access &= OF_FILES;
        struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
        return (int) syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

static int allow_path(int ruleset_fd, const char *path, uint64_t access) {
        _cleanup_(close_p) int fd = open(path, O_PATH | O_CLOEXEC);
        return fd < 0 ? -1 : allow(ruleset_fd, fd, access);
}

// The trees of its profile, and the very files that it was given: nothing else can be opened.
static int make_ruleset(const struct confined_order *order, int *ret_fd, struct error *err) {
        const char *program = order->argv[0];
        struct landlock_ruleset_attr all = {.handled_access_fs = ALL};
        _cleanup_(close_p) int fd = (int) syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
        if (fd < 0) {
                *ret_fd = -1;
                return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : error_errno(err, errno, "confine %s", program);
        }
        for (const struct profile_tree *tree = order->profile->trees; tree->path; tree++)
                allow_path(fd, tree->path, tree->access);
        uint64_t access = LANDLOCK_ACCESS_FS_READ_FILE | (order->writable ? LANDLOCK_ACCESS_FS_WRITE_FILE : 0);
        for (unsigned i = 0; i < order->n_files; i++)
                if (allow(fd, order->files[i], access) < 0)
                        return error_errno(err, errno, "confine %s", program);
        for (unsigned i = 0; i < order->n_paths; i++)
                if (allow_path(fd, order->paths[i], ALL) < 0)
                        return error_errno(err, errno, "confine %s: %s", program, order->paths[i]);
        return take(fd, ret_fd) < 0 ? error_errno(err, errno, "confine %s", program) : 0;
}

// ---- before the fork ----

int walls_prepare(const struct confined_order *order, struct walls *ret, struct error *err) {
        struct walls walls = {.order = *order, .null_fd = -1, .ruleset_fd = -1};
        walls.order.listener = -1;
        for (unsigned i = 0; i < order->n_files; i++)
                walls.order.files[i] = -1;
        int status = 0;
        for (unsigned i = 0; status == 0 && i < order->n_files; i++)
                status = take(order->files[i], &walls.order.files[i]);
        if (status == 0 && order->listener >= 0)
                status = take(order->listener, &walls.order.listener);
        if (status == 0 && (walls.null_fd = open("/dev/null", O_RDWR | O_CLOEXEC)) < 0)
                status = -1;
        if (status < 0)
                error_errno(err, errno, "start %s", order->argv[0]);
        else
                status = make_ruleset(order, &walls.ruleset_fd, err);
        if (status < 0) {
                walls_fini(&walls);
                return -1;
        }
        filter_make(&walls.filter, order->profile);
        *ret = walls;
        return 0;
}

void walls_fini(struct walls *walls) {
        for (unsigned i = 0; i < walls->order.n_files; i++)
                close_p(&walls->order.files[i]);
        close_p(&walls->order.listener);
        close_p(&walls->null_fd);
        close_p(&walls->ruleset_fd);
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

static int place_descriptors(const struct walls *walls, int words) {
        const struct confined_order *order = &walls->order;
        if (dup2(walls->null_fd, STDIN_FILENO) < 0 || dup2(words, STDOUT_FILENO) < 0 || dup2(words, STDERR_FILENO) < 0)
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
        return value ? setrlimit(resource, &limits) : 0;
}

static int set_limits(const struct confined_order *order) {
        const struct rlimit none = {0};
        const struct profile *profile = order->profile;
        return limit(RLIMIT_CPU, order->cpu_seconds) < 0 || limit(RLIMIT_DATA, profile->data_bytes) < 0 ||
                               limit(RLIMIT_AS, profile->address_bytes) < 0 ||
                               limit(RLIMIT_STACK, profile->stack_bytes) < 0 ||
                               limit(RLIMIT_NOFILE, profile->descriptors) < 0 || setrlimit(RLIMIT_CORE, &none) < 0
                       ? -1
                       : 0;
}

// Of root's powers only that to open what it was given, whoever owns it.
static int drop_capabilities(void) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[2];
        // What an exec as root would give back is bounded first, where that is allowed.
        for (unsigned i = 0; i <= CAP_LAST_CAP; i++)
                if (i != CAP_DAC_OVERRIDE)
                        prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
        if (syscall(SYS_capget, &header, data) < 0)
                return -1;
        data[0].permitted &= 1u << CAP_DAC_OVERRIDE;
        data[0].effective = data[0].permitted;
        data[1].permitted = data[1].effective = 0;
        data[0].inheritable = data[1].inheritable = 0;
        return (int) syscall(SYS_capset, &header, data);
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

static int confine(const struct walls *walls) {
        leave_network();
        umask(077);
        if (set_limits(&walls->order) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || drop_capabilities() < 0)
                return -1;
        if (walls->ruleset_fd >= 0 && syscall(SYS_landlock_restrict_self, walls->ruleset_fd, 0) < 0)
                return -1;
        return filter_put_up(&walls->filter);
}

_Noreturn void walls_run(const struct walls *walls, int words, pid_t parent) {
        const struct confined_order *order = &walls->order;
        const char *program = order->argv[0];
        char listen_pid[32] = "LISTEN_PID=";
        const char *environment[CONFINED_ENVIRONMENT_MAX + 4] = {"LC_ALL=C"};
        unsigned n = 1;
        for (unsigned i = 0; i < order->n_environment; i++)
                environment[n++] = order->environment[i];
        if (order->listener >= 0) {
                number_of(getpid(), listen_pid + strlen(listen_pid));
                environment[n++] = listen_pid;
                environment[n++] = "LISTEN_FDS=1";
        }
        reset_signals();
        // A group of its own, so that all of it can be ended.
        if (place_descriptors(walls, words) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || setpgid(0, 0) < 0 ||
            chdir(order->directory ? order->directory : "/") < 0)
                fail(program, "start");
        if (getppid() != parent) // died before it was told to take us along
                _exit(127);
        if (confine(walls) < 0)
                fail(program, "confine");
        execve(program, (char *const *) order->argv, (char *const *) environment);
        fail(program, "start");
}
