// SPDX-License-Identifier: LGPL-2.1-or-later
/* Chains of images, opened for a conversion; and VMDK headers. */
#include "agent/host/image_files.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "scratch.h"

#define MIB (1ull << 20)

static struct image_files files;
static struct error err;

static void __attribute__((format(printf, 1, 2))) shell(const char *format, ...) {
        char command[1024], text[900];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        snprintf(command, sizeof(command), "cd %s && exec >/dev/null && %s", scratch, text);
        if (system(command) != 0)
                fail_msg("failed: %s", text);
}

// libvirt's test driver, with one pool: the directory "pool" of the scratch directory.
static virConnectPtr connect_to_test(void) {
        virConnectPtr conn = virConnectOpen("test:///default");
        assert_non_null(conn);
        _cleanup_(free_p) char *xml = memory_format(
                "<pool type='dir'><name>images</name><target><path>%s/pool</path></target></pool>", scratch);
        virStoragePoolPtr pool = virStoragePoolCreateXML(conn, xml, 0);
        assert_non_null(pool);
        virStoragePoolFree(pool);
        return conn;
}

static int open_chain(const char *name, const char *format) {
        virConnectPtr conn = connect_to_test();
        _cleanup_(free_p) char *path = memory_format("%s/pool/%s", scratch, name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        err = ERROR_INIT;
        int status = image_files_of(conn, fd, path, format, &files, &err);
        virConnectClose(conn);
        return status;
}

static void assert_refused(const char *name, const char *format, const char *rest) {
        assert_int_equal(open_chain(name, format), -1);
        assert_int_equal(err.code, ERROR_REFUSED);
        if (!strstr(err.message, rest))
                fail_msg("%s", err.message);
}

static void change_bytes(const char *name, long offset, const char *bytes, size_t length) {
        _cleanup_(free_p) char *path = memory_format("%s/pool/%s", scratch, name);
        FILE *file = fopen(path, "r+b");
        assert_non_null(file);
        fseek(file, offset, offset < 0 ? SEEK_END : SEEK_SET);
        assert_int_equal(fwrite(bytes, 1, length, file), length);
        fclose(file);
}

static int set_up(void **state) {
        if (scratch_make(state) < 0)
                return -1;
        return mkdir(scratch_path("pool"), 0700);
}

static int tear_down(void **state) {
        image_files_fini(&files);
        return scratch_remove(state);
}

static void a_chain_is_opened_member_by_member(void **state) {
        (void) state;
        shell("cd pool && qemu-img create -q -f raw base 4M && qemu-img create -q -f qcow2 -b base -F raw middle && "
              "qemu-img create -q -f qcow2 -b %s/pool/middle -F qcow2 top",
              scratch);
        if (open_chain("top", "qcow2") < 0)
                fail_msg("%s", err.message);
        assert_int_equal(files.n, 3);
        assert_string_equal(files.formats[0], "qcow2");
        assert_string_equal(files.formats[1], "qcow2");
        assert_string_equal(files.formats[2], "raw");
        assert_int_equal(files.virtual_bytes, 4 * MIB);
}

static void an_image_of_its_own_is_a_chain_of_one(void **state) {
        (void) state;
        shell("qemu-img create -q -f qcow2 pool/top 4M");
        assert_int_equal(open_chain("top", "qcow2"), 0);
        assert_int_equal(files.n, 1);
}

static void fault_53_what_stands_in_no_pool_is_not_read(void **state) {
        (void) state;
        shell("qemu-img create -q -f raw outside 1M && qemu-img create -q -f qcow2 -b ../outside -F raw pool/top");
        assert_refused("top", "qcow2", "/outside stands in no pool of this host");
        assert_non_null(strstr(err.hints[0], "virsh pool-create-as NAME dir --target /tmp/"));
        shell("qemu-img create -q -f qcow2 -u -b /etc/shadow -F raw pool/evil 1M");
        assert_refused("evil", "qcow2", "the backing file /etc/shadow stands in no pool of this host");
}

static void fault_53_protocols_in_a_header_lead_nowhere(void **state) {
        (void) state;
        shell("qemu-img create -q -f qcow2 -u -b 'nbd://10.0.0.1/x' -F raw pool/a 1M");
        assert_refused("a", "qcow2", "the backing file nbd://10.0.0.1/x is not a file of this host");
        shell("qemu-img create -q -f qcow2 -u -b 'json:{\"driver\":\"nbd\",\"host\":\"h\"}' -F raw pool/b 1M");
        assert_refused("b", "qcow2", "is not a file of this host");
}

static void fault_53_an_external_data_file_is_refused(void **state) {
        (void) state;
        shell("qemu-img create -q -f qcow2 -o data_file=%s/pool/data,data_file_raw=on pool/top 1M", scratch);
        assert_refused("top", "qcow2", "its data lies in another file");
}

static void fault_49_a_link_in_the_chain_is_not_followed(void **state) {
        (void) state;
        shell("qemu-img create -q -f raw outside 1M && ln -s ../outside pool/base && "
              "qemu-img create -q -f qcow2 -b base -F raw pool/top");
        assert_int_equal(open_chain("top", "qcow2"), -1);
        assert_non_null(strstr(err.message, "Too many levels of symbolic links"));
}

static void fault_34_a_raw_member_is_raw_whatever_it_holds(void **state) {
        (void) state;
        shell("qemu-img create -q -f qcow2 -u -b /etc/shadow -F raw pool/base 1M && truncate -s 1M pool/base && "
              "qemu-img create -q -f qcow2 -b base -F raw pool/top");
        assert_int_equal(open_chain("top", "qcow2"), 0);
        assert_int_equal(files.n, 2);
        assert_string_equal(files.formats[1], "raw");
}

static void a_member_of_no_stated_format_is_refused(void **state) {
        (void) state;
        shell("cd pool && qemu-img create -q -f raw base 1M && qemu-img create -q -f qcow2 -b base -F raw top");
        change_bytes("top", 112, "\x12\x34\x56\x78", 4); // what said so is some other extension now
        assert_refused("top", "qcow2", "does not say of which format its backing file base is");
}

static void a_chain_that_bites_its_tail_ends(void **state) {
        (void) state;
        shell("qemu-img create -q -f qcow2 pool/top 1M && qemu-img rebase -u -f qcow2 -b top -F qcow2 pool/top");
        assert_int_equal(open_chain("top", "qcow2"), -1);
        assert_int_equal(err.code, ERROR_TOO_LARGE);
}

// ---- VMDK ----

static void a_vmdk_of_one_file_tells_its_size(void **state) {
        (void) state;
        shell("qemu-img create -q -f vmdk pool/a 8M && "
              "qemu-img convert -f vmdk -O vmdk -o subformat=streamOptimized pool/a pool/b");
        assert_int_equal(open_chain("a", "vmdk"), 0);
        assert_int_equal(files.virtual_bytes, 8 * MIB);
        image_files_fini(&files);
        assert_int_equal(open_chain("b", "vmdk"), 0);
        assert_int_equal(files.virtual_bytes, 8 * MIB);
}

static void fault_51_a_vmdk_that_names_other_files_is_refused(void **state) {
        (void) state;
        shell("qemu-img create -q -f vmdk -o subformat=monolithicFlat pool/flat 1M");
        assert_refused("flat", "vmdk", "flat is not a VMDK image of one file");
        shell("qemu-img create -q -f vmdk pool/a 1M");
        change_bytes("a", 12, "\0\0\0\0\0\0\0\0", 8); // no size: QEMU would go by the descriptor
        assert_refused("a", "vmdk", "impossible VMDK disk size");
        shell("rm pool/a && qemu-img create -q -f vmdk pool/a 1M && "
              "sed -i 's/^RW 2048 SPARSE \"a\"/RW 2048 FLAT \"\\/x\" 0\\nRW 1 SPARSE \"a\"/' pool/a");
        assert_refused("a", "vmdk", "only a VMDK that is one file is read");
}

static void fault_51_a_vmdk_over_another_is_refused(void **state) {
        (void) state;
        shell("qemu-img create -q -f vmdk pool/base 1M && qemu-img create -q -f vmdk -b base -F vmdk pool/top");
        assert_refused("top", "vmdk", "the VMDK is laid over another image");
}

static void fault_51_a_footer_unlike_the_header_is_refused(void **state) {
        (void) state;
        shell("qemu-img create -q -f vmdk pool/a 1M && "
              "qemu-img convert -f vmdk -O vmdk -o subformat=streamOptimized pool/a pool/b");
        change_bytes("b", 56, "\377\377\377\377\377\377\377\377", 8); // its directory is at the end, it says
        assert_refused("b", "vmdk", "the VMDK footer is unlike the header");
}

static void fault_54_a_file_of_another_format_is_refused(void **state) {
        (void) state;
        shell("qemu-img create -q -f qcow2 pool/a 1M");
        assert_refused("a", "vmdk", "is not a VMDK image of one file");
        shell("qemu-img create -q -f vmdk pool/b 1M");
        assert_refused("b", "qcow2", "is not a qcow2 image");
}

int main(void) {
#define FILES_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                FILES_TEST(a_chain_is_opened_member_by_member),
                FILES_TEST(an_image_of_its_own_is_a_chain_of_one),
                FILES_TEST(fault_53_what_stands_in_no_pool_is_not_read),
                FILES_TEST(fault_53_protocols_in_a_header_lead_nowhere),
                FILES_TEST(fault_53_an_external_data_file_is_refused),
                FILES_TEST(fault_49_a_link_in_the_chain_is_not_followed),
                FILES_TEST(fault_34_a_raw_member_is_raw_whatever_it_holds),
                FILES_TEST(a_member_of_no_stated_format_is_refused),
                FILES_TEST(a_chain_that_bites_its_tail_ends),
                FILES_TEST(a_vmdk_of_one_file_tells_its_size),
                FILES_TEST(fault_51_a_vmdk_that_names_other_files_is_refused),
                FILES_TEST(fault_51_a_vmdk_over_another_is_refused),
                FILES_TEST(fault_51_a_footer_unlike_the_header_is_refused),
                FILES_TEST(fault_54_a_file_of_another_format_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
