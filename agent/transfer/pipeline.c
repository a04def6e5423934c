// SPDX-License-Identifier: LGPL-2.1-or-later
/* The queue between two kinds of threads (see pipeline.h). Guarded by its mutex. */
#include "agent/transfer/pipeline.h"
#include "common/memory.h"
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct pipeline {
        pthread_mutex_t mutex;
        pthread_cond_t filled, emptied;
        struct parcel *all, *spare, *first, *last;
        unsigned n;
        bool closed, stopped;
        uint64_t hungry_us, full_us;
};

struct pipeline *pipeline_new(unsigned parcels) {
        struct pipeline *pipeline = new (struct pipeline);
        pthread_mutex_init(&pipeline->mutex, NULL);
        pthread_cond_init(&pipeline->filled, NULL);
        pthread_cond_init(&pipeline->emptied, NULL);
        pipeline->all = new_array(struct parcel, parcels);
        pipeline->n = parcels;
        for (unsigned i = 0; i < parcels; i++) {
                pipeline->all[i].next = pipeline->spare;
                pipeline->spare = &pipeline->all[i];
        }
        return pipeline;
}

void pipeline_free(struct pipeline *pipeline) {
        if (!pipeline)
                return;
        for (unsigned i = 0; i < pipeline->n; i++)
                free(pipeline->all[i].buffer);
        free(pipeline->all);
        pthread_cond_destroy(&pipeline->filled);
        pthread_cond_destroy(&pipeline->emptied);
        pthread_mutex_destroy(&pipeline->mutex);
        free(pipeline);
}

static uint64_t now_us(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

static void wait_on(struct pipeline *pipeline, pthread_cond_t *condition, uint64_t *waited_us) {
        uint64_t began = now_us();
        pthread_cond_wait(condition, &pipeline->mutex);
        *waited_us += now_us() - began;
}

struct parcel *pipeline_take(struct pipeline *pipeline) {
        struct parcel *parcel = NULL;
        pthread_mutex_lock(&pipeline->mutex);
        while (!pipeline->spare && !pipeline->stopped)
                wait_on(pipeline, &pipeline->emptied, &pipeline->full_us);
        if (!pipeline->stopped) {
                parcel = pipeline->spare;
                pipeline->spare = parcel->next;
        }
        pthread_mutex_unlock(&pipeline->mutex);
        if (parcel) {
                // The last one given back is the first one taken, so a transfer of few blocks needs few buffers.
                uint8_t *buffer = parcel->buffer ? parcel->buffer : blocks_buffer();
                *parcel = (struct parcel){.buffer = buffer};
        }
        return parcel;
}

void pipeline_put(struct pipeline *pipeline, struct parcel *parcel) {
        parcel->next = NULL;
        pthread_mutex_lock(&pipeline->mutex);
        if (pipeline->last)
                pipeline->last->next = parcel;
        else
                pipeline->first = parcel;
        pipeline->last = parcel;
        pthread_cond_signal(&pipeline->filled);
        pthread_mutex_unlock(&pipeline->mutex);
}

static struct parcel *take_first(struct pipeline *pipeline) {
        struct parcel *parcel = pipeline->first;
        if (parcel) {
                pipeline->first = parcel->next;
                if (!pipeline->first)
                        pipeline->last = NULL;
        }
        return parcel;
}

struct parcel *pipeline_get(struct pipeline *pipeline) {
        pthread_mutex_lock(&pipeline->mutex);
        while (!pipeline->first && !pipeline->closed && !pipeline->stopped)
                wait_on(pipeline, &pipeline->filled, &pipeline->hungry_us);
        struct parcel *parcel = take_first(pipeline);
        pthread_mutex_unlock(&pipeline->mutex);
        return parcel;
}

struct parcel *pipeline_get_now(struct pipeline *pipeline) {
        pthread_mutex_lock(&pipeline->mutex);
        struct parcel *parcel = take_first(pipeline);
        pthread_mutex_unlock(&pipeline->mutex);
        return parcel;
}

void pipeline_give_back(struct pipeline *pipeline, struct parcel *parcel) {
        pthread_mutex_lock(&pipeline->mutex);
        parcel->next = pipeline->spare;
        pipeline->spare = parcel;
        pthread_cond_signal(&pipeline->emptied);
        pthread_mutex_unlock(&pipeline->mutex);
}

static void end(struct pipeline *pipeline, bool *flag) {
        pthread_mutex_lock(&pipeline->mutex);
        *flag = true;
        pthread_cond_broadcast(&pipeline->filled);
        pthread_cond_broadcast(&pipeline->emptied);
        pthread_mutex_unlock(&pipeline->mutex);
}

void pipeline_close(struct pipeline *pipeline) {
        end(pipeline, &pipeline->closed);
}

void pipeline_stop(struct pipeline *pipeline) {
        end(pipeline, &pipeline->stopped);
}

void pipeline_waited(struct pipeline *pipeline, uint64_t *ret_hungry_us, uint64_t *ret_full_us) {
        pthread_mutex_lock(&pipeline->mutex);
        *ret_hungry_us = pipeline->hungry_us;
        *ret_full_us = pipeline->full_us;
        pthread_mutex_unlock(&pipeline->mutex);
}
