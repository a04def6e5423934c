// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/transfer/coded, sending: the queue between coding and sending, and when coding ends. */
#include "agent/transfer/coded.h"
#include "agent/transfer/sending.h"
#include "common/memory.h"
#include <string.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>

#define MIB     ((size_t) 1 << 20)
#define PARCELS 4u

struct scene {
        struct flow flow;
        struct coded_queue *queue;
        pthread_t thread;
        atomic_uint put;
        unsigned wanted; // blocks that the thread puts
        size_t length;
        bool plain;
};

static void open_scene(struct scene *scene) {
        *scene = (struct scene){0};
        flow_init(&scene->flow, "vda", NULL, &system_clock);
        flow_set_pipeline(&scene->flow, pipeline_new(PARCELS));
        scene->queue = coded_new(&scene->flow);
}

static void close_scene(struct scene *scene) {
        coded_free(scene->queue);
        for (unsigned i = 0; i < PARCELS; i++) // each has come back
                assert_non_null(pipeline_take(scene->flow.pipeline));
        flow_fini(&scene->flow);
}

static struct coded_block *coded(uint64_t offset, size_t length) {
        uint8_t *bytes = memory_new(length);
        struct parcel parcel = {.kind = PARCEL_BLOCK, .offset = offset, .length = BLOCKS_BLOCK};
        memset(bytes, (int) offset, length);
        struct coded_block *block = coded_block_coded(&parcel, DROVER__DATA_CODING__DATA_CODING_ZSTD, bytes, length);
        free(bytes);
        return block;
}

static void *put_all(void *data) {
        struct scene *scene = data;
        for (unsigned n = 0; n < scene->wanted; n++) {
                struct parcel *parcel = scene->plain ? pipeline_take(scene->flow.pipeline) : NULL;
                struct coded_block *block = parcel ? coded_block_plain(parcel, MIB) : coded(n, scene->length);
                if (!coded_put(scene->queue, block))
                        return NULL;
                atomic_fetch_add(&scene->put, 1);
        }
        coded_close(scene->queue);
        return NULL;
}

static void begin(struct scene *scene, unsigned wanted, size_t length, bool plain) {
        scene->wanted = wanted;
        scene->length = length;
        scene->plain = plain;
        assert_int_equal(pthread_create(&scene->thread, NULL, put_all, scene), 0);
}

// So many are put, however busy the machine is, and for a moment no more.
static void await_put(struct scene *scene, unsigned n) {
        const struct timespec moment = {.tv_nsec = 100000000};
        uint64_t until = clock_ms(&system_clock) + 30000;
        while (atomic_load(&scene->put) < n && clock_ms(&system_clock) < until)
                nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        nanosleep(&moment, NULL);
        assert_int_equal(atomic_load(&scene->put), n);
}

static void blocks_come_in_the_order_in_which_they_were_put(void **state) {
        (void) state;
        struct scene scene;
        open_scene(&scene);
        begin(&scene, 50, 1000, false);
        for (unsigned n = 0; n < 50; n++) {
                struct coded_block *block = coded_get(scene.queue);
                assert_non_null(block);
                assert_int_equal(block->what.offset, n);
                assert_int_equal(block->length, 1000);
                assert_int_equal(block->bytes[999], n);
                assert_null(block->what.buffer);
                coded_block_free(block, scene.flow.pipeline);
        }
        assert_null(coded_get(scene.queue)); // closed
        assert_null(coded_get_now(scene.queue));
        pthread_join(scene.thread, NULL);
        close_scene(&scene);
}

static void no_more_waits_than_its_bound(void **state) {
        (void) state;
        struct scene scene;
        open_scene(&scene);
        begin(&scene, 40, MIB, false);
        await_put(&scene, CODED_BYTES_MAX / MIB);
        unsigned n = 0;
        for (struct coded_block *block; (block = coded_get(scene.queue)); n++)
                coded_block_free(block, scene.flow.pipeline);
        assert_int_equal(n, 40);
        pthread_join(scene.thread, NULL);
        close_scene(&scene);
}

static void few_parcels_wait_as_they_are(void **state) {
        (void) state;
        struct scene scene;
        open_scene(&scene);
        begin(&scene, 20, 0, true);
        await_put(&scene, CODED_PLAIN_MAX);
        unsigned n = 0;
        for (struct coded_block *block; (block = coded_get(scene.queue)); n++) {
                assert_ptr_equal(block->what.buffer, block->plain->buffer);
                assert_int_equal(block->coding, DROVER__DATA_CODING__DATA_CODING_PLAIN);
                coded_block_free(block, scene.flow.pipeline);
        }
        assert_int_equal(n, 20);
        pthread_join(scene.thread, NULL);
        close_scene(&scene);
}

static void when_the_flow_stops_nobody_waits_and_parcels_come_back(void **state) {
        (void) state;
        struct scene scene;
        struct error why = ERROR_INIT;
        open_scene(&scene);
        begin(&scene, 20, 0, true);
        await_put(&scene, CODED_PLAIN_MAX);
        error_set(&why, ERROR_CANCELLED, "stopped");
        flow_fail(&scene.flow, &why);
        pthread_join(scene.thread, NULL); // its block is gone, the queue's are not
        assert_int_equal(atomic_load(&scene.put), CODED_PLAIN_MAX);
        struct coded_block *block;
        while ((block = coded_get(scene.queue)))
                coded_block_free(block, scene.flow.pipeline);
        coded_free(scene.queue);
        flow_fini(&scene.flow);
}

// The next attempt begins when this one's threads have ended, and a block takes tens of milliseconds.
static void when_the_flow_has_stopped_nothing_more_is_coded(void **state) {
        (void) state;
        struct scene scene;
        struct coding coding;
        struct error why = ERROR_INIT;
        open_scene(&scene);
        coding_init(&coding, &scene.flow, NULL, 0, NULL);
        for (unsigned i = 0; i < PARCELS; i++) {
                struct parcel *parcel = pipeline_take(scene.flow.pipeline);
                parcel->kind = PARCEL_ZERO;
                pipeline_put(scene.flow.pipeline, parcel);
        }
        error_set(&why, ERROR_UNREACHABLE, "cut");
        flow_fail(&scene.flow, &why);
        sending_code(&(struct sending){.flow = &scene.flow, .coding = &coding, .queue = scene.queue});
        assert_null(coded_get_now(scene.queue));
        for (unsigned i = 0; i < PARCELS; i++)
                assert_non_null(pipeline_get_now(scene.flow.pipeline));
        coding_fini(&coding);
        coded_free(scene.queue);
        flow_fini(&scene.flow);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(blocks_come_in_the_order_in_which_they_were_put),
                cmocka_unit_test(no_more_waits_than_its_bound),
                cmocka_unit_test(few_parcels_wait_as_they_are),
                cmocka_unit_test(when_the_flow_stops_nobody_waits_and_parcels_come_back),
                cmocka_unit_test(when_the_flow_has_stopped_nothing_more_is_coded),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
