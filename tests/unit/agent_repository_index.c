// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * agent/repository/index against a plain list of which pack holds which name: whatever is added, removed, flushed,
 * merged, forgotten, killed or damaged, it never says a wrong place, and once the owner has told it the packs again it
 * knows every one.
 */
#include "agent/repository/index.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/memory.h"
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <stdarg.h>
#include <setjmp.h>
#include <cmocka.h>
#include "scratch.h"

#define PACKS 100u
#define NAMES 3000u // some in several packs
#define EACH  120u  // of a pack
#define TABLE 300u

static const uint8_t repository[16] = {7};
static bool holds[PACKS][NAMES], present[PACKS]; // the model: present, as a file in packs/
static uint32_t random_state;
static char faults[300];

static uint32_t roll(uint32_t n) {
        random_state = random_state * 1664525 + 1013904223;
        return (random_state >> 8) % n;
}

static struct chunk_name name_of(uint32_t number) {
        return chunk_name_of(&number, sizeof number, NULL);
}

static void id_of(uint32_t pack, uint8_t ret[16]) {
        struct chunk_name name = name_of(~pack);
        memcpy(ret, name.bytes, 16);
}

static uint32_t offset_of(uint32_t pack, uint32_t name) {
        return pack * NAMES + name;
}

static void model_make(uint32_t seed) {
        random_state = seed;
        memset(holds, 0, sizeof holds);
        memset(present, 0, sizeof present);
        for (uint32_t pack = 0; pack < PACKS; pack++)
                for (uint32_t i = 0; i < EACH; i++)
                        holds[pack][roll(NAMES)] = true;
}

static struct index *open_index(void) {
        struct error err = ERROR_INIT;
        struct index *index = NULL;
        _cleanup_(close_p) int directory = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (index_open(directory, repository, TABLE, &index, &err) < 0)
                fail_msg("%s", err.message);
        return index;
}

static int add(struct index *index, uint32_t pack, struct error *err) {
        struct index_entry entries[EACH];
        uint8_t id[16];
        uint32_t n = 0;
        id_of(pack, id);
        for (uint32_t i = 0; i < NAMES; i++)
                if (holds[pack][i])
                        entries[n++] = (struct index_entry){name_of(i), offset_of(pack, i), (uint8_t) (i % 16)};
        return index_add(index, id, entries, n, err);
}

static bool find(struct index *index, uint32_t name, struct error *err, int *ret_result) {
        struct chunk_name wanted = name_of(name);
        struct index_place place;
        bool found = false, good = false;
        uint8_t id[16];
        *ret_result = index_find(index, &wanted, &found, &place, err);
        if (*ret_result < 0 || !found)
                return false;
        for (uint32_t pack = 0; !good && pack < PACKS; pack++) {
                id_of(pack, id);
                good = present[pack] && holds[pack][name] && memcmp(id, place.pack, 16) == 0 &&
                       place.offset == offset_of(pack, name) && place.place == name % 16;
        }
        assert_true(good);
        return true;
}

static bool model_has(uint32_t name) {
        for (uint32_t pack = 0; pack < PACKS; pack++)
                if (present[pack] && holds[pack][name])
                        return true;
        return false;
}

static void check(struct index *index) {
        struct error err = ERROR_INIT;
        int result;
        for (uint32_t name = 0; name < NAMES; name++) {
                assert_int_equal(find(index, name, &err, &result), model_has(name));
                assert_int_equal(result, 0);
        }
}

// What the owner does when it starts.
static void note_gone(void *context, const uint8_t id[16], uint32_t entries) {
        uint8_t known[16];
        bool *gone = context;
        assert_in_range(entries, 1, EACH);
        for (uint32_t pack = 0; pack < PACKS; pack++) {
                id_of(pack, known);
                if (memcmp(known, id, 16) == 0)
                        gone[pack] = !present[pack];
        }
}

