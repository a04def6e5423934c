// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A sink whose source lies, on the conversation and on a stream (faults 40 and 55): transfer_receive() as a whole, with
 * an image here to look in. Whatever is said, the transfer ends, and of what is then on the disk every grain is one
 * that the source has sent, or one of a piece that it could name. Nothing is written beside the image, and nothing
 * twice. When it succeeds, what is there is what the source had.
 *
 * First byte: the image's length, and whether there is something to look in. Then messages (line.h), on stream 0 or 1.
 * A plain block is followed by a byte for each run of grains. The fuzzer need not know hashes: one that begins with
 * HONEST is put right, as of a source whose image is the one here but for what it sends.
 */
#include "line.h"
#include "agent/blocks/digest.h"
#include "agent/blocks/sink.h"
#include "agent/transfer/answering.h"
#include "agent/transfer/copy.h"
#include <poll.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCKS     3u
#define BYTES_MAX  ((size_t) BLOCKS * BLOCKS_BLOCK)
#define PIECES_ALL (BLOCKS * BLOCKS_PIECES)
#define GRAINS_ALL (BLOCKS * BLOCKS_GRAINS)
#define NAMES_KEPT 4u // of a piece; who names it more often is not watched there
#define HONEST     0xff
#define AGAIN_MS   20

// What was said to it, and what came of it. Under the mutex, but for the image, which its writers fill.
static struct {
        struct line line;
        struct flow *flow;
        uint64_t bytes;
        pthread_mutex_t mutex;
        pthread_cond_t changed;
        bool busy[2], begun, told, closed, ended[2]; // told: what the sink has
        uint64_t asked, answered, adding; // wants that are due, that came, that are due when what is busy goes well
        bool plain;
        bool honest_end;
        uint8_t expected[BYTES_MAX], image[BYTES_MAX], here[BYTES_MAX];
        atomic_bool written[GRAINS_ALL];
        bool sent[GRAINS_ALL][256], coded[BLOCKS];
        unsigned named[PIECES_ALL];
        uint8_t names[PIECES_ALL][NAMES_KEPT][NAMES_BYTES], names_here[PIECES_ALL][NAMES_BYTES];
} world = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static size_t length_of(uint64_t offset) {
        uint64_t left = offset < world.bytes ? world.bytes - offset : 0;
        return left < BLOCKS_BLOCK ? (size_t) left : BLOCKS_BLOCK;
}

// ---- what an honest source would say of itself
static void expect_named(const Drover__DataNamed *named) {
        size_t length = length_of(named->offset), block = (size_t) (named->offset / BLOCKS_BLOCK), n = 0;
        if (length == 0 || named->offset % BLOCKS_BLOCK)
                return;
        memset(world.expected + named->offset, 0, length);
        for (unsigned i = 0; i < BLOCKS_PIECES; i++) {
                size_t piece = block * BLOCKS_PIECES + i, at = piece * BLOCKS_PIECE;
                if (!(named->pieces >> i & 1) || n + NAMES_BYTES > named->names.len)
                        continue;
                memcpy(world.expected + at, world.here + at, names_piece_length(length, i));
                if (world.named[piece] < NAMES_KEPT)
                        memcpy(world.names[piece][world.named[piece]], named->names.data + n, NAMES_BYTES);
                world.named[piece]++;
                n += NAMES_BYTES;
        }
}

static void expect_block(const Drover__DataBlock *block, struct line ahead) {
        struct grains grains;
        struct grains_run run;
        size_t length = length_of(block->offset);
        if (length == 0 || block->offset % BLOCKS_BLOCK)
                return;
        grains_unpack(&grains, block->grains.data, block->grains.len);
        if (!block->answered)
                memset(world.expected + block->offset, 0, length);
        if (block->coding != DROVER__DATA_CODING__DATA_CODING_PLAIN)
                world.coded[block->offset / BLOCKS_BLOCK] = true;
        for (size_t at = 0; grains_next(&grains, length, true, &at, &run);) {
                uint8_t value = line_byte(&ahead);
                memset(world.expected + block->offset + run.begin, value, run.end - run.begin);
                for (size_t i = run.begin / BLOCKS_GRAIN; i * BLOCKS_GRAIN < run.end; i++)
                        world.sent[block->offset / BLOCKS_GRAIN + i][value] = true;
        }
        if (block->hash.len == DIGEST_HASH && block->hash.data[0] == HONEST) {
                grains_find(world.expected + block->offset, length, &grains);
                digest_block(world.expected + block->offset, length, &grains, block->hash.data);
        }
}

