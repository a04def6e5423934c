// SPDX-License-Identifier: LGPL-2.1-or-later
/* The queue between coding and sending (see coded.h). Guarded by its mutex. */
#include "agent/transfer/coded.h"
#include "common/memory.h"
#include <stdlib.h>
#include <string.h>

struct coded_queue {
        struct flow *flow;
        pthread_mutex_t mutex;
        pthread_cond_t changed;
        struct coded_block *first, **last;
        size_t bytes;
        unsigned plain;
        bool closed;
};

struct coded_queue *coded_new(struct flow *flow) {
        struct coded_queue *queue = new (struct coded_queue);
        queue->flow = flow;
        queue->last = &queue->first;
        pthread_mutex_init(&queue->mutex, NULL);
        flow_condition(&queue->changed);
        return queue;
}

void coded_free(struct coded_queue *queue) {
        if (!queue)
                return;
        for (struct coded_block *block = queue->first, *next; block; block = next) {
                next = block->next;
                coded_block_free(block, queue->flow->pipeline);
        }
        pthread_cond_destroy(&queue->changed);
        pthread_mutex_destroy(&queue->mutex);
        free(queue);
}

// ---- blocks
struct coded_block *coded_block_plain(struct parcel *parcel, size_t length) {
        struct coded_block *block = new (struct coded_block);
        block->what = *parcel;
        block->plain = parcel;
        block->coding = DROVER__DATA_CODING__DATA_CODING_PLAIN;
        block->length = length;
        return block;
}

struct coded_block *coded_block_coded(const struct parcel *parcel, Drover__DataCoding coding, const uint8_t *bytes,
                                      size_t length) {
        struct coded_block *block = new (struct coded_block);
        block->what = *parcel;
        block->what.buffer = NULL;
        block->coding = coding;
        block->bytes = memory_new(length);
        memcpy(block->bytes, bytes, length);
        block->length = length;
        return block;
}

void coded_block_free(struct coded_block *block, struct pipeline *pipeline) {
        if (block->plain)
                pipeline_give_back(pipeline, block->plain);
        free(block->bytes);
        free(block);
}

// ---- the queue
static bool is_full(const struct coded_queue *queue) {
        return queue->bytes >= CODED_BYTES_MAX || queue->plain >= CODED_PLAIN_MAX;
}

bool coded_put(struct coded_queue *queue, struct coded_block *block) {
        pthread_mutex_lock(&queue->mutex);
        while (is_full(queue) && !flow_stopping(queue->flow))
                flow_tick(&queue->changed, &queue->mutex);
        bool room = !is_full(queue);
        if (room) {
                *queue->last = block;
                queue->last = &block->next;
                queue->bytes += block->bytes ? block->length : 0;
                queue->plain += block->plain ? 1 : 0;
                pthread_cond_broadcast(&queue->changed);
        }
        pthread_mutex_unlock(&queue->mutex);
        if (!room)
                coded_block_free(block, queue->flow->pipeline);
        return room;
}

void coded_close(struct coded_queue *queue) {
        pthread_mutex_lock(&queue->mutex);
        queue->closed = true;
        pthread_cond_broadcast(&queue->changed);
        pthread_mutex_unlock(&queue->mutex);
}

static struct coded_block *take_first(struct coded_queue *queue) {
        struct coded_block *block = queue->first;
        if (!block)
                return NULL;
        queue->first = block->next;
        if (!queue->first)
                queue->last = &queue->first;
        queue->bytes -= block->bytes ? block->length : 0;
        queue->plain -= block->plain ? 1 : 0;
        pthread_cond_broadcast(&queue->changed);
        return block;
}

struct coded_block *coded_get_now(struct coded_queue *queue) {
        pthread_mutex_lock(&queue->mutex);
        struct coded_block *block = take_first(queue);
        pthread_mutex_unlock(&queue->mutex);
        return block;
}

struct coded_block *coded_get(struct coded_queue *queue) {
        pthread_mutex_lock(&queue->mutex);
        while (!queue->first && !queue->closed && !flow_stopping(queue->flow))
                flow_tick(&queue->changed, &queue->mutex);
        struct coded_block *block = take_first(queue);
        pthread_mutex_unlock(&queue->mutex);
        return block;
}
