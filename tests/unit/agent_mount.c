// SPDX-License-Identifier: LGPL-2.1-or-later
/* agent/host/mount: what lies behind a network is known without asking it. */
#include "agent/host/mount.h"
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "scratch.h"

static const char table[] = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
                            "23 22 0:5 / /proc rw - proc proc rw\n"
                            "40 22 253:1 / /var/lib/libvirt/images rw shared:7 master:2 - xfs /dev/sdb1 rw\n"
                            "41 40 0:60 / /var/lib/libvirt/images/far rw - nfs4 nas:/vms rw,vers=4.2,addr=10.0.0.9\n"
                            "42 22 0:61 / /mnt/with\\040blank rw - fuse.glusterfs nas:/v rw\n"
                            "43 22 0:62 / /mnt/over rw - cifs //nas/over rw\n"
                            "44 22 253:2 / /mnt/over rw - ext4 /dev/sdc rw\n"
                            "45 22 0:63 / /net rw - autofs /etc/auto.net rw\n"
                            "nonsense\n";

static void assert_lies(const char *path, int number, bool remote) {
        struct mount mount = {0};
        assert_true(mount_in(scratch_path("mountinfo"), path, &mount));
        assert_int_equal(mount.number, number);
        assert_int_equal(mount.remote, remote);
}

static void a_path_lies_on_the_nearest_mount(void **state) {
        (void) state;
        struct mount mount;
        scratch_write("mountinfo", table);
        assert_lies("/", 22, false);
        assert_lies("/var/lib/libvirt", 22, false);
        assert_lies("/var/lib/libvirt/images", 40, false);
        assert_lies("/var/lib/libvirt/images2", 22, false);
        assert_lies("/var/lib/libvirt/images/far", 41, true);
        assert_lies("/var/lib/libvirt/images/far/below", 41, true);
        assert_lies("/var/lib/libvirt/images/farther", 40, false);
        assert_lies("/mnt/with blank/x", 42, true);
        assert_lies("/mnt/over/x", 44, false); // the later one lies above
        assert_lies("/net/nas", 45, true);     // it may come to be mounted when it is asked for
        assert_false(mount_in(scratch_path("mountinfo"), "relative", &mount));
        assert_false(mount_in(scratch_path("none"), "/", &mount));
}

static void a_link_is_followed_as_long_as_it_is_on_a_disk_here(void **state) {
        (void) state;
        struct mount mount, other;
        assert_int_equal(symlink("/proc", scratch_path("link")), 0);
        assert_true(mount_of(scratch_path("link"), &mount));
        assert_true(mount_of("/proc", &other));
        assert_int_equal(mount.number, other.number);
        assert_int_equal(symlink(scratch_path("loop"), scratch_path("loop")), 0);
        assert_true(mount_of(scratch_path("loop"), &mount)); // ends
}

static void assert_same_mount(const char *path, const char *as) {
        struct mount mount = {0}, other = {0};
        assert_true(mount_of(path, &mount) && mount_of(as, &other));
        if (mount.number != other.number)
                fail_msg("%s is on mount %d, %s on %d", path, mount.number, as, other.number);
}

// images -> srv/images, with srv a link as well: how people spread pools over disks.
static void links_anywhere_in_a_path_are_followed(void **state) {
        (void) state;
        char relative[PATH_MAX];
        unsigned up = 0;
        for (const char *at = scratch; *at; at++)
                up += *at == '/';
        relative[0] = 0;
        for (unsigned i = 0; i < up; i++)
                strcat(relative, "../");
        strcat(relative, "proc");
        assert_int_equal(symlink("/", scratch_path("root")), 0);
        assert_int_equal(symlink(relative, scratch_path("relative")), 0);
        assert_int_equal(symlink("root/proc/sys", scratch_path("two")), 0);
        assert_same_mount(scratch_path("root"), "/");
        assert_same_mount(scratch_path("root/proc"), "/proc");
        assert_same_mount(scratch_path("root/proc/sys/kernel"), "/proc/sys/kernel");
        assert_same_mount(scratch_path("relative"), "/proc");
        assert_same_mount(scratch_path("relative/sys"), "/proc/sys");
        assert_same_mount(scratch_path("two"), "/proc/sys");
        assert_same_mount(scratch_path("relative/.."), "/");
        assert_same_mount(scratch_path("none/at/all"), scratch);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_path_lies_on_the_nearest_mount, scratch_make, scratch_remove),
                cmocka_unit_test_setup_teardown(a_link_is_followed_as_long_as_it_is_on_a_disk_here, scratch_make,
                                                scratch_remove),
                cmocka_unit_test_setup_teardown(links_anywhere_in_a_path_are_followed, scratch_make, scratch_remove),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
