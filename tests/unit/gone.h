// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A directory whose server is gone: a file system in user space (fuse(4)) of which nobody answers, so that whoever asks
 * it hangs until gone_end(), or for GONE_SECONDS. With `root_answers` the directory itself can be opened and looked at,
 * and only what is asked about names in it hangs. Where none can be mounted the test is skipped.
 *
 * Its server is a process of its own, which ends with the test: a thread that hangs cannot be killed, and would keep
 * the server alive that it waits for.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define GONE_SECONDS 30u

struct gone {
        char path[128];
        bool root_answers;
        atomic_uint *waiting; // requests that were not answered; shared with the server
        int fd;               // the server's
        pid_t server;
};

static inline void gone_reply(const struct gone *gone, uint64_t unique, int error, const void *body, size_t length) {
        char bytes[sizeof(struct fuse_out_header) + 256];
        struct fuse_out_header header = {
                .len = (uint32_t) (sizeof(header) + length), .error = -error, .unique = unique};
        memcpy(bytes, &header, sizeof(header));
        if (length)
                memcpy(bytes + sizeof(header), body, length);
        ssize_t written = write(gone->fd, bytes, header.len);
        (void) written; // whoever asked may have gone
}

static inline void gone_serve(struct gone *gone, const struct fuse_in_header *request) {
        struct fuse_init_out init = {.major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096};
        struct fuse_attr_out attributes = {.attr = {.ino = 1, .mode = S_IFDIR | 0700, .nlink = 2}};
        struct fuse_statfs_out space = {.st = {.blocks = 1024, .bavail = 1024, .bsize = 4096, .frsize = 4096}};
        struct fuse_open_out opened = {0};
        bool answers = gone->root_answers && request->nodeid == FUSE_ROOT_ID;
        if (request->opcode == FUSE_FORGET || request->opcode == FUSE_INTERRUPT)
                return; // no question
        if (request->opcode == FUSE_INIT)
                gone_reply(gone, request->unique, 0, &init, sizeof(init));
        else if (answers && request->opcode == FUSE_GETATTR)
                gone_reply(gone, request->unique, 0, &attributes, sizeof(attributes));
        else if (answers && request->opcode == FUSE_STATFS)
                gone_reply(gone, request->unique, 0, &space, sizeof(space));
        else if (answers && request->opcode == FUSE_OPENDIR)
                gone_reply(gone, request->unique, 0, &opened, sizeof(opened));
        else if (answers && request->opcode != FUSE_LOOKUP && request->opcode != FUSE_MKDIR)
                gone_reply(gone, request->unique, ENOSYS, NULL, 0);
        else
                atomic_fetch_add(gone->waiting, 1);
}

static char gone_mounted[128]; // the server's

// A test that fails leaves no mount behind.
static inline void gone_on_alarm(int number) {
        (void) number;
        umount2(gone_mounted, MNT_FORCE | MNT_DETACH);
        _exit(0);
}

static inline void __attribute__((noreturn)) gone_main(struct gone *gone) {
        static char bytes[1 << 16];
        memcpy(gone_mounted, gone->path, sizeof(gone_mounted));
        signal(SIGALRM, gone_on_alarm);
        prctl(PR_SET_PDEATHSIG, SIGALRM);
        alarm(GONE_SECONDS);
        for (;;) {
                ssize_t n = read(gone->fd, bytes, sizeof(bytes));
                if (n < 0 && errno != EINTR && errno != EAGAIN && errno != ENOENT)
                        _exit(0); // taken away
                if (n > 0)
                        gone_serve(gone, (const struct fuse_in_header *) bytes);
        }
}

// Below `parent`, an existing directory.
static inline void gone_begin(struct gone *gone, const char *parent, bool root_answers) {
        char options[96];
        *gone = (struct gone){.root_answers = root_answers};
        snprintf(gone->path, sizeof(gone->path), "%s/gone", parent);
        assert_int_equal(mkdir(gone->path, 0700), 0);
        gone->fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", gone->fd);
        if (gone->fd < 0 || mount("gone", gone->path, "fuse", MS_NOSUID | MS_NODEV, options) < 0)
                skip();
        gone->waiting = mmap(NULL, sizeof(*gone->waiting), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true(gone->waiting != MAP_FAILED);
        gone->server = fork();
        assert_true(gone->server >= 0);
        if (gone->server == 0)
                gone_main(gone);
        close(gone->fd);
}

// Until somebody hangs in it.
static inline void gone_wait(const struct gone *gone) {
        time_t until = time(NULL) + GONE_SECONDS;
        while (atomic_load(gone->waiting) == 0 && time(NULL) < until)
                nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        assert_true(atomic_load(gone->waiting) > 0);
}

// Whoever hangs gets an error. What was to be seen while they did was seen in time.
static inline void gone_end(struct gone *gone) {
        assert_int_equal(waitpid(gone->server, NULL, WNOHANG), 0);
        assert_int_equal(umount2(gone->path, MNT_FORCE | MNT_DETACH), 0);
        kill(gone->server, SIGKILL);
        waitpid(gone->server, NULL, 0);
        munmap(gone->waiting, sizeof(*gone->waiting));
        rmdir(gone->path);
}
