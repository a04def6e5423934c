// SPDX-License-Identifier: LGPL-2.1-or-later
/* Talking to QEMU's servers with libnbd (see nbd_client.h); the only file that knows libnbd, its errors included. */
#include "agent/blocks/nbd_client.h"
#include "agent/blocks/nbd_server.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/units.h"
#include <errno.h>
#include <libnbd.h>
#include <stdio.h>
#include <string.h>

#define REQUEST   (256u << 10) // docs/decisions/0010
#define IN_FLIGHT (BLOCKS_BLOCK / REQUEST)
// The protocol counts lengths in 32 bits; these are far from its end, and whole grains.
#define ZERO_AT_ONCE (1ull << 30)
#define ASK_AT_ONCE  (2ull << 30)
// Long enough for it to say what it died of.
#define LAST_WORDS_MILLISECONDS 2000
#define EXPORT_CONNECTIONS      4 // only readers
// QEMU's own (docs/interop/nbd.txt), which libnbd has no words for.
#define BITMAP_CONTEXT "qemu:dirty-bitmap:"
#define BITMAP_DIRTY   1u

struct nbd_client {
        bool ours; // the server
        struct nbd_server server;
        char *context; // of the bitmap, or NULL
        uint64_t bytes;
        bool writable;
        pthread_mutex_t mutex; // of what follows
        pthread_cond_t idle_changed;
        struct nbd_handle *idle[NBD_CONNECTIONS];
        unsigned n_idle;
};

// ---- failures ----

// "qemu-nbd: Failed to blk_new_open 'json:{...}': the reason". The description is ours, of descriptors' numbers.
static void drop_description(struct error *err) {
        static const char begin[] = "qemu-nbd: Failed to blk_new_open '";
        const char *why = NULL;
        if (err && strncmp(err->message, begin, sizeof(begin) - 1) == 0)
                why = strstr(err->message, "}': ");
        if (why)
                memmove(err->message, why + 4, strlen(why + 4) + 1);
}

// What the server died of says more than that the connection is closed.
static int died(struct nbd_client *client, struct error *err) {
        int status;
        if (!client->ours)
                return 0;
        if (!confined_wait(client->server.program, LAST_WORDS_MILLISECONDS, &status))
                return 0;
        confined_ended(client->server.program, err);
        drop_description(err);
        return 1;
}

static int __attribute__((format(printf, 3, 4)))
fail(struct nbd_client *client, struct error *err, const char *format, ...) {
        char what[128];
        va_list args;
        va_start(args, format);
        vsnprintf(what, sizeof(what), format, args);
        va_end(args);
        int why = nbd_get_errno();
        bool gone = why == 0 || why == ENOTCONN || why == ECONNRESET || why == EPIPE || why == EPROTO || why == EINVAL;
        if (gone && died(client, err))
                return error_prefix(err, "%s", what);
        if (why)
                return error_errno(err, why, "%s", what);
        return error_set(err, ERROR_IO, "%s: %s", what, nbd_get_error());
}

static int fail_at(struct nbd_client *client, const char *doing, uint64_t offset, struct error *err) {
        char text[UNITS_TEXT_MAX];
        return fail(client, err, "%s at %s", doing, units_format_size(offset, text));
}

// ---- connections ----

static struct nbd_handle *take(struct nbd_client *client) {
        pthread_mutex_lock(&client->mutex);
        while (client->n_idle == 0)
                pthread_cond_wait(&client->idle_changed, &client->mutex);
        struct nbd_handle *handle = client->idle[--client->n_idle];
        pthread_mutex_unlock(&client->mutex);
        return handle;
}

static void give_back(struct nbd_client *client, struct nbd_handle *handle) {
        pthread_mutex_lock(&client->mutex);
        client->idle[client->n_idle++] = handle;
        pthread_cond_signal(&client->idle_changed);
        pthread_mutex_unlock(&client->mutex);
}

static int make_handle(struct nbd_client *client, struct nbd_handle **ret, struct error *err) {
        struct nbd_handle *handle = nbd_create();
        if (!handle)
                return error_set(err, ERROR_NO_MEMORY, "%s", nbd_get_error());
        client->idle[client->n_idle++] = handle;
        if (nbd_add_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0)
                return fail(client, err, "open the image");
        *ret = handle;
        return 0;
}

