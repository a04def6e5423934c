// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sampling for the choice (see coding.h). */
#include "agent/transfer/coding.h"
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define OPENING_GROWTH 1.25 // from look to look: of what may be on the way; where TCP doubles it, it is more
#define TRIP_MAX_US    1000000u

uint64_t coding_now_us(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

// What all processors have had nothing to do, in ticks; 0 where that is not told (proc(5)).
static uint64_t idle_ticks(void) {
        unsigned long long user, nice, system, idle, waiting;
        FILE *file = fopen("/proc/stat", "re");
        if (!file)
                return 0;
        int n = fscanf(file, "cpu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &waiting);
        fclose(file);
        return n == 5 ? idle + waiting : 0;
}

static void look(struct coding *coding, struct coding_look *ret) {
        *ret = (struct coding_look){.at = coding_now_us(), .idle_ticks = idle_ticks()};
        for (unsigned i = 0; i < coding->streams; i++) {
                struct delivered stream;
                channel_look(coding->channels[i], &stream);
                ret->delivered += stream.bytes;
                ret->waited_us += channel_waited_us(coding->channels[i]);
                ret->opening += stream.opening;
                if (ret->trip_us < stream.trip_us)
                        ret->trip_us = stream.trip_us;
        }
}

void coding_init(struct coding *coding, struct flow *flow, struct channel **channels, unsigned streams,
                 const struct choice *before) {
        memset(coding, 0, sizeof *coding);
        coding->flow = flow;
        coding->channels = channels;
        coding->streams = streams;
        pthread_mutex_init(&coding->mutex, NULL);
        flow_condition(&coding->changed);
        choice_init(&coding->choice, streams);
        if (before)
                choice_resume(&coding->choice, before);
        atomic_init(&coding->level, choice_level(&coding->choice));
        atomic_init(&coding->active, coding->choice.active);
        look(coding, &coding->last);
}

void coding_fini(struct coding *coding) {
        pthread_cond_destroy(&coding->changed);
        pthread_mutex_destroy(&coding->mutex);
}

unsigned coding_level(const struct coding *coding) {
        return atomic_load_explicit(&coding->level, memory_order_relaxed);
}

// Far for the one that has the image to itself; one that only joins for the end has nothing to reach back to.
enum coder_reach coding_reach(const struct coding *coding, unsigned stream) {
        return atomic_load(&coding->active) == 1 ? coder_reach_of(stream) : CODER_NEAR;
}

bool coding_takes_part(const struct coding *coding, unsigned stream) {
        return stream < atomic_load(&coding->active) || atomic_load(&coding->released);
}

void coding_join(struct coding *coding, unsigned stream) {
        if (coding_takes_part(coding, stream))
                return;
        pthread_mutex_lock(&coding->mutex);
        while (stream >= atomic_load(&coding->active) && !atomic_load(&coding->released) &&
               !flow_stopping(coding->flow))
                flow_tick(&coding->changed, &coding->mutex);
        pthread_mutex_unlock(&coding->mutex);
}

void coding_release(struct coding *coding) {
        pthread_mutex_lock(&coding->mutex);
        atomic_store(&coding->released, true);
        pthread_cond_broadcast(&coding->changed);
        pthread_mutex_unlock(&coding->mutex);
}

static void take_sample(struct coding *coding, struct choice_sample *ret) {
        struct coding_look last = coding->last, *now = &coding->last;
        look(coding, now);
        double us = (double) (now->at - last.at);
        now->waited_us += atomic_load(&coding->held_us);
        double waiting = (double) (now->waited_us - last.waited_us) / us / atomic_load(&coding->active);
        *ret = (struct choice_sample){
                .seconds = us / 1e6,
                .wire = (double) (now->delivered - last.delivered),
                .waiting = waiting < 1 ? waiting : 1,
                .plain = (double) atomic_exchange(&coding->plain, 0),
                .coded = (double) atomic_exchange(&coding->coded, 0),
                .coding = (double) atomic_exchange(&coding->coding_us, 0) / 1e6,
                .idle = (double) (now->idle_ticks - last.idle_ticks) / (double) sysconf(_SC_CLK_TCK) / (us / 1e6),
                .opening = (double) now->opening > OPENING_GROWTH * (double) last.opening,
        };
}

static void sample(struct coding *coding) {
        struct choice_sample sample;
        char text[CHOICE_TEXT_MAX];
        take_sample(coding, &sample);
        if (choice_update(&coding->choice, &sample)) {
                atomic_store(&coding->level, choice_level(&coding->choice));
                atomic_store(&coding->active, coding->choice.active);
                pthread_cond_broadcast(&coding->changed);
        }
        flow_choose(coding->flow, choice_level(&coding->choice), choice_text(&coding->choice, text));
}

static uint64_t pause_us(const struct coding_look *last) {
        uint64_t trip_us = last->trip_us < TRIP_MAX_US ? last->trip_us : TRIP_MAX_US;
        return trip_us > CODING_SAMPLE_MS * 1000 ? trip_us : CODING_SAMPLE_MS * 1000;
}

static void look_now_and_then(struct coding *coding) {
        if (pthread_mutex_trylock(&coding->mutex) != 0)
                return; // another thread looks just now
        if (coding_now_us() - coding->last.at >= pause_us(&coding->last))
                sample(coding);
        pthread_mutex_unlock(&coding->mutex);
}

void coding_sent(struct coding *coding, uint64_t held_us) {
        atomic_fetch_add(&coding->held_us, held_us);
        look_now_and_then(coding);
}

void coding_done(struct coding *coding, size_t plain, size_t coded, uint64_t coding_us) {
        atomic_fetch_add(&coding->plain, plain);
        atomic_fetch_add(&coding->coded, coded);
        atomic_fetch_add(&coding->coding_us, coding_us);
        look_now_and_then(coding);
}