static void tell(struct index *index) {
        bool gone[PACKS] = {0};
        struct error err = ERROR_INIT;
        uint8_t id[16];
        index_each_pack(index, note_gone, gone);
        for (uint32_t pack = 0; pack < PACKS; pack++) {
                id_of(pack, id);
                if (gone[pack])
                        assert_true(index_remove_pack(index, id));
                if (present[pack] && !index_has_pack(index, id) && add(index, pack, &err) < 0)
                        fail_msg("%s", err.message);
        }
}

static void merge_all(struct index *index) {
        struct error err = ERROR_INIT;
        for (bool more = true; more;)
                if (index_merge_step(index, 1000, &more, &err) < 0)
                        fail_msg("%s", err.message);
}

// ---- against the model
static void act(struct index **index, struct error *err) {
        uint32_t pack = roll(PACKS), what = roll(100);
        uint8_t id[16];
        bool more;
        id_of(pack, id);
        if (what < 40) {
                assert_int_equal(add(*index, pack, err), 0);
                present[pack] = true;
        } else if (what < 55) {
                assert_int_equal(index_remove_pack(*index, id), present[pack]);
                present[pack] = false;
        } else if (what < 65)
                assert_int_equal(index_flush(*index, err), 0);
        else if (what < 97)
                assert_int_equal(index_merge_step(*index, 1 + roll(2000), &more, err), 0);
        else {
                index_free(*index);
                *index = open_index();
                tell(*index);
        }
}

static void it_says_what_a_list_says_whatever_happens(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        model_make(4);
        struct index *index = open_index();
        for (unsigned i = 0; i < 1500; i++) {
                act(&index, &err);
                if (i % 50 == 0)
                        check(index);
        }
        check(index);
        assert_int_equal(index_flush(index, &err), 0);
        merge_all(index);
        check(index);
        index_free(index);
        index = open_index();
        check(index); // without being told
        struct index_counts counts = index_count(index);
        assert_in_range(counts.gone * 4, 0, counts.records);
        assert_in_range(counts.segments, 1, 4);
        index_free(index);
}

static void a_pack_that_is_added_twice_is_there_once(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        model_make(5);
        struct index *index = open_index();
        assert_int_equal(add(index, 3, &err), 0);
        uint32_t n = index_count(index).table;
        assert_int_equal(add(index, 3, &err), 0);
        assert_int_equal(index_count(index).table, n);
        assert_int_equal(index_flush(index, &err), 0);
        assert_int_equal(add(index, 3, &err), 0);
        assert_int_equal(index_count(index).table, 0);
        index_free(index);
}

static void what_was_not_flushed_is_forgotten_by_whole_packs(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        uint8_t flushed[16], not_flushed[16];
        model_make(6);
        id_of(1, flushed);
        id_of(2, not_flushed);
        struct index *index = open_index();
        assert_int_equal(add(index, 1, &err), 0);
        assert_int_equal(index_flush(index, &err), 0);
        assert_int_equal(add(index, 2, &err), 0);
        index_free(index);
        index = open_index();
        assert_true(index_has_pack(index, flushed));
        assert_false(index_has_pack(index, not_flushed));
        present[1] = true;
        check(index);
        index_free(index);
}

static void numbers_of_packs_that_are_gone_are_given_again(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        uint8_t id[16];
        model_make(7);
        struct index *index = open_index();
        for (uint32_t round = 0; round < 200; round++) {
                uint32_t pack = round % PACKS;
                id_of(pack, id);
                assert_int_equal(add(index, pack, &err), 0);
                assert_int_equal(index_flush(index, &err), 0);
                assert_true(index_remove_pack(index, id));
                assert_int_equal(index_flush(index, &err), 0);
                merge_all(index);
        }
        struct index_counts counts = index_count(index);
        assert_int_equal(counts.records, 0);
        assert_int_equal(counts.packs, 0);
        assert_in_range(counts.bytes, 0, 16384);
        index_free(index);
}

