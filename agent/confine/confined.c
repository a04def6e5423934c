// SPDX-License-Identifier: LGPL-2.1-or-later
/* The parent's side of a confined program (see confined.h): its thread, its words, its end. */
#include "agent/confine/confined.h"
#include "agent/confine/walls.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define POLL_MS 250u

struct confined {
        char *name; // of the program, for messages
        struct walls walls;
        pthread_t thread;
        pthread_mutex_t mutex; // of what follows
        pthread_cond_t changed;
        pid_t pid; // 0: not started yet, -1: cannot be
        int start_errno;
        bool ended;
        int status;
        char words[CONFINED_WORDS_MAX]; // the last of what it said
        size_t n_words;
};

// ---- its thread ----

static void keep_words(struct confined *confined, const char *text, size_t length) {
        size_t room = CONFINED_WORDS_MAX - 1;
        if (length > room) {
                text += length - room;
                length = room;
        }
        if (confined->n_words + length > room) {
                size_t drop = confined->n_words + length - room;
                memmove(confined->words, confined->words + drop, confined->n_words - drop);
                confined->n_words -= drop;
        }
        memcpy(confined->words + confined->n_words, text, length);
        confined->n_words += length;
        confined->words[confined->n_words] = 0;
}

// Until it closes its output, or ends: what it has started may still hold the other end then.
static void listen_to(struct confined *confined, pid_t pid, int fd) {
        char text[1024];
        int process = (int) syscall(SYS_pidfd_open, pid, 0);
        struct pollfd polled[] = {{.fd = fd, .events = POLLIN}, {.fd = process, .events = POLLIN}};
        for (;;) {
                if (poll(polled, 2, -1) < 0)
                        continue;
                if (!polled[0].revents) // all that it said has been read
                        break;
                ssize_t n = read(fd, text, sizeof(text));
                if (n <= 0)
                        break;
                pthread_mutex_lock(&confined->mutex);
                keep_words(confined, text, (size_t) n);
                pthread_mutex_unlock(&confined->mutex);
        }
        close_p(&process);
}

static void note_start(struct confined *confined, pid_t pid, int start_errno) {
        pthread_mutex_lock(&confined->mutex);
        confined->pid = pid;
        confined->start_errno = start_errno;
        pthread_cond_broadcast(&confined->changed);
        pthread_mutex_unlock(&confined->mutex);
}

static void *supervise(void *data) {
        struct confined *confined = data;
        int pipe_fds[2];
        if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
                note_start(confined, -1, errno);
                return NULL;
        }
        pid_t parent = getpid(), pid = fork();
        if (pid == 0)
                walls_run(&confined->walls, pipe_fds[1], parent);
        int start_errno = errno;
        close(pipe_fds[1]);
        if (pid > 0)
                setpgid(pid, pid); // whoever is first
        note_start(confined, pid, start_errno);
        if (pid > 0) {
                listen_to(confined, pid, pipe_fds[0]);
                siginfo_t info;
                while (waitid(P_PID, (id_t) pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
                        ;
                // What it has started goes as well. Reaped under the lock, so that nobody sends a signal to whoever has
                // the number next.
                pthread_mutex_lock(&confined->mutex);
                kill(-pid, SIGKILL);
                while (waitpid(pid, &confined->status, 0) < 0 && errno == EINTR)
                        ;
                confined->ended = true;
                pthread_cond_broadcast(&confined->changed);
                pthread_mutex_unlock(&confined->mutex);
        }
        close(pipe_fds[0]);
        return NULL;
}

// ---- from outside ----

static void release(struct confined *confined) {
        pthread_cond_destroy(&confined->changed);
        pthread_mutex_destroy(&confined->mutex);
        free(confined->name);
        free(confined);
}

int confined_start(const struct confined_order *order, struct confined **ret, struct error *err) {
        if (access(order->argv[0], X_OK) < 0) {
                error_errno(err, errno, "%s", order->argv[0]);
                error_hint(err, "install it on this host: apt install %s", order->profile->package);
                return -1;
        }
        struct confined *confined = new (struct confined);
        if (walls_prepare(order, &confined->walls, err) < 0) {
                free(confined);
                return -1;
        }
        const char *slash = strrchr(order->argv[0], '/');
        confined->name = memory_string(slash ? slash + 1 : order->argv[0]);
        pthread_condattr_t monotonic;
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_cond_init(&confined->changed, &monotonic);
        pthread_condattr_destroy(&monotonic);
        pthread_mutex_init(&confined->mutex, NULL);
        int failed = pthread_create(&confined->thread, NULL, supervise, confined);
        pthread_mutex_lock(&confined->mutex);
        while (!failed && confined->pid == 0)
                pthread_cond_wait(&confined->changed, &confined->mutex);
        if (!failed && confined->pid < 0) {
                failed = confined->start_errno;
                pthread_join(confined->thread, NULL);
        }
        pthread_mutex_unlock(&confined->mutex);
        walls_fini(&confined->walls);
        if (failed) {
                release(confined);
                return error_errno(err, failed, "start %s", order->argv[0]);
        }
        *ret = confined;
        return 0;
}

int confined_wait(struct confined *confined, unsigned milliseconds, int *ret_status) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += milliseconds / 1000;
        until.tv_nsec += (long) (milliseconds % 1000) * 1000000;
        if (until.tv_nsec >= 1000000000) {
                until.tv_sec++;
                until.tv_nsec -= 1000000000;
        }
        pthread_mutex_lock(&confined->mutex);
        while (!confined->ended && pthread_cond_timedwait(&confined->changed, &confined->mutex, &until) != ETIMEDOUT)
                ;
        bool ended = confined->ended;
        if (ended)
                *ret_status = confined->status;
        pthread_mutex_unlock(&confined->mutex);
        return ended;
}

