// SPDX-License-Identifier: LGPL-2.1-or-later
/* zstd on one stream (see coder.h). */
#include "agent/transfer/coder.h"
#include "common/memory.h"
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

// From this level on, zstd's own tables are larger than the memory that a transfer may have; bounds cost them little.
#define TABLE_LEVEL 9u
#define TABLE_LOG   20

// How a frame of RFC 8878 begins. Some builds of zstd decode the formats that came before it as well, in which a frame
// says itself how much memory it takes.
static const uint8_t magic[] = {0x28, 0xb5, 0x2f, 0xfd};

struct coder {
        ZSTD_CCtx *context; // NULL: at rest
        unsigned level;
        enum coder_reach reach;
        uint8_t *bytes; // CODER_BYTES_MAX
};

struct decoder {
        ZSTD_DCtx *context;
        enum coder_reach most;
        size_t begun; // bytes of the magic that have come
        struct grains grains;
        uint8_t *block;
        size_t length, at;
        struct grains_run run;
        size_t done; // of the run
};

static int failure(size_t code, struct error *err) {
        return error_set(err, ERROR_PROTOCOL, "zstd: %s", ZSTD_getErrorName(code));
}

// ---- coding
struct coder *coder_new(void) {
        return new (struct coder);
}

void coder_rest(struct coder *coder) {
        ZSTD_freeCCtx(coder->context);
        free(coder->bytes);
        coder->context = NULL;
        coder->bytes = NULL;
}

void coder_free(struct coder *coder) {
        if (!coder)
                return;
        coder_rest(coder);
        free(coder);
}

static void set(struct coder *coder, ZSTD_cParameter parameter, int value) {
        if (ZSTD_isError(ZSTD_CCtx_setParameter(coder->context, parameter, value)))
                abort(); // our own bug: the values are constants within zstd's bounds
}

static void begin_frame(struct coder *coder, unsigned level, enum coder_reach reach) {
        ZSTD_CCtx_reset(coder->context, ZSTD_reset_session_and_parameters);
        set(coder, ZSTD_c_compressionLevel, (int) level);
        set(coder, ZSTD_c_windowLog, (int) reach);
        set(coder, ZSTD_c_enableLongDistanceMatching, reach == CODER_FAR);
        if (level >= TABLE_LEVEL) {
                set(coder, ZSTD_c_hashLog, TABLE_LOG);
                set(coder, ZSTD_c_chainLog, TABLE_LOG);
        }
        set(coder, ZSTD_c_contentSizeFlag, 0);
        coder->level = level;
        coder->reach = reach;
}

static int wake(struct coder *coder, struct error *err) {
        coder->context = ZSTD_createCCtx();
        if (!coder->context)
                return error_set(err, ERROR_NO_MEMORY, "no memory to compress with");
        coder->bytes = memory_new(CODER_BYTES_MAX);
        coder->level = 0;
        return 0;
}

int coder_code(struct coder *coder, unsigned level, enum coder_reach reach, const uint8_t *block, size_t length,
               const struct grains *grains, const uint8_t **ret_bytes, size_t *ret_n, bool *ret_begins,
               struct error *err) {
        struct grains_run run;
        ZSTD_inBuffer in = {0};
        if (!coder->context && wake(coder, err) < 0)
                return -1;
        bool begins = coder->level != level || coder->reach != reach;
        if (begins)
                begin_frame(coder, level, reach);
        ZSTD_outBuffer out = {.dst = coder->bytes, .size = CODER_BYTES_MAX};
        for (size_t at = 0; grains_next(grains, length, true, &at, &run);) {
                in = (ZSTD_inBuffer){.src = block + run.begin, .size = run.end - run.begin};
                while (in.pos < in.size) {
                        size_t code = ZSTD_compressStream2(coder->context, &out, &in, ZSTD_e_continue);
                        if (ZSTD_isError(code))
                                return failure(code, err);
                }
        }
        size_t left = ZSTD_compressStream2(coder->context, &out, &in, ZSTD_e_flush);
        if (left != 0) // the room is more than zstd ever makes of a block, so it is an error
                return failure(left, err);
        *ret_bytes = coder->bytes;
        *ret_n = out.pos;
        *ret_begins = begins;
        return 0;
}

// ---- decoding
struct decoder *decoder_new(enum coder_reach most) {
        struct decoder *decoder = new (struct decoder);
        decoder->most = most;
        return decoder;
}

void decoder_free(struct decoder *decoder) {
        if (!decoder)
                return;
        ZSTD_freeDCtx(decoder->context);
        free(decoder);
}

static bool next_run(struct decoder *decoder) {
        decoder->done = 0;
        return grains_next(&decoder->grains, decoder->length, true, &decoder->at, &decoder->run);
}

int decoder_begin(struct decoder *decoder, bool begins, uint8_t *block, size_t length, const struct grains *grains,
                  struct error *err) {
        if (!decoder->context) {
                if (!begins)
                        return error_set(err, ERROR_PROTOCOL, "a compressed block goes on where nothing began");
                decoder->context = ZSTD_createDCtx();
                if (!decoder->context)
                        return error_set(err, ERROR_NO_MEMORY, "no memory to decompress with");
                ZSTD_DCtx_setParameter(decoder->context, ZSTD_d_windowLogMax, (int) decoder->most);
        }
        if (begins) {
                ZSTD_DCtx_reset(decoder->context, ZSTD_reset_session_only);
                decoder->begun = 0;
        }
        decoder->block = block;
        decoder->length = length;
        decoder->grains = *grains;
        decoder->at = 0;
        next_run(decoder);
        return 0;
}

static int check_magic(struct decoder *decoder, const uint8_t *bytes, size_t n, struct error *err) {
        size_t left = sizeof magic - decoder->begun, have = n < left ? n : left;
        if (memcmp(bytes, magic + decoder->begun, have) != 0)
                return error_set(err, ERROR_PROTOCOL, "a compressed block begins no frame of zstd");
        decoder->begun += have;
        return 0;
}

// Behind the last grain there is room for one byte, which shows that there is more than there should be.
int decoder_take(struct decoder *decoder, const uint8_t *bytes, size_t n, struct error *err) {
        ZSTD_inBuffer in = {.src = bytes, .size = n};
        uint8_t beyond;
        bool more = true;
        if (check_magic(decoder, bytes, n, err) < 0)
                return -1;
        while (in.pos < in.size || more) {
                size_t room = decoder->run.end - decoder->run.begin - decoder->done;
                ZSTD_outBuffer out = {.dst = decoder->block + decoder->run.begin + decoder->done, .size = room};
                if (room == 0)
                        out = (ZSTD_outBuffer){.dst = &beyond, .size = sizeof beyond};
                size_t code = ZSTD_decompressStream(decoder->context, &out, &in);
                if (ZSTD_isError(code))
                        return failure(code, err);
                if (code == 0)
                        return error_set(err, ERROR_PROTOCOL, "a frame of zstd ends, which should go on");
                if (out.pos > room)
                        return error_set(err, ERROR_PROTOCOL, "a compressed block holds more than it should");
                decoder->done += out.pos;
                more = out.pos == room && room > 0; // there may be more in it
                if (more)
                        next_run(decoder);
        }
        return 0;
}

int decoder_end(struct decoder *decoder, struct error *err) {
        if (decoder->run.end == decoder->run.begin)
                return 0;
        return error_set(err, ERROR_PROTOCOL, "a compressed block holds less than it should");
}