static void a_name_that_a_pack_says_many_times_is_kept_once(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct index_entry entries[EACH];
        struct index_place place;
        bool found = false;
        uint8_t id[16];
        struct index *index = open_index();
        for (uint32_t i = 0; i < EACH; i++)
                entries[i] = (struct index_entry){name_of(1), offset_of(2, 1), 1};
        for (uint32_t pack = 2; pack < 4; pack++) {
                id_of(pack, id);
                assert_int_equal(index_add(index, id, entries, EACH, &err), 0);
        }
        assert_int_equal(index_count(index).table, 2); // once for each
        assert_int_equal(index_flush(index, &err), 0);
        assert_int_equal(index_count(index).records, 2);
        id_of(2, id);
        assert_true(index_remove_pack(index, id));
        assert_int_equal(index_find(index, &entries[0].name, &found, &place, &err), 0);
        id_of(3, id);
        assert_true(found && memcmp(place.pack, id, 16) == 0 && place.offset == offset_of(2, 1));
        index_free(index);
}

// ---- kills and failures
// So large a pack that its segment is not merged with small ones.
static void add_large(struct index *index) {
        struct error err = ERROR_INIT;
        uint32_t n = 20000;
        uint8_t id[16];
        id_of(PACKS, id);
        _cleanup_(free_p) struct index_entry *entries = new_array(struct index_entry, n);
        for (uint32_t i = 0; i < n; i++)
                entries[i] = (struct index_entry){name_of(NAMES + i), i, 0};
        assert_int_equal(index_add(index, id, entries, n, &err), 0);
        assert_int_equal(index_flush(index, &err), 0);
}

static struct index *merged_some_after_removing(uint32_t removed, bool flush) {
        struct error err = ERROR_INIT;
        uint8_t id[16];
        struct index *index = open_index();
        add_large(index);
        for (uint32_t pack = 0; pack < 4; pack++) {
                assert_int_equal(add(index, pack, &err), 0);
                assert_int_equal(index_flush(index, &err), 0);
                present[pack] = true;
        }
        id_of(removed, id);
        assert_true(index_remove_pack(index, id));
        if (flush)
                assert_int_equal(index_flush(index, &err), 0);
        merge_all(index);
        assert_int_equal(index_count(index).segments, 2); // not all were merged
        return index;
}

static void fault_60_a_merge_forgets_nothing_of_a_removal_that_is_not_on_disk(void **state) {
        (void) state;
        uint8_t id[16];
        model_make(15);
        struct index *index = merged_some_after_removing(1, false);
        present[1] = false;
        check(index);
        index_free(index); // as a crash would
        index = open_index();
        present[1] = true;
        id_of(1, id);
        assert_true(index_has_pack(index, id)); // so that nobody adds it
        check(index);
        index_free(index);
}

static void a_merge_drops_what_is_gone_on_disk(void **state) {
        (void) state;
        uint64_t records = 20000;
        uint8_t id[16];
        model_make(15);
        struct index *index = merged_some_after_removing(1, true);
        present[1] = false;
        for (uint32_t name = 0; name < NAMES; name++)
                records += (uint64_t) holds[0][name] + holds[2][name] + holds[3][name];
        assert_int_equal(index_count(index).records, records);
        index_free(index);
        index = open_index();
        id_of(1, id);
        assert_false(index_has_pack(index, id));
        check(index);
        index_free(index);
}

static const char *const points[] = {"repository.index.before-log",     "repository.index.before-manifest",
                                     "repository.index.after-manifest", "repository.index.merge-begun",
                                     "repository.index.merge-end",      "repository.index.before-unlink"};

static void set_fault(const char *point, const char *text) {
        char path[400];
        struct error err = ERROR_INIT;
        snprintf(path, sizeof path, "%s/%s", faults, point);
        if (file_write(path, text, strlen(text), 0600, &err) < 0)
                fail_msg("%s", err.message);
}

// Add and remove; every pack that is added or removed here is so in the model, before and after.
static int work(struct index *index, struct error *err) {
        bool more = true;
        uint8_t id[16];
        for (uint32_t pack = 0; pack < PACKS; pack++) {
                id_of(pack, id);
                if (add(index, pack, err) < 0)
                        return -1;
                if (pack >= PACKS / 2 && index_remove_pack(index, id) && index_flush(index, err) < 0)
                        return -1;
                if (index_merge_step(index, 500, &more, err) < 0)
                        return -1;
        }
        while (more)
                if (index_merge_step(index, 500, &more, err) < 0)
                        return -1;
        return index_flush(index, err);
}