// Its last line that is not empty.
static void last_line(const char *words, char ret[CONFINED_WORDS_MAX]) {
        size_t end = strlen(words);
        while (end > 0 && words[end - 1] == '\n')
                end--;
        size_t begin = end;
        while (begin > 0 && words[begin - 1] != '\n')
                begin--;
        memcpy(ret, words + begin, end - begin);
        ret[end - begin] = 0;
}

void confined_words(struct confined *confined, char ret[CONFINED_WORDS_MAX]) {
        pthread_mutex_lock(&confined->mutex);
        memcpy(ret, confined->words, confined->n_words + 1);
        pthread_mutex_unlock(&confined->mutex);
}

int confined_ended(struct confined *confined, struct error *err) {
        char words[CONFINED_WORDS_MAX], line[CONFINED_WORDS_MAX];
        int status = confined->status; // does not change any more
        confined_words(confined, words);
        last_line(words, line);
        if (line[0])
                return error_set(err, strstr(line, "No space left") ? ERROR_NO_SPACE : ERROR_IO, "%s", line);
        if (WIFSIGNALED(status))
                return error_set(err, ERROR_IO, "%s was ended by signal %d", confined->name, WTERMSIG(status));
        return error_set(err, ERROR_IO, "%s ended with %d", confined->name, WEXITSTATUS(status));
}

void confined_free(struct confined *confined) {
        if (!confined)
                return;
        pthread_mutex_lock(&confined->mutex);
        if (!confined->ended)
                kill(-confined->pid, SIGKILL);
        pthread_mutex_unlock(&confined->mutex);
        pthread_join(confined->thread, NULL);
        release(confined);
}

// ---- to its end ----

static int run_on(struct confined *confined, const struct confined_patience *patience, int *ret_status,
                  struct error *err) {
        uint64_t until = clock_ms(&system_clock) + patience->seconds * UINT64_C(1000);
        while (!confined_wait(confined, POLL_MS, ret_status)) {
                if (patience->cancelled && patience->cancelled(patience->data))
                        return error_set(err, ERROR_CANCELLED, "cancelled");
                if (clock_ms(&system_clock) >= until)
                        return error_set(err, ERROR_TIMEOUT, "%s has not ended after %u seconds", confined->name,
                                         patience->seconds);
        }
        return 0;
}

int confined_run(const struct confined_order *order, const struct confined_patience *patience, int *ret_code,
                 char ret_words[CONFINED_WORDS_MAX], struct error *err) {
        struct confined *confined;
        int status = 0;
        if (confined_start(order, &confined, err) < 0)
                return -1;
        int result = run_on(confined, patience, &status, err);
        if (result == 0) {
                confined_words(confined, ret_words);
                *ret_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        confined_free(confined);
        return result;
}
