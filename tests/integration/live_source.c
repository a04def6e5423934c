// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Backs up a running VM's disks into raw files, for test_live_source.py: live_source JOURNAL DIRECTORY VM, then a
 * command a line. Each is answered by one line, "ok ..." or "error CODE MESSAGE", after a line "event ..." for each
 * thing that was repaired. One thread but for what the modules start themselves.
 *
 *      begin JOB BASE|-        ok CHECKPOINT|- guest|crash MILLISECONDS WHY, after a "disk ..." line for each
 *      read TARGET FILE        ok DATA ZERO SAME, in bytes; FILE holds the base where it is incremental
 *      check | end | recover
 *      settle CHECKPOINT
 *      freeze JOB MILLISECONDS
 *      thaw
 */
#include "agent/blocks/source_live.h"
#include "agent/host/live_backup.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct driver {
        struct connection *connection;
        virConnectPtr conn;
        virDomainPtr domain;
        struct journal *journal;
        const char *directory;
        struct live_backup *backup;
        struct freeze *freeze;
        char said[512]; // after "ok"
};

static void on_event(void *data, const char *text) {
        (void) data;
        printf("event %s\n", text);
}

static int begin(struct driver *driver, const char *job, const char *base, struct error *err) {
        struct live_backup_request request = {
                .domain = driver->domain,
                .journal = driver->journal,
                .job = job,
                .directory = driver->directory,
                .base = strcmp(base, "-") == 0 ? NULL : base,
                .wait_seconds = 2,
                .event = on_event,
        };
        if (live_backup_begin(&request, &driver->backup, err) < 0)
                return -1;
        const struct live_backup *backup = driver->backup;
        for (unsigned i = 0; i < backup->n_disks; i++) {
                const struct live_disk *disk = &backup->disks[i];
                printf("disk %s %s %s %s\n", disk->target,
                       disk->left_out      ? "out"
                       : disk->incremental ? "incremental"
                                           : "full",
                       disk->checkpointed ? "checkpoint" : "-", disk->why);
        }
        snprintf(driver->said, sizeof driver->said, "%s %s %u %s", backup->checkpoint[0] ? backup->checkpoint : "-",
                 backup->consistent ? "guest" : "crash", backup->frozen_ms, backup->why);
        return 0;
}

static int put(struct source *source, const struct source_range *range, uint8_t *buffer, int fd, struct error *err) {
        if (range->kind == SOURCE_DATA && source_read(source, range->offset, buffer, range->length, err) < 0)
                return -1;
        for (uint64_t at = 0; range->kind != SOURCE_SAME && at < range->length;) {
                size_t n = range->length - at < BLOCKS_BLOCK ? (size_t) (range->length - at) : BLOCKS_BLOCK;
                if (range->kind == SOURCE_ZERO)
                        memset(buffer, 0, n);
                if (pwrite(fd, buffer, n, (off_t) (range->offset + at)) != (ssize_t) n)
                        return error_set(err, ERROR_IO, "write the copy");
                at += n;
        }
        return 0;
}

static int read_disk(struct driver *driver, const char *target, const char *path, struct error *err) {
        struct nbd_export export = {0};
        for (unsigned i = 0; i < driver->backup->n_disks; i++)
                if (strcmp(driver->backup->disks[i].target, target) == 0)
                        live_backup_export(driver->backup, i, &export.socket, &export.name, &export.bitmap);
        struct source *source = NULL;
        struct source_range range;
        uint64_t bytes[3] = {0};
        int more;
        if (source_live_new(&export, &source, err) < 0)
                return -1;
        source_tell_same(source, BLOCKS_PIECE);
        _cleanup_(free_p) uint8_t *buffer = blocks_buffer();
        _cleanup_(close_p) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        while ((more = source_next(source, &range, err)) > 0) {
                bytes[range.kind] += range.length;
                if (put(source, &range, buffer, fd, err) < 0) {
                        more = -1;
                        break;
                }
        }
        source_free(source);
        snprintf(driver->said, sizeof driver->said, "%" PRIu64 " %" PRIu64 " %" PRIu64, bytes[SOURCE_DATA],
                 bytes[SOURCE_ZERO], bytes[SOURCE_SAME]);
        return more;
}

static int thaw(struct driver *driver, struct error *err) {
        unsigned ms;
        return freeze_end(steal(&driver->freeze), &ms, err) == 0 ? 0 : -1;
}

static int obey(struct driver *driver, char *line, struct error *err) {
        const char *words[3] = {"", "", ""};
        char *rest = NULL;
        for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
                const char *word = strtok_r(i == 0 ? line : NULL, " \n", &rest);
                if (!word)
                        break;
                words[i] = word;
        }
        driver->said[0] = '\0';
        if (strcmp(words[0], "begin") == 0)
                return begin(driver, words[1], words[2], err);
        if (strcmp(words[0], "read") == 0)
                return read_disk(driver, words[1], words[2], err);
        if (strcmp(words[0], "check") == 0)
                return live_backup_check(driver->backup, err);
        if (strcmp(words[0], "end") == 0) {
                live_backup_end(steal(&driver->backup));
                return 0;
        }
        if (strcmp(words[0], "settle") == 0)
                return checkpoints_settle(driver->domain, words[1], err);
        if (strcmp(words[0], "freeze") == 0)
                return freeze_begin(driver->domain, driver->journal, words[1], (unsigned) strtoul(words[2], NULL, 10),
                                    &driver->freeze, err) == 0
                               ? 0
                               : -1;
        if (strcmp(words[0], "thaw") == 0)
                return thaw(driver, err);
        if (strcmp(words[0], "recover") == 0) {
                int thawed = freeze_recover(driver->conn, driver->journal, err),
                    ended = thawed < 0 ? -1 : live_backup_recover(driver->conn, driver->directory, err);
                snprintf(driver->said, sizeof driver->said, "%d %d", thawed, ended);
                return ended < 0 ? -1 : 0;
        }
        return error_set(err, ERROR_USAGE, "unknown command '%s'", words[0]);
}

int main(int argc, char **argv) {
        struct driver driver = {0};
        struct error err = ERROR_INIT;
        if (argc != 4)
                return 2;
        connection_quiet();
        driver.directory = argv[2];
        if (journal_open(argv[1], &driver.journal, &err) < 0 ||
            connection_new("qemu:///system", &driver.connection, &err) < 0 ||
            connection_get(driver.connection, &driver.conn, &err) < 0 ||
            !(driver.domain = virDomainLookupByName(driver.conn, argv[3]))) {
                fprintf(stderr, "live_source: %s\n", err.message);
                return 1;
        }
        setlinebuf(stdout);
        for (char line[8192]; fgets(line, sizeof line, stdin);) {
                error_clear(&err);
                if (obey(&driver, line, &err) < 0)
                        printf("error %s %s\n", error_word(err.code), err.message);
                else
                        printf("ok %s\n", driver.said);
        }
        live_backup_end(driver.backup);
        virDomainFree(driver.domain);
        connection_put(driver.conn);
        connection_free(driver.connection);
        journal_close(driver.journal);
        return 0;
}