static void expect_work(void) {
        for (uint32_t pack = 0; pack < PACKS; pack++)
                present[pack] = pack < PACKS / 2;
}

static void work_in_child(void) {
        work(open_index(), NULL);
}

static void fault_60_killed_at_any_step_it_is_whole_again(void **state) {
        (void) state;
        model_make(8);
        for (unsigned i = 0; i < ARRAY_SIZE(points); i++)
                for (unsigned nth = 1; nth < 3; nth++) {
                        char text[32];
                        snprintf(text, sizeof text, "nth %u kill", nth);
                        set_fault(points[i], text);
                        int status = status_of_child(work_in_child);
                        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
                        expect_work();
                        struct index *index = open_index();
                        tell(index);
                        check(index);
                        merge_all(index);
                        check(index);
                        index_free(index);
                        _cleanup_(close_p) int directory = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                        assert_int_equal(index_clear(directory, NULL), 0);
                }
}

static void fault_19_after_a_failure_at_any_step_nothing_is_lost(void **state) {
        (void) state;
        model_make(9);
        for (unsigned i = 0; i < ARRAY_SIZE(points); i++)
                for (unsigned nth = 1; nth < 3; nth++) {
                        char text[40];
                        struct error err = ERROR_INIT;
                        struct index *index = open_index();
                        snprintf(text, sizeof text, "nth %u fail no-space", nth);
                        set_fault(points[i], text);
                        assert_int_equal(work(index, &err), -1);
                        assert_true(err.code == ERROR_NO_SPACE || err.code == ERROR_STALE);
                        int again = work(index, &err);
                        assert_true(again == 0 || err.code == ERROR_STALE);
                        if (again < 0) {
                                index_free(index);
                                index = open_index();
                                assert_int_equal(work(index, &err), 0);
                        }
                        expect_work();
                        check(index);
                        index_free(index);
                        index = open_index();
                        check(index);
                        index_free(index);
                        _cleanup_(close_p) int directory = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                        assert_int_equal(index_clear(directory, &err), 0);
                }
}

// ---- damage
static void rebuild_and_check(void) {
        struct error err = ERROR_INIT;
        _cleanup_(close_p) int directory = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(index_clear(directory, &err), 0);
        struct index *index = open_index();
        assert_int_equal(index_count(index).packs, 0);
        tell(index);
        assert_int_equal(index_flush(index, &err), 0);
        merge_all(index);
        check(index);
        index_free(index);
}

// Every name gets the right answer or none. The error of the first that got none.
static enum error_code look_at_all(void) {
        struct error err = ERROR_INIT;
        struct index *index = NULL;
        enum error_code code = ERROR_NONE;
        _cleanup_(close_p) int directory = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (index_open(directory, repository, TABLE, &index, &err) < 0)
                return err.code;
        for (uint32_t name = 0; name < NAMES && code == ERROR_NONE; name++) {
                int result;
                bool found = find(index, name, &err, &result);
                if (result < 0)
                        code = err.code;
                else
                        assert_int_equal(found, model_has(name));
        }
        index_free(index);
        return code;
}

static unsigned list_files(char files[16][64]) {
        unsigned n = 0;
        DIR *directory = opendir(scratch);
        assert_non_null(directory);
        for (struct dirent *entry; (entry = readdir(directory));)
                if (entry->d_name[0] != '.' && n < 16)
                        snprintf(files[n++], 64, "%.63s", entry->d_name);
        closedir(directory);
        return n;
}