static void digest_image(const uint8_t *image, uint8_t ret[DIGEST_BYTES]) {
        struct digest *digest = digest_new(world.bytes);
        for (uint64_t at = 0; at < world.bytes; at += BLOCKS_BLOCK) {
                struct grains grains;
                uint8_t hash[DIGEST_HASH];
                grains_find(image + at, length_of(at), &grains);
                digest_block(image + at, length_of(at), &grains, hash);
                need(digest_add(digest, at, length_of(at), hash, NULL) == 0);
        }
        need(digest_finish(digest, ret, NULL) == 0);
        digest_free(digest);
}

static void prepare(Drover__DataEnvelope *envelope) {
        world.adding = 0;
        Drover__DataEnd *end = envelope->end;
        switch (envelope->body_case) {
        case DROVER__DATA_ENVELOPE__BODY_BEGIN:
                world.begun = true;
                break;
        case DROVER__DATA_ENVELOPE__BODY_NAMES:
                for (size_t i = 0; i < envelope->names->n_blocks; i++)
                        expect_named(envelope->names->blocks[i]);
                world.adding = envelope->names->n_blocks;
                break;
        case DROVER__DATA_ENVELOPE__BODY_BLOCK:
                expect_block(envelope->block, world.line);
                world.plain = envelope->block->coding == DROVER__DATA_CODING__DATA_CODING_PLAIN;
                world.adding = envelope->block->answered != 0;
                break;
        case DROVER__DATA_ENVELOPE__BODY_ZERO:
                if (envelope->zero->offset < world.bytes &&
                    envelope->zero->length <= world.bytes - envelope->zero->offset)
                        memset(world.expected + envelope->zero->offset, 0, (size_t) envelope->zero->length);
                break;
        case DROVER__DATA_ENVELOPE__BODY_END:
                if (end->digest.len == DIGEST_BYTES && end->digest.data[0] == HONEST) {
                        digest_image(world.expected, end->digest.data);
                        world.honest_end = true;
                }
                break;
        default:
                break;
        }
}

// ---- whose turn it is
// One message at a time: the next is said when nothing comes of the last any more.
static bool my_turn(unsigned n) {
        bool all = world.ended[0] && world.ended[1]; // and the source waits
        world.closed |= flow_stopping(world.flow) || (line_ended(&world.line) && !all);
        if (world.closed || all || world.busy[0] || world.busy[1] || world.begun != world.told ||
            world.asked != world.answered)
                return false;
        unsigned next = world.line.at[0] & 1u;
        if (next == 1 && (!world.begun || world.ended[1]))
                world.closed = true; // nobody would ever hear it
        return next == n && !world.closed;
}

// What this thread heard last has gone well.
static void done_with(unsigned n) {
        if (!world.busy[n])
                return;
        world.asked += world.adding;
        world.busy[n] = false;
        pthread_cond_broadcast(&world.changed);
}

static unsigned number_of(const struct channel *channel) {
        return (const void *) channel == (const void *) &world.busy[1];
}

int __wrap_channel_receive(struct channel *channel, Drover__DataEnvelope **ret, struct error *err);
int __wrap_channel_receive(struct channel *channel, Drover__DataEnvelope **ret, struct error *err) {
        unsigned n = number_of(channel);
        pthread_mutex_lock(&world.mutex);
        done_with(n);
        flow_wake(world.flow);
        while (!my_turn(n) && !world.closed)
                flow_tick(&world.changed, &world.mutex);
        int result = world.closed ? error_set(err, ERROR_UNREACHABLE, "the line is cut")
                                  : line_message(&world.line, ret, err);
        if (result == 0) {
                world.busy[n] = true;
                prepare(*ret);
                world.ended[n] |= (*ret)->body_case == DROVER__DATA_ENVELOPE__BODY_END;
                if (n == 1 && world.ended[n])
                        done_with(n);
        }
        pthread_mutex_unlock(&world.mutex);
        return result;
}

