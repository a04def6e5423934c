// SPDX-License-Identifier: LGPL-2.1-or-later
/* Looking at held images (see held.h). Workers only. */
#include "agent/host/held.h"
#include "agent/host/custody_domain.h"
#include "agent/host/hold_file.h"
#include "agent/host/reach.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <string.h>
#include <sys/stat.h>

static bool is_image(const struct hold *hold) {
        return (hold->kind == HOLD_FENCED || hold->kind == HOLD_RETIRED || hold->kind == HOLD_REVIVED) &&
               hold->directory[0] && !hold->device && strcmp(hold->item, NVRAM_ITEM) != 0;
}

static void definition_free_p(struct definition **definition) {
        if (*definition)
                definition_free(*definition);
}

static void domain_message_free_p(Drover__Domain **domain) {
        proto_free((ProtobufCMessage *) *domain);
}

// What a guest wrote into its raw disk is no header (fault 34). A definition that is not kept tells nothing.
static bool is_raw(struct journal *journal, const struct hold *hold) {
        _cleanup_(definition_free_p) struct definition *definition = NULL;
        _cleanup_(domain_message_free_p) Drover__Domain *domain = new (Drover__Domain);
        _cleanup_(free_p) uint8_t *xml = NULL;
        size_t length = 0;
        drover__domain__init(domain);
        if (journal_fact_get(journal, hold->job, FACT_DEFINITION, &xml, &length, NULL) <= 0 ||
            definition_parse((const char *) xml, length, &definition, NULL) < 0 ||
            definition_describe(definition, domain, NULL) < 0)
                return false;
        for (size_t i = 0; i < domain->n_disks; i++)
                if (strcmp(domain->disks[i]->target, hold->item) == 0)
                        return strcmp(domain->disks[i]->format, "raw") == 0;
        return false;
}

// One that a purge was about to remove is missed by nobody.
static bool is_purged(struct journal *journal, const struct hold *hold) {
        _cleanup_(free_p) char *fact = memory_format(FACT_PURGED "%s", hold->item);
        _cleanup_(free_p) uint8_t *noted = NULL;
        size_t length = 0;
        return journal_fact_get(journal, hold->job, fact, &noted, &length, NULL) > 0;
}

static int open_hold(const struct hold *hold, int *ret_fd, struct error *err) {
        enum hold_place place;
        uint64_t bytes;
        if (hold_file_find(hold, &place, err) < 0)
                return -1;
        return hold_file_open(hold, place == HOLD_IN_PLACE ? HOLD_IN_PLACE : HOLD_ASIDE, ret_fd, &bytes, err);
}

static void look(struct journal *journal, const struct hold *hold, struct image_chain *ret) {
        _cleanup_(free_p) char *path = memory_format("%s/%s", hold->directory, hold->name);
        _cleanup_(close_p) int fd = -1;
        struct error err = ERROR_INIT;
        struct image image;
        *ret = (struct image_chain){.end = IMAGE_CHAIN_WHOLE};
        if (reach_check(hold->directory, &err) < 0) {
                image_chain_break(ret, IMAGE_CHAIN_SILENT, &err);
                return;
        }
        int found = open_hold(hold, &fd, &err) < 0 ? -1 : image_read_qcow2(fd, path, &image, &err);
        if (found < 0 && err.code == ERROR_NOT_FOUND && is_purged(journal, hold))
                return;
        if (found < 0 && !is_raw(journal, hold)) {
                image_chain_break(ret, IMAGE_CHAIN_UNKNOWN, &err); // also when it is missing: it should be there
        } else if (found > 0 && image.has_backing && !is_raw(journal, hold)) {
                image_chain_below(&image, path, ret);
        }
}

int held_images_read(struct journal *journal, struct held_images *ret, struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        struct held_images images = {.journal = journal};
        unsigned n = 0;
        if (journal_holds(journal, NULL, 0, &holds, &n, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++) {
                struct image_chain chain;
                if (!is_image(&holds[i]))
                        continue;
                look(journal, &holds[i], &chain);
                if (chain.n == 0 && chain.end == IMAGE_CHAIN_WHOLE)
                        continue;
                images.items = memory_grow(images.items, images.n + 1, sizeof(*images.items));
                images.items[images.n++] = (struct held){.hold = holds[i], .chain = chain};
        }
        *ret = images;
        return 0;
}

void held_images_fini(struct held_images *images) {
        for (unsigned i = 0; i < images->n; i++)
                image_chain_fini(&images->items[i].chain);
        free(images->items);
        *images = (struct held_images){0};
}

// However the directory is spelled.
static bool was_at(const struct hold *hold, const struct hold *place) {
        struct stat one, other;
        if (strcmp(hold->name, place->name) != 0)
                return false;
        if (strcmp(hold->directory, place->directory) == 0)
                return true;
        return reach_answers(hold->directory) && reach_answers(place->directory) && stat(hold->directory, &one) == 0 &&
               stat(place->directory, &other) == 0 && one.st_ino == other.st_ino && one.st_dev == other.st_dev;
}

int held_image_at(struct journal *journal, const char *path, struct held *ret, struct error *err) {
        _cleanup_(free_p) struct hold *holds = NULL;
        struct hold place = {0};
        unsigned n = 0;
        if (hold_file_split(&place, path, err) < 0 || journal_holds(journal, NULL, 0, &holds, &n, err) < 0)
                return -1;
        for (unsigned i = 0; i < n; i++) {
                if (!is_image(&holds[i]) || !was_at(&holds[i], &place))
                        continue;
                ret->hold = holds[i];
                look(journal, &holds[i], &ret->chain);
                return 1;
        }
        return 0;
}