static int connect_one(struct nbd_client *client, int *fd, struct error *err) {
        struct nbd_handle *handle;
        if (make_handle(client, &handle, err) < 0)
                return -1;
        return nbd_connect_socket(handle, steal_fd(fd)) < 0 ? fail(client, err, "open the image") : 0;
}

static int connect_export(struct nbd_client *client, const struct nbd_export *export, struct error *err) {
        struct nbd_handle *handle;
        if (make_handle(client, &handle, err) < 0)
                return -1;
        if (nbd_set_export_name(handle, export->name) < 0 ||
            (client->context && nbd_add_meta_context(handle, client->context) < 0) ||
            nbd_connect_unix(handle, export->socket) < 0)
                return fail(client, err, "open the disk");
        if (client->context && nbd_can_meta_context(handle, client->context) != 1)
                return error_set(err, ERROR_CONFLICT, "open the disk: QEMU does not show which blocks have changed");
        return 0;
}

static int check_export(struct nbd_client *client, uint64_t bytes_expected, struct error *err) {
        struct nbd_handle *handle = client->idle[0];
        char says[UNITS_TEXT_MAX], expected[UNITS_TEXT_MAX];
        int64_t bytes = nbd_get_size(handle);
        if (bytes < 0)
                return fail(client, err, "open the image");
        client->bytes = (uint64_t) bytes;
        if (client->bytes > BLOCKS_BYTES_MAX)
                return error_set(err, ERROR_TOO_LARGE, "the image claims %s; at most %s are carried",
                                 units_format_size(client->bytes, says), units_format_size(BLOCKS_BYTES_MAX, expected));
        if (bytes_expected && client->bytes != nbd_whole_sectors(bytes_expected))
                return error_set(err, ERROR_CONFLICT, "the image has a disk of %llu bytes, not of %llu",
                                 (unsigned long long) client->bytes, (unsigned long long) bytes_expected);
        if (client->writable && nbd_is_read_only(handle) != 0)
                return error_set(err, ERROR_IO, "the image cannot be written to");
        return 0;
}

int nbd_client_new(const struct nbd_image *image, bool writable, struct nbd_client **ret, struct error *err) {
        struct nbd_client *client = new (struct nbd_client);
        if (nbd_server_start(image, writable, &client->server, err) < 0) {
                free(client);
                return -1;
        }
        client->ours = true;
        client->writable = writable;
        pthread_mutex_init(&client->mutex, NULL);
        pthread_cond_init(&client->idle_changed, NULL);
        int status = 0;
        for (unsigned i = 0; status == 0 && i < NBD_CONNECTIONS; i++)
                status = connect_one(client, &client->server.sockets[i], err);
        if (status == 0)
                status = check_export(client, image->bytes, err);
        if (status < 0) {
                nbd_client_free(client);
                return -1;
        }
        *ret = client;
        return 0;
}

int nbd_client_open(const struct nbd_export *export, struct nbd_client **ret, struct error *err) {
        struct nbd_client *client = new (struct nbd_client);
        pthread_mutex_init(&client->mutex, NULL);
        pthread_cond_init(&client->idle_changed, NULL);
        if (export->bitmap)
                client->context = memory_format("%s%s", BITMAP_CONTEXT, export->bitmap);
        int status = 0;
        for (unsigned i = 0; status == 0 && i < EXPORT_CONNECTIONS; i++)
                status = connect_export(client, export, err);
        if (status == 0)
                status = check_export(client, 0, err);
        if (status < 0) {
                nbd_client_free(client);
                return -1;
        }
        *ret = client;
        return 0;
}

static void disconnect(struct nbd_client *client) {
        for (unsigned i = 0; i < client->n_idle; i++) {
                nbd_aio_disconnect(client->idle[i], 0); // best effort: closing it says the same
                nbd_close(client->idle[i]);
        }
        client->n_idle = 0;
}

int nbd_client_close(struct nbd_client *client, struct error *err) {
        disconnect(client);
        if (!client->ours)
                return 0;
        return nbd_server_finish(&client->server, err);
}

void nbd_client_free(struct nbd_client *client) {
        if (!client)
                return;
        disconnect(client);
        if (client->ours)
                nbd_server_fini(&client->server);
        free(client->context);
        pthread_cond_destroy(&client->idle_changed);
        pthread_mutex_destroy(&client->mutex);
        free(client);
}

uint64_t nbd_client_bytes(const struct nbd_client *client) {
        return client->bytes;
}

