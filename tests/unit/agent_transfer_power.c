// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * agent/transfer when the power of the sink's host is cut (fault 15): of what was written since the last sync of a
 * file, each page is on the disk or is not, and no order counts between files. Whatever is left, the next attempts make
 * the source's image of it. The writes and syncs of this program are its own: they keep what each file's last sync
 * covered, and at some write take down what a disk could have then. Time goes on with each write, so that there are
 * syncs between.
 */
#include "transfer_rig.h"
#include "agent/blocks/verified.h"
#include <sys/syscall.h>

#define DIRECT      DROVER__TRANSFER_PATH__PATH_DIRECT
#define PAGE        4096u
#define IMAGE_BYTES (14 * MIB + 5000)
#define FILE_MAX    (15 * MIB)
#define WRITE_MS    250u

struct disk_file {
        int fd; // -1: not watched
        ino_t inode;
        uint8_t *synced, *left; // by the last sync; what a cut of the power left
        off_t synced_length, left_length;
};
static struct disk_file files[2]; // the image, its record
static pthread_mutex_t disk = PTHREAD_MUTEX_INITIALIZER;
static unsigned random_state, writes_left; // until the power is cut; 0: it is not, or was
static bool cut;

static unsigned dice(void) {
        random_state = random_state * 1103515245 + 12345;
        return random_state >> 16;
}

static struct disk_file *find(int fd) {
        struct stat status;
        for (unsigned i = 0; i < 2; i++)
                if (files[i].fd >= 0 && fstat(fd, &status) == 0 && status.st_ino == files[i].inode)
                        return &files[i];
        return NULL;
}

static off_t read_file(const struct disk_file *file, uint8_t *ret) {
        memset(ret, 0, FILE_MAX);
        struct stat status;
        if (fstat(file->fd, &status) < 0 || pread(file->fd, ret, FILE_MAX, 0) != status.st_size)
                abort();
        return status.st_size;
}

static void cut_power(void) {
        static uint8_t now[FILE_MAX];
        for (unsigned i = 0; i < 2; i++) {
                struct disk_file *file = &files[i];
                off_t length = read_file(file, now);
                unsigned odds = dice() % 5; // of 4: from nothing at all to everything
                file->left_length = dice() % 4 < odds ? length : file->synced_length;
                for (size_t at = 0; at < FILE_MAX; at += PAGE)
                        memcpy(file->left + at, (dice() % 4 < odds ? now : file->synced) + at, PAGE);
        }
        cut = true;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
        pthread_mutex_lock(&disk);
        struct disk_file *file = find(fd);
        ssize_t n = syscall(SYS_pwrite64, fd, bytes, length, offset);
        if (file && file == &files[0])
                atomic_fetch_add(&rig_later_ms, WRITE_MS);
        if (file && writes_left > 0 && --writes_left == 0)
                cut_power();
        pthread_mutex_unlock(&disk);
        return n;
}

int ftruncate(int fd, off_t length) {
        pthread_mutex_lock(&disk);
        int result = (int) syscall(SYS_ftruncate, fd, length);
        pthread_mutex_unlock(&disk);
        return result;
}

static int sync_it(long number, int fd) {
        pthread_mutex_lock(&disk);
        struct disk_file *file = find(fd);
        int result = (int) syscall(number, fd);
        if (file)
                file->synced_length = read_file(file, file->synced);
        pthread_mutex_unlock(&disk);
        return result;
}

int fsync(int fd) {
        return sync_it(SYS_fsync, fd);
}

int fdatasync(int fd) {
        return sync_it(SYS_fdatasync, fd);
}

static void watch(unsigned n, int fd) {
        struct stat status;
        assert_int_equal(fstat(fd, &status), 0);
        files[n] = (struct disk_file){
                .fd = fd, .inode = status.st_ino, .synced = memory_new(FILE_MAX), .left = memory_new(FILE_MAX)};
        memset(files[n].synced, 0, FILE_MAX);
}

// The host comes up again with what the disk has.
static void restore(void) {
        for (unsigned i = 0; i < 2 && cut; i++) {
                struct disk_file *file = &files[i];
                assert_int_equal(ftruncate(file->fd, 0), 0);
                assert_int_equal(syscall(SYS_pwrite64, file->fd, file->left, file->left_length, 0), file->left_length);
                memcpy(file->synced, file->left, FILE_MAX);
                file->synced_length = file->left_length;
        }
        cut = false;
}

static void attempt(int source, bool power) {
        struct rig_pair pair;
        rig_pair(&pair, DIRECT, source, files[0].fd, 2);
        pair.sink.verified_fd = files[1].fd;
        writes_left = power ? dice() % 8 + 1 : 0;
        rig_pair_run(&pair);
        rig_assert_ok(&pair.source);
        rig_assert_ok(&pair.sink);
        rig_pair_end(&pair);
        rig_assert_same(source, files[0].fd); // what was believed of what the last cut had left was true
        restore();
}

// What was done at the source between two attempts: one place goes back to what it had before the last one, as with a
// snapshot; another is written to, or becomes a hole.
static void change(int source, unsigned turn) {
        uint64_t at = (4 + dice() % 9) * MIB;
        rig_fill(source, 3 * MIB, MIB, 1000 + turn % 2);
        if (dice() % 2)
                rig_fill(source, at + 8192, 200000, dice());
        else
                assert_int_equal(fallocate(source, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t) at, (off_t) MIB),
                                 0);
}

static void fault_15_whatever_a_cut_of_the_power_leaves_becomes_the_image(void **state) {
        (void) state;
        for (unsigned seed = 1; seed <= 3; seed++) {
                random_state = seed;
                int source = rig_file();
                rig_fill(source, 0, IMAGE_BYTES, seed);
                for (unsigned i = 0; i < 2; i++)
                        watch(i, rig_file());
                for (unsigned cuts = 0; cuts < 10; cuts++) {
                        attempt(source, cuts % 2);
                        change(source, cuts);
                }
                attempt(source, false);
                close(source);
                for (unsigned i = 0; i < 2; i++) {
                        close(files[i].fd);
                        free(files[i].synced);
                        free(files[i].left);
                        files[i].fd = -1;
                }
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(fault_15_whatever_a_cut_of_the_power_leaves_becomes_the_image),
        };
        files[0].fd = files[1].fd = -1;
        return cmocka_run_group_tests(tests, rig_up, rig_down);
}
