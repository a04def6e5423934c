// SPDX-License-Identifier: LGPL-2.1-or-later
/* The parent's side of a confined program (see confined.h): its thread, its words, its end. */
#include "agent/blocks/confined.h"
#include "agent/blocks/confined_child.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define WORDS_MAX 512u

struct confined {
        struct confined_child child;
        pthread_t thread;
        pthread_mutex_t mutex; // of what follows
        pthread_cond_t changed;
        pid_t pid; // 0: not started yet, -1: cannot be
        int start_errno;
        bool ended;
        int status;
        char words[WORDS_MAX]; // the last of what it said
        size_t n_words;
};

// ---- its thread ----

static void keep_words(struct confined *confined, const char *text, size_t length) {
        size_t room = WORDS_MAX - 1;
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

static void listen_to(struct confined *confined, int fd) {
        char text[256];
        for (;;) {
                ssize_t n = read(fd, text, sizeof(text));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return;
                pthread_mutex_lock(&confined->mutex);
                keep_words(confined, text, (size_t) n);
                pthread_mutex_unlock(&confined->mutex);
        }
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
                confined_child_run(&confined->child, pipe_fds[1], parent);
        int start_errno = errno;
        close(pipe_fds[1]);
        note_start(confined, pid, start_errno);
        if (pid > 0) {
                listen_to(confined, pipe_fds[0]);
                siginfo_t info;
                while (waitid(P_PID, (id_t) pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
                        ;
                // Reaped under the lock, so that nobody sends a signal to whoever has the number next.
                pthread_mutex_lock(&confined->mutex);
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

int confined_start(const struct confined_order *order, struct confined **ret, struct error *err) {
        if (access(order->argv[0], X_OK) < 0) {
                error_errno(err, errno, "%s", order->argv[0]);
                error_hint(err, "install it on this host: apt install qemu-utils");
                return -1;
        }
        struct confined *confined = new (struct confined);
        if (confined_child_prepare(order, &confined->child, err) < 0) {
                free(confined);
                return -1;
        }
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
        confined_child_fini(&confined->child);
        if (failed) {
                free(confined);
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
static void last_line(const char *words, char ret[WORDS_MAX]) {
        size_t end = strlen(words);
        while (end > 0 && words[end - 1] == '\n')
                end--;
        size_t begin = end;
        while (begin > 0 && words[begin - 1] != '\n')
                begin--;
        memcpy(ret, words + begin, end - begin);
        ret[end - begin] = 0;
}

int confined_ended(struct confined *confined, struct error *err) {
        char words[WORDS_MAX];
        pthread_mutex_lock(&confined->mutex);
        last_line(confined->words, words);
        int status = confined->status;
        pthread_mutex_unlock(&confined->mutex);
        if (words[0])
                return error_set(err, strstr(words, "No space left") ? ERROR_NO_SPACE : ERROR_IO, "%s", words);
        if (WIFSIGNALED(status))
                return error_set(err, ERROR_IO, "QEMU's program was ended by signal %d", WTERMSIG(status));
        return error_set(err, ERROR_IO, "QEMU's program ended with %d", WEXITSTATUS(status));
}

void confined_free(struct confined *confined) {
        if (!confined)
                return;
        pthread_mutex_lock(&confined->mutex);
        if (!confined->ended)
                kill(confined->pid, SIGKILL);
        pthread_mutex_unlock(&confined->mutex);
        pthread_join(confined->thread, NULL);
        pthread_cond_destroy(&confined->changed);
        pthread_mutex_destroy(&confined->mutex);
        free(confined);
}