bool __wrap_channel_await(struct channel *channel, int wake_fd, uint32_t milliseconds);
bool __wrap_channel_await(struct channel *channel, int wake_fd, uint32_t milliseconds) {
        struct pollfd poll_fd = {.fd = wake_fd, .events = POLLIN};
        unsigned n = number_of(channel);
        (void) milliseconds;
        pthread_mutex_lock(&world.mutex);
        done_with(n);
        bool mine = my_turn(n) || world.closed;
        pthread_mutex_unlock(&world.mutex);
        if (mine)
                return true;
        poll(&poll_fd, 1, AGAIN_MS);
        pthread_mutex_lock(&world.mutex);
        mine = my_turn(n) || world.closed;
        pthread_mutex_unlock(&world.mutex);
        return mine;
}

int __wrap_channel_read(struct channel *channel, void *bytes, size_t length, struct error *err);
int __wrap_channel_read(struct channel *channel, void *bytes, size_t length, struct error *err) {
        (void) channel;
        int result = 0;
        pthread_mutex_lock(&world.mutex);
        struct line *line = &world.line;
        if (world.plain) {
                memset(bytes, line_byte(line), length);
        } else if ((size_t) (line->end - line->at) >= length) {
                memcpy(bytes, line->at, length);
                line->at += length;
        } else {
                result = error_set(err, ERROR_UNREACHABLE, "the line is cut");
        }
        pthread_mutex_unlock(&world.mutex);
        return result;
}

// ---- what the sink says
static void check_wanted(const Drover__DataWanted *wanted) {
        size_t n = 0;
        uint8_t prints[NAMES_GRAINS][NAMES_PRINT];
        need(wanted->offset % BLOCKS_BLOCK == 0 && length_of(wanted->offset) > 0);
        need(!(wanted->alike & ~wanted->missing) && wanted->missing <= UINT16_MAX);
        for (unsigned i = 0; i < BLOCKS_PIECES; i++) {
                size_t piece = (size_t) (wanted->offset / BLOCKS_BLOCK) * BLOCKS_PIECES + i;
                need(!(wanted->missing >> i & 1) || world.named[piece] > 0); // asked for as it was named, and no more
                if (!(wanted->alike >> i & 1))
                        continue;
                names_of_grains(world.here + piece * BLOCKS_PIECE, names_piece_length(length_of(wanted->offset), i),
                                prints);
                need(n + sizeof prints <= wanted->prints.len &&
                     !memcmp(wanted->prints.data + n, prints, sizeof prints));
                n += sizeof prints;
        }
        need(n == wanted->prints.len);
}

int __wrap_channel_write(struct channel *channel, const void *bytes, size_t length, struct error *err);
int __wrap_channel_write(struct channel *channel, const void *bytes, size_t length, struct error *err) {
        (void) err;
        Drover__DataEnvelope *envelope = line_said(bytes, length);
        need(number_of(channel) == 0 && envelope->body_case == DROVER__DATA_ENVELOPE__BODY_WANTS);
        pthread_mutex_lock(&world.mutex);
        for (size_t i = 0; i < envelope->wants->n_blocks; i++)
                check_wanted(envelope->wants->blocks[i]);
        world.answered += envelope->wants->n_blocks;
        pthread_cond_broadcast(&world.changed);
        pthread_mutex_unlock(&world.mutex);
        proto_free(&envelope->base);
        return 0;
}

int __wrap_channel_send(struct channel *channel, const Drover__DataEnvelope *envelope, struct error *err);
int __wrap_channel_send(struct channel *channel, const Drover__DataEnvelope *envelope, struct error *err) {
        (void) err;
        bool has = envelope->body_case == DROVER__DATA_ENVELOPE__BODY_HAVE;
        need(number_of(channel) == 0 && (has || envelope->body_case == DROVER__DATA_ENVELOPE__BODY_DONE));
        pthread_mutex_lock(&world.mutex);
        world.told |= has && envelope->have->last;
        pthread_cond_broadcast(&world.changed);
        pthread_mutex_unlock(&world.mutex);
        return 0;
}