// ---- blocks: several requests at once ----

struct flight {
        struct nbd_handle *handle;
        bool write;
        uint64_t offset;
        uint8_t *buffer;
        size_t length, begun;
        int64_t cookies[IN_FLIGHT];
        unsigned n;
};

static int begin_request(struct flight *flight) {
        size_t left = flight->length - flight->begun, n = left < REQUEST ? left : REQUEST;
        uint8_t *at = flight->buffer + flight->begun;
        uint64_t offset = flight->offset + flight->begun;
        int64_t cookie = flight->write ? nbd_aio_pwrite(flight->handle, at, n, offset, NBD_NULL_COMPLETION, 0)
                                       : nbd_aio_pread(flight->handle, at, n, offset, NBD_NULL_COMPLETION, 0);
        if (cookie < 0)
                return -1;
        flight->cookies[flight->n++] = cookie;
        flight->begun += n;
        return 0;
}

// Takes what is done out of the list. -1: one of them failed.
static int collect(struct flight *flight) {
        int status = 0;
        for (unsigned i = flight->n; i-- > 0;) {
                int done = nbd_aio_command_completed(flight->handle, (uint64_t) flight->cookies[i]);
                if (done == 0)
                        continue;
                if (done < 0)
                        status = -1;
                flight->cookies[i] = flight->cookies[--flight->n];
                if (status < 0)
                        return -1;
        }
        return status;
}

// After a failure what is still under way is waited for: it reads into the caller's buffer.
static void land(struct flight *flight) {
        while (flight->n > 0 && nbd_poll(flight->handle, -1) >= 0)
                for (unsigned i = flight->n; i-- > 0;)
                        if (nbd_aio_command_completed(flight->handle, (uint64_t) flight->cookies[i]) != 0)
                                flight->cookies[i] = flight->cookies[--flight->n];
}

static int fly(struct flight *flight) {
        while (flight->begun < flight->length || flight->n > 0) {
                while (flight->begun < flight->length && flight->n < IN_FLIGHT)
                        if (begin_request(flight) < 0)
                                return -1;
                if (nbd_poll(flight->handle, -1) < 0 || collect(flight) < 0)
                        return -1;
        }
        return 0;
}

static int transfer(struct nbd_client *client, bool write, uint64_t offset, uint8_t *buffer, size_t length,
                    struct error *err) {
        struct flight flight = {
                .handle = take(client), .write = write, .offset = offset, .buffer = buffer, .length = length};
        int status = fly(&flight);
        if (status < 0) {
                status = fail_at(client, write ? "write" : "read", offset, err);
                land(&flight);
        }
        give_back(client, flight.handle);
        return status;
}

int nbd_client_read(struct nbd_client *client, uint64_t offset, uint8_t *buffer, size_t length, struct error *err) {
        return transfer(client, false, offset, buffer, length, err);
}

int nbd_client_write(struct nbd_client *client, uint64_t offset, const uint8_t *buffer, size_t length,
                     struct error *err) {
        return transfer(client, true, offset, (uint8_t *) buffer, length, err);
}

// ---- zeros, flush ----

int nbd_client_zero(struct nbd_client *client, uint64_t offset, uint64_t length, struct error *err) {
        struct nbd_handle *handle = take(client);
        int status = 0;
        while (length > 0 && status == 0) {
                uint64_t n = length < ZERO_AT_ONCE ? length : ZERO_AT_ONCE;
                if (nbd_zero(handle, n, offset, 0) < 0)
                        status = fail_at(client, "write", offset, err);
                offset += n;
                length -= n;
        }
        give_back(client, handle);
        return status;
}

int nbd_client_flush(struct nbd_client *client, struct error *err) {
        struct nbd_handle *handle = take(client);
        int status = nbd_flush(handle, 0) < 0 ? fail(client, err, "sync") : 0;
        give_back(client, handle);
        return status;
}

// ---- what lies where ----

// One context's answer: runs of a flag, one after another from where it was asked.
struct flags {
        unsigned n;
        uint64_t ends[NBD_RUNS_MAX];
        bool set[NBD_RUNS_MAX];
};

struct answer {
        const char *bitmap; // its context, or NULL
        uint64_t begin;
        struct flags zero, dirty;
};

static void add_flag(struct flags *flags, uint64_t end, bool set) {
        if (flags->n > 0 && flags->set[flags->n - 1] == set)
                flags->ends[flags->n - 1] = end;
        else if (flags->n < NBD_RUNS_MAX) {
                flags->ends[flags->n] = end;
                flags->set[flags->n++] = set;
        }
}