static void flip(const char *file, off_t offset) {
        uint8_t byte;
        _cleanup_(close_p) int fd = open(scratch_path(file), O_RDWR | O_CLOEXEC);
        assert_int_equal(pread(fd, &byte, 1, offset), 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
}

static void make_for_damage(uint32_t seed) {
        model_make(seed);
        expect_work();
        rebuild_and_check();
}

static void fault_60_a_flipped_bit_is_found_and_never_a_wrong_place(void **state) {
        (void) state;
        char files[16][64];
        make_for_damage(10);
        unsigned n = list_files(files);
        assert_in_range(n, 4, 15);
        for (unsigned i = 0; i < n; i++) {
                struct stat status;
                assert_int_equal(stat(scratch_path(files[i]), &status), 0);
                bool records = strstr(files[i], "records") != NULL; // the last page is zeros behind what it says
                off_t length = records ? status.st_size - 4096 + 88 : status.st_size;
                for (off_t at = 0; at < length; at += 1 + length / 23) {
                        flip(files[i], at);
                        assert_int_equal(look_at_all(), ERROR_CORRUPT);
                        flip(files[i], at);
                }
        }
        assert_int_equal(look_at_all(), ERROR_NONE);
        flip("manifest", 3);
        rebuild_and_check();
}

static void fault_22_60_what_is_cut_short_or_gone_is_found_and_made_again(void **state) {
        (void) state;
        char files[16][64];
        make_for_damage(11);
        unsigned n = list_files(files);
        for (unsigned i = 0; i < 2 * n; i++) {
                struct stat status;
                const char *file = files[i / 2];
                if (i % 2) {
                        assert_int_equal(unlink(scratch_path(file)), 0);
                } else {
                        assert_int_equal(stat(scratch_path(file), &status), 0);
                        assert_int_equal(truncate(scratch_path(file), status.st_size - 1), 0);
                }
                if (i % 2 && strcmp(file, "manifest") == 0) { // knows nothing, and is told
                        struct index *index = open_index();
                        assert_int_equal(index_count(index).packs, 0);
                        index_free(index);
                } else
                        assert_int_equal(look_at_all(), ERROR_CORRUPT);
                rebuild_and_check();
                assert_int_equal(list_files(files), n);
        }
}

static void put_strange(unsigned kind, const char *file) {
        const char *path = scratch_path(file);
        if (kind == 0) {
                assert_int_equal(mkfifo(path, 0600), 0);
        } else if (kind == 1) {
                assert_int_equal(symlink("elsewhere", path), 0);
        } else if (kind == 2) {
                char inside[64];
                snprintf(inside, sizeof inside, "%s/inside", file);
                assert_int_equal(mkdir(path, 0700), 0);
                scratch_write(inside, "something");
        } else {
                assert_int_equal(mknod(path, S_IFSOCK | 0600, 0), 0);
        }
}

static void fault_60_what_is_no_file_in_the_place_of_one_is_cleared_away(void **state) {
        (void) state;
        char files[16][64];
        make_for_damage(16);
        unsigned n = list_files(files);
        for (unsigned kind = 0; kind < 4; kind++) {
                struct error err = ERROR_INIT;
                struct index *index = NULL;
                assert_int_equal(unlink(scratch_path("manifest")), 0);
                put_strange(kind, "manifest");
                put_strange(kind, "manifest.new");
                put_strange(kind, "000000ff.records");
                _cleanup_(close_p) int directory = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                assert_int_equal(index_open(directory, repository, TABLE, &index, &err), -1);
                assert_error(err, ERROR_CORRUPT, "index: manifest: expected a regular file");
                rebuild_and_check();
                assert_int_equal(list_files(files), n);
        }
}

static void an_index_of_another_repository_is_none_of_ours(void **state) {
        (void) state;
        static const uint8_t other[16] = {8};
        struct error err = ERROR_INIT;
        struct index *index = NULL;
        make_for_damage(12);
        _cleanup_(close_p) int directory = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(index_open(directory, other, TABLE, &index, &err), -1);
        assert_error(err, ERROR_CORRUPT, "index: manifest: expected this repository's, with its check sum");
}

// Put a directory in the place of the open files: every read fails, and none says end of file.
static void fault_67_a_read_that_fails_is_not_called_corruption(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        int kept[64], fds[64], result = 0;
        unsigned n = 0;
        make_for_damage(13);
        struct index *index = open_index();
        _cleanup_(close_p) int directory = open(scratch, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (int fd = 3; fd < 64; fd++) {
                char link[64], target[512];
                snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
                ssize_t length = readlink(link, target, sizeof target - 1);
                target[length > 0 ? length : 0] = '\0';
                if (strstr(target, ".records"))
                        fds[n++] = fd;
        }
        for (unsigned i = 0; i < n; i++) {
                kept[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 100);
                assert_int_equal(dup2(directory, fds[i]), fds[i]);
        }
        for (uint32_t name = 0; name < NAMES && result == 0; name++)
                find(index, name, &err, &result);
        assert_int_equal(result, -1);
        assert_int_equal(err.code, ERROR_IO);
        for (unsigned i = 0; i < n; i++) {
                assert_int_equal(dup2(kept[i], fds[i]), fds[i]);
                close(kept[i]);
        }
        check(index);
        index_free(index);
}

// ---- threads
static atomic_bool ended;
static atomic_uint answers, failures;

static void *look_failed(const char *why) {
        failures++;
        return memory_string(why);
}

static void *look_on_and_on(void *argument) {
        struct index *index = argument;
        unsigned turn = 0;
        while (!ended) {
                struct chunk_name wanted = name_of(turn++ * 7 % NAMES);
                struct index_place place;
                struct error err = ERROR_INIT;
                bool found = false;
                if (index_find(index, &wanted, &found, &place, &err) < 0)
                        return look_failed(err.message);
                if (found && place.offset % NAMES % 16 != place.place)
                        return look_failed("a wrong place");
                index_count(index);
                answers++;
        }
        return NULL;
}

static void many_look_while_one_writes(void **state) {
        (void) state;
        pthread_t threads[3];
        struct error err = ERROR_INIT;
        model_make(14);
        expect_work();
        ended = false;
        struct index *index = open_index();
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, look_on_and_on, index), 0);
        for (unsigned turn = 0; turn < 5; turn++)
                assert_int_equal(work(index, &err), 0);
        while (answers < 1000 && failures == 0)
                usleep(1000);
        ended = true;
        for (unsigned i = 0; i < 3; i++) {
                void *message = NULL;
                pthread_join(threads[i], &message);
                if (message)
                        fail_msg("%s", (char *) message);
        }
        check(index);
        index_free(index);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SCRATCH_TEST(it_says_what_a_list_says_whatever_happens),
                SCRATCH_TEST(a_pack_that_is_added_twice_is_there_once),
                SCRATCH_TEST(what_was_not_flushed_is_forgotten_by_whole_packs),
                SCRATCH_TEST(numbers_of_packs_that_are_gone_are_given_again),
                SCRATCH_TEST(a_name_that_a_pack_says_many_times_is_kept_once),
                SCRATCH_TEST(fault_60_a_merge_forgets_nothing_of_a_removal_that_is_not_on_disk),
                SCRATCH_TEST(a_merge_drops_what_is_gone_on_disk),
                SCRATCH_TEST(fault_60_killed_at_any_step_it_is_whole_again),
                SCRATCH_TEST(fault_19_after_a_failure_at_any_step_nothing_is_lost),
                SCRATCH_TEST(fault_60_a_flipped_bit_is_found_and_never_a_wrong_place),
                SCRATCH_TEST(fault_22_60_what_is_cut_short_or_gone_is_found_and_made_again),
                SCRATCH_TEST(fault_60_what_is_no_file_in_the_place_of_one_is_cleared_away),
                SCRATCH_TEST(an_index_of_another_repository_is_none_of_ours),
                SCRATCH_TEST(fault_67_a_read_that_fails_is_not_called_corruption),
                SCRATCH_TEST(many_look_while_one_writes),
        };
        if (scratch_new(faults, sizeof faults) < 0 || setenv("DROVER_FAULT_DIR", faults, 1) < 0)
                return 1;
        fault_init();
        int result = cmocka_run_group_tests(tests, NULL, NULL);
        file_remove_tree(faults, NULL);
        return result;
}