void __wrap_channel_say_why(struct channel *channel, const struct error *why);
void __wrap_channel_say_why(struct channel *channel, const struct error *why) {
        need(number_of(channel) == 0 && why->code != ERROR_NONE && *why->message);
}

int __wrap_copy_open(struct copy *copy, struct transfers *transfers, const Drover__TransferOrder *message,
                     const char *disk, struct running *running, const struct transfer_observer *observer,
                     struct error *err);
int __wrap_copy_open(struct copy *copy, struct transfers *transfers, const Drover__TransferOrder *message,
                     const char *disk, struct running *running, const struct transfer_observer *observer,
                     struct error *err) {
        (void) transfers;
        (void) message;
        (void) running;
        (void) err;
        memset(copy, 0, sizeof *copy);
        flow_init(&copy->flow, disk, observer, &line_clock);
        copy->order.streams = copy->flow.streams = 2;
        for (unsigned i = 0; i < 2; i++)
                copy->channels[i] = (struct channel *) &world.busy[i];
        world.flow = &copy->flow;
        return 0;
}

void __wrap_copy_close(struct copy *copy);
void __wrap_copy_close(struct copy *copy) {
        flow_fini(&copy->flow);
}

// ---- the disk
static bool disk_keeps(const struct sink *sink, uint64_t bytes) {
        (void) sink;
        (void) bytes;
        return false;
}

static int disk_begin(struct sink *sink, uint64_t bytes, bool fresh, struct error *err) {
        (void) err;
        need(fresh && bytes == world.bytes);
        sink->starts_zero = true;
        return 0;
}

static int disk_write(struct sink *sink, uint64_t offset, uint8_t *buffer, size_t length, struct error *err) {
        (void) sink;
        (void) err;
        need(offset % BLOCKS_GRAIN == 0 && length > 0 && offset < world.bytes && length <= world.bytes - offset);
        need(length % BLOCKS_GRAIN == 0 || offset + length == world.bytes);
        for (uint64_t i = offset / BLOCKS_GRAIN; i * BLOCKS_GRAIN < offset + length; i++)
                need(!atomic_exchange(&world.written[i], true));
        memcpy(world.image + offset, buffer, length);
        return 0;
}

static int disk_zero(struct sink *sink, uint64_t offset, uint64_t length, struct error *err) {
        (void) sink;
        (void) err;
        need(offset < world.bytes && length <= world.bytes - offset);
        return 0;
}

static int disk_flush(struct sink *sink, struct error *err) {
        (void) sink;
        (void) err;
        return 0;
}

static const struct sink_ops disk_ops = {.kind = "memory",
                                         .keeps = disk_keeps,
                                         .begin = disk_begin,
                                         .write = disk_write,
                                         .zero = disk_zero,
                                         .flush = disk_flush};

// ---- what is on it in the end
static bool is_named(size_t piece, const uint8_t name[NAMES_BYTES]) {
        if (world.named[piece] > NAMES_KEPT)
                return true;
        for (unsigned i = 0; i < world.named[piece]; i++)
                if (memcmp(world.names[piece][i], name, NAMES_BYTES) == 0)
                        return true;
        return false;
}

// Of a piece that is here and was named, wherever it stands here.
static bool is_had(size_t piece, const uint8_t *grain, size_t place, size_t length) {
        for (size_t other = 0; other < PIECES_ALL; other++)
                if (is_named(piece, world.names_here[other]) &&
                    memcmp(world.here + other * BLOCKS_PIECE + place, grain, length) == 0)
                        return true;
        return false;
}

static bool is_one_value(const uint8_t *grain, size_t length) {
        return length == 1 || memcmp(grain, grain + 1, length - 1) == 0;
}