static int on_extents(void *data, const char *context, uint64_t offset, uint32_t *entries, size_t n, int *error) {
        struct answer *answer = data;
        struct flags *flags = NULL;
        uint32_t bit = 0;
        (void) error;
        if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0) {
                flags = &answer->zero;
                bit = LIBNBD_STATE_ZERO;
        } else if (answer->bitmap && strcmp(context, answer->bitmap) == 0) {
                flags = &answer->dirty;
                bit = BITMAP_DIRTY;
        }
        if (!flags || offset != answer->begin)
                return 0;
        uint64_t at = offset;
        for (size_t i = 0; i + 1 < n; i += 2) {
                at += entries[i];
                bool set = entries[i + 1] & bit;
                if (flags->n == NBD_RUNS_MAX && flags->set[flags->n - 1] != set)
                        break; // the rest is asked for when its turn comes
                add_flag(flags, at, set);
        }
        return 0;
}

static void add_run(struct nbd_runs *runs, uint64_t end, enum source_kind kind) {
        if (runs->n > 0 && runs->runs[runs->n - 1].kind == kind)
                runs->runs[runs->n - 1].end = end;
        else
                runs->runs[runs->n++] = (struct nbd_run){end, kind};
}

// As far as both reach. Not dirty goes before zero: the base has it.
static void merge(const struct answer *answer, uint64_t bytes, struct nbd_runs *ret) {
        const struct flags *zero = &answer->zero, *dirty = &answer->dirty;
        for (unsigned z = 0, d = 0; z < zero->n && (!answer->bitmap || d < dirty->n) && ret->n < NBD_RUNS_MAX;) {
                uint64_t end = zero->ends[z];
                enum source_kind kind = zero->set[z] ? SOURCE_ZERO : SOURCE_DATA;
                if (answer->bitmap) {
                        if (dirty->ends[d] < end)
                                end = dirty->ends[d];
                        if (!dirty->set[d])
                                kind = SOURCE_SAME;
                        d += dirty->ends[d] == end;
                }
                z += zero->ends[z] == end;
                add_run(ret, end < bytes ? end : bytes, kind);
        }
}

// A server that does not know says so with one run that may hold something.
static int ask(struct nbd_client *client, struct nbd_handle *handle, uint64_t offset, struct nbd_runs *ret,
               struct error *err) {
        uint64_t left = client->bytes - offset, n = left < ASK_AT_ONCE ? left : ASK_AT_ONCE;
        _cleanup_(free_p) struct answer *answer = new (struct answer);
        answer->begin = offset;
        answer->bitmap = client->context;
        ret->begin = offset;
        ret->n = 0;
        bool allocation = nbd_can_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
        if (!allocation)
                add_flag(&answer->zero, client->bytes, false);
        if ((allocation || client->context) &&
            nbd_block_status(handle, n, offset, (nbd_extent_callback){.callback = on_extents, .user_data = answer}, 0) <
                    0)
                return fail_at(client, "read what is allocated", offset, err);
        merge(answer, client->bytes, ret);
        if (ret->n == 0 || ret->runs[0].end <= offset)
                return error_set(err, ERROR_IO, "QEMU does not say what is allocated at %llu",
                                 (unsigned long long) offset);
        return 0;
}

int nbd_client_runs(struct nbd_client *client, uint64_t offset, struct nbd_runs *ret, struct error *err) {
        struct nbd_handle *handle = take(client);
        int status = ask(client, handle, offset, ret, err);
        give_back(client, handle);
        return status;
}

static bool covers(const struct nbd_runs *runs, uint64_t offset) {
        return runs->n > 0 && offset >= runs->begin && offset < runs->runs[runs->n - 1].end;
}

const struct nbd_run *nbd_runs_at(struct nbd_client *client, uint64_t offset, struct nbd_runs *runs, unsigned *next,
                                  struct error *err) {
        if (!covers(runs, offset)) {
                *next = 0;
                if (nbd_client_runs(client, offset, runs, err) < 0)
                        return NULL;
        } else if (*next > 0 && offset < runs->runs[*next - 1].end) {
                *next = 0; // back again
        }
        while (runs->runs[*next].end <= offset)
                ++*next;
        return &runs->runs[*next];
}
