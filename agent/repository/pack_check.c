// SPDX-License-Identifier: LGPL-2.1-or-later
/* Reading all of a pack to see whether it is what it says (see pack.h). */
#include "agent/repository/pack_parts.h"
#include <assert.h>
#include <inttypes.h>

struct checking {
        const struct pack *pack;
        struct group_coder *coder;
        const struct pack_check *check;
        struct pack_checked done;
};

static void tell(struct checking *checking, enum pack_part part, uint64_t offset, const struct pack_entry *entry,
                 const struct error *why) {
        struct pack_finding finding = {.part = part, .offset = offset, .why = why};
        if (entry)
                finding.entry = *entry;
        checking->done.findings++;
        if (checking->check->found)
                checking->check->found(checking->check->context, &finding);
}

// ---- one group
struct place {
        uint64_t offset;
        struct group_header header;
};

// Chunk i of the group cannot be had; why: NULL when it is not what its name says.
static void lose(struct checking *checking, const struct place *place, unsigned i, const struct error *why) {
        const struct group_entry *is = &place->header.entries[i];
        struct pack_entry entry = {
                .name = is->name, .length = is->length, .offset = (uint32_t) place->offset, .place = (uint8_t) i};
        struct error other = ERROR_INIT;
        if (!why) {
                char hex[CHUNK_HEX];
                chunk_name_to_hex(&is->name, hex);
                error_set(&other, ERROR_CORRUPT,
                          "pack %s: group at %" PRIu64 ": chunk %u is not what its name says, %s", checking->pack->hex,
                          place->offset, i, hex);
                why = &other;
        }
        if (why->code == ERROR_IO)
                checking->done.unread++;
        else
                checking->done.damaged++;
        tell(checking, PACK_PART_CHUNK, place->offset, &entry, why);
}

static void lose_all(struct checking *checking, const struct place *place, const struct error *why) {
        for (unsigned i = 0; i < place->header.chunks; i++)
                lose(checking, place, i, why);
}

static void lose_bad(struct checking *checking, const struct place *place, uint16_t bad) {
        for (unsigned i = 0; i < place->header.chunks; i++)
                if (bad >> i & 1)
                        lose(checking, place, i, NULL);
}

static void salvage(struct checking *checking, const struct place *place) {
        const struct pack_check *check = checking->check;
        struct error why = ERROR_INIT;
        struct group group;
        if (pack_salvage_group(checking->pack, checking->coder, (uint32_t) place->offset, check->key, check->unverified,
                               check->seal, &group, &why) < 0)
                lose_all(checking, place, &why);
        else if (check->unverified)
                checking->done.unopened += place->header.chunks;
        else
                lose_bad(checking, place, group.bad);
}

static int read_group(struct checking *checking, const struct place *place, struct error *err) {
        struct group group;
        struct error why = ERROR_INIT;
        checking->done.bytes += group_bytes(&place->header);
        checking->done.chunks += place->header.chunks;
        if (pack_read_group(checking->pack, checking->coder, (uint32_t) place->offset, checking->check->seal, &group,
                            &why) == 0) {
                if (checking->check->unverified)
                        checking->done.unopened += place->header.chunks;
                else
                        lose_bad(checking, place, group_verify(&group, checking->check->key));
                return 0;
        }
        switch (why.code) {
        case ERROR_DENIED: // its check holds
                checking->done.unopened += place->header.chunks;
                return 0;
        case ERROR_IO:
                lose_all(checking, place, &why);
                return 0;
        case ERROR_CORRUPT:
                tell(checking, PACK_PART_GROUP, place->offset, NULL, &why);
                salvage(checking, place);
                return 0;
        default:
                if (err)
                        *err = why;
                return -1;
        }
}

// What is known of the group that begins there: by the table or, of one whose check does not hold in a pack without a
// trailer, by itself. false: nothing, and the groups end here.
static bool find(struct checking *checking, uint64_t at, struct place *ret) {
        const struct pack *pack = checking->pack;
        const struct pack_group *group = pack_group_at(pack, at);
        struct error why = ERROR_INIT;
        *ret = (struct place){.offset = at};
        if (group) {
                pack_header_of(pack, group, &ret->header);
                return true;
        }
        if (pack_read_header(pack, group_coder_bytes(checking->coder), at, &ret->header, &why) == 0)
                return true;
        tell(checking, PACK_PART_GROUP, at, NULL, &why);
        return false;
}

static int check_groups(struct checking *checking, struct error *err) {
        const struct pack_check *check = checking->check;
        for (uint64_t at = PACK_HEAD; at < checking->pack->groups_end;) {
                struct place place;
                if (!find(checking, at, &place))
                        return 0;
                uint64_t bytes = group_bytes(&place.header);
                if (check->before && check->before(check->context, bytes, err) < 0)
                        return -1;
                if (read_group(checking, &place, err) < 0)
                        return -1;
                at += bytes;
        }
        return 0;
}

int pack_check(const struct pack *pack, struct group_coder *coder, const struct pack_check *check,
               struct pack_checked *ret, struct error *err) {
        struct checking checking = {.pack = pack, .coder = coder, .check = check};
        assert(pack->loaded);
        if (pack->head)
                tell(&checking, PACK_PART_HEAD, 0, NULL, pack->head);
        if (pack->trailer)
                tell(&checking, PACK_PART_TRAILER, pack->groups_end, NULL, pack->trailer);
        if (check_groups(&checking, err) < 0)
                return -1;
        if (pack->rest)
                tell(&checking, PACK_PART_GROUP, pack->groups_end, NULL, pack->rest);
        *ret = checking.done;
        return 0;
}