static void check_piece(size_t piece) {
        size_t begin = piece * BLOCKS_PIECE, block = piece / BLOCKS_PIECES;
        size_t length = names_piece_length(length_of(block * BLOCKS_BLOCK), piece % BLOCKS_PIECES);
        uint8_t names[BLOCKS_PIECES][NAMES_BYTES];
        struct grains grains;
        grains_find(world.image + begin, length ? length : 1, &grains);
        if (world.coded[block] || length == 0 || grains_empty(&grains))
                return;
        names_of_pieces(world.image + begin, length, 1, names);
        bool named = is_named(piece, names[0]);
        for (size_t at = 0; at < length; at += BLOCKS_GRAIN) {
                const uint8_t *grain = world.image + begin + at;
                size_t n = length - at < BLOCKS_GRAIN ? length - at : BLOCKS_GRAIN;
                bool sent = is_one_value(grain, n) && (*grain == 0 || world.sent[(begin + at) / BLOCKS_GRAIN][*grain]);
                need(sent || named || is_had(piece, grain, at, n));
        }
}

static void check_end(int result, const Drover__TransferResult *told, const struct error *why) {
        uint8_t digest[DIGEST_BYTES];
        char text[DIGEST_TEXT];
        for (size_t piece = 0; piece < PIECES_ALL; piece++)
                check_piece(piece);
        if (result < 0) {
                need(why->code != ERROR_NONE && strncmp(why->message, "vda: ", 5) == 0);
                return;
        }
        digest_image(world.image, digest);
        need(strcmp(digest_text(digest, text), told->digest) == 0 && told->state->bytes_total == world.bytes);
        need(!world.honest_end || memcmp(world.image, world.expected, world.bytes) == 0);
}

static struct reuse *look_in(void) {
        int fd = memfd_create("here", MFD_CLOEXEC);
        need(pwrite(fd, world.here, sizeof world.here, 0) == (ssize_t) sizeof world.here);
        return reuse_new(&fd, 1, &(struct reuse_config){.index_bytes = 4096});
}

static void need_content(void) {
        static bool made;
        if (!made)
                flow_condition(&world.changed);
        for (size_t i = 0; i < BLOCKS && !made; i++) {
                line_content(i, world.here + i * BLOCKS_BLOCK, BLOCKS_BLOCK);
                names_of_pieces(world.here + i * BLOCKS_BLOCK, BLOCKS_BLOCK, UINT16_MAX,
                                world.names_here + i * BLOCKS_PIECES);
        }
        made = true;
}

static void forget(const uint8_t *data, size_t size) {
        static const uint64_t lengths[] = {BLOCKS_BLOCK + 5000, 100, 2 * BLOCKS_BLOCK + BLOCKS_PIECE, BYTES_MAX};
        world.line = (struct line){data + 1, data + size};
        world.bytes = lengths[data[0] & 3];
        world.busy[0] = world.busy[1] = world.begun = world.told = false;
        world.closed = world.ended[0] = world.ended[1] = world.honest_end = false;
        world.asked = world.answered = 0;
        memset(world.expected, 0, (size_t) world.bytes);
        memset(world.image, 0, (size_t) world.bytes);
        memset(world.written, 0, sizeof world.written);
        memset(world.sent, 0, sizeof world.sent);
        memset(world.coded, 0, sizeof world.coded);
        memset(world.named, 0, sizeof world.named);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (size < 1)
                return 0;
        need_content();
        forget(data, size);
        struct sink sink;
        sink_init(&sink, &disk_ops);
        struct reuse *reuse = data[0] & 4 ? look_in() : NULL;
        struct transfer_target target = {.sink = &sink, .least = world.bytes, .most = world.bytes, .verified_fd = -1};
        target.answerer = reuse ? answering_new(reuse) : NULL;
        Drover__TransferOrder order = DROVER__TRANSFER_ORDER__INIT;
        Drover__TransferResult *told = NULL;
        struct error why = ERROR_INIT;
        int result = transfer_receive(NULL, &order, "vda", &target, NULL, &told, &why);
        answering_free(target.answerer);
        reuse_free(reuse);
        check_end(result, told, &why);
        if (told)
                proto_free(&told->base);
        return 0;
}
