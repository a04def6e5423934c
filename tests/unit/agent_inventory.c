// SPDX-License-Identifier: LGPL-2.1-or-later
/* The inventory over libvirt's test driver: whole pictures, numbered deltas, and what is left unsaid. */
#include "agent/inventory/inventory.h"
#include "agent/inventory/parts.h"
#include "agent/inventory/picture.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/worker.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include "scratch.h"

#define TEST_DOMAIN "6695eb01-f6a4-8304-79aa-97f2502e193f" // of test:///default
#define NEW_DOMAIN  "6c1f8a8e-0f4e-4b3c-9d5e-0a1b2c3d4e5f"
#define BASE_DOMAIN "7c1f8a8e-0f4e-4b3c-9d5e-0a1b2c3d4e5f"
#define PARTS_MAX   64

static struct {
        uv_loop_t loop;
        struct connection *connection;
        struct journal *journal;
        struct inventory *inventory;
        virConnectPtr conn; // the test's own, to the same host
        Drover__InventoryPart *parts[PARTS_MAX];
        unsigned n_parts, n_wholes, n_deltas;
        uint64_t told, awaited; // numbers of readings
        unsigned n_parts_told;  // how many parts had been sent when it was told last
        bool link_gone;
        unsigned n_refused; // parts sent while it was
} scene;

static int on_part(const Drover__InventoryPart *part, void *data) {
        (void) data;
        if (scene.link_gone) {
                scene.n_refused++;
                return -1;
        }
        assert_true(scene.n_parts < PARTS_MAX);
        scene.parts[scene.n_parts++] = (Drover__InventoryPart *) proto_copy(&part->base);
        scene.n_wholes += part->end ? 1 : 0;
        scene.n_deltas += part->serial ? 1 : 0;
        return 0;
}

static void on_told(uint64_t reading, void *data) {
        (void) data;
        assert_true(reading > scene.told); // those that a resync made void are not told
        scene.told = reading;
        scene.n_parts_told = scene.n_parts;
}

static const Drover__InventoryPart *last_part(void) {
        return scene.parts[scene.n_parts - 1];
}

static void on_tick(uv_timer_t *timer) {
        (*(unsigned *) timer->data)++;
}

static void until(bool (*condition)(void)) {
        unsigned ticks = 0;
        uv_timer_t timer;
        uv_timer_init(&scene.loop, &timer);
        timer.data = &ticks;
        uv_timer_start(&timer, on_tick, 1, 1);
        while (!condition() && ticks < 15000)
                uv_run(&scene.loop, UV_RUN_ONCE);
        uv_close((uv_handle_t *) &timer, NULL);
        uv_run(&scene.loop, UV_RUN_NOWAIT);
        if (!condition())
                fail_msg("the condition never came");
}

static unsigned wanted;
static bool has_wholes(void) {
        return scene.n_wholes >= wanted;
}
static bool has_deltas(void) {
        return scene.n_deltas >= wanted;
}
static bool was_refused(void) {
        return scene.n_refused > 0;
}
static bool was_told(void) {
        return scene.told >= scene.awaited;
}
static bool no_worker(void) {
        return worker_pending() == 0;
}

static void until_wholes(unsigned n) {
        wanted = n;
        until(has_wholes);
}

static void until_deltas(unsigned n) {
        wanted = n;
        until(has_deltas);
}

static void open_host(const char *uri) {
        struct error err = ERROR_INIT;
        uv_loop_init(&scene.loop);
        assert_int_equal(journal_open(scratch_path("agent.db"), &scene.journal, &err), 0);
        assert_int_equal(connection_new(uri, &scene.connection, &err), 0);
        assert_int_equal(inventory_new(&scene.loop, scene.connection, scene.journal, on_part, on_told, NULL,
                                       &scene.inventory, &err),
                         0);
}

static int set_up(void **state) {
        memset(&scene, 0, sizeof scene);
        scratch_make(state);
        open_host("test:///default");
        scene.conn = virConnectOpen("test:///default");
        return scene.conn ? 0 : -1;
}

static int set_up_without_libvirt(void **state) {
        memset(&scene, 0, sizeof scene);
        scratch_make(state);
        open_host("qemu+unix:///system?socket=/nonexistent");
        return 0;
}

static int tear_down(void **state) {
        inventory_free(scene.inventory);
        until(no_worker);
        connection_free(scene.connection);
        journal_close(scene.journal);
        if (scene.conn)
                virConnectClose(scene.conn);
        uv_run(&scene.loop, UV_RUN_DEFAULT);
        assert_int_equal(uv_loop_close(&scene.loop), 0);
        unsetenv("DROVER_FAULT_DIR");
        fault_init();
        for (unsigned i = 0; i < scene.n_parts; i++)
                proto_free(&scene.parts[i]->base);
        return scratch_remove(state);
}

static void begin(void) {
        inventory_begin(scene.inventory);
        until_wholes(1);
}

// The next reading stays on its worker until it is let go.
static void hold_reading(void) {
        setenv("DROVER_FAULT_DIR", scratch, 1);
        fault_init();
        scratch_write("agent.inventory.read", "hold");
}

static bool is_being_read(void) {
        return access(scratch_path("agent.inventory.read.held"), F_OK) == 0;
}

static void let_it_read(void) {
        assert_int_equal(unlink(scratch_path("agent.inventory.read")), 0);
}

// A domain on the host, as virsh would define it; given back by undefine().
static virDomainPtr define(const char *name, const char *uuid, size_t description) {
        char *text = new_array(char, description + 1);
        memset(text, 'd', description);
        char *xml = memory_format("<domain type='test'><name>%s</name><uuid>%s</uuid><description>%s</description>"
                                  "<memory>65536</memory><os><type>hvm</type></os></domain>",
                                  name, uuid, text);
        virDomainPtr domain = virDomainDefineXML(scene.conn, xml);
        assert_non_null(domain);
        free(text);
        free(xml);
        return domain;
}

static void undefine(virDomainPtr domain) {
        assert_int_equal(virDomainUndefine(domain), 0);
        virDomainFree(domain);
}

static void retire(bool there) {
        struct error err = ERROR_INIT;
        const struct hold hold = {.job = "job1",
                                  .vm_uuid = NEW_DOMAIN,
                                  .vm_name = "erp",
                                  .item = "vda",
                                  .kind = HOLD_RETIRED,
                                  .directory = "/var/lib/libvirt/images",
                                  .name = "erp.qcow2",
                                  .bytes = 4096,
                                  .at = 1700000000};
        if (there)
                assert_int_equal(journal_hold_put(scene.journal, &hold, &err), 0);
        else
                assert_int_equal(journal_hold_remove(scene.journal, "job1", "vda", &err), 0);
}

// ---- whole pictures

static void a_whole_picture_holds_everything(void **state) {
        (void) state;
        begin();
        assert_int_equal(scene.n_parts, 1);
        const Drover__InventoryPart *part = scene.parts[0];
        assert_true(part->begin && part->end);
        assert_int_equal(part->serial, 0);
        assert_int_not_equal(part->generation, 0);
        assert_true(part->facts && part->facts->libvirt_connected);
        assert_int_equal(part->n_domains, 1);
        assert_string_equal(part->domains[0]->uuid, TEST_DOMAIN);
        assert_int_equal(part->n_pools, 1);
        assert_int_equal(part->n_networks, 1);
        assert_true(part->retired_changed);
}

static void a_large_picture_comes_in_parts_that_fit(void **state) {
        (void) state;
        virDomainPtr domains[6];
        char name[16], uuid[40];
        for (unsigned i = 0; i < 6; i++) {
                snprintf(name, sizeof name, "large%u", i);
                snprintf(uuid, sizeof uuid, "6c1f8a8e-0f4e-4b3c-9d5e-0a1b2c3d4e%02u", i);
                domains[i] = define(name, uuid, 400000);
        }
        begin();
        assert_true(scene.n_parts >= 3);
        size_t n = 0;
        for (unsigned i = 0; i < scene.n_parts; i++) {
                const Drover__InventoryPart *part = scene.parts[i];
                assert_int_equal(part->begin, i == 0);
                assert_int_equal(part->end, i == scene.n_parts - 1);
                assert_int_equal(part->serial, 0);
                assert_int_equal(part->generation, scene.parts[0]->generation);
                assert_true(protobuf_c_message_get_packed_size(&part->base) <= PARTS_BYTES + 64);
                n += part->n_domains;
        }
        assert_int_equal(n, 7);
        for (unsigned i = 0; i < 6; i++)
                undefine(domains[i]);
}

static void beginning_again_gives_a_later_generation(void **state) {
        (void) state;
        begin();
        uint64_t first = last_part()->generation;
        inventory_begin(scene.inventory);
        until_wholes(2);
        assert_true(last_part()->generation > first);
}

static void beginning_again_while_reading_sends_one_picture(void **state) {
        (void) state;
        hold_reading();
        inventory_begin(scene.inventory);
        until(is_being_read);
        inventory_begin(scene.inventory);
        let_it_read();
        until_wholes(1);
        until(no_worker);
        assert_int_equal(scene.n_wholes, 1);
}

static void fault_26_without_libvirt_the_picture_claims_nothing(void **state) {
        (void) state;
        begin();
        const Drover__InventoryPart *part = scene.parts[0];
        assert_true(part->begin && part->end);
        assert_non_null(part->facts);
        assert_false(part->facts->libvirt_connected);
        assert_int_equal(part->n_domains + part->n_pools + part->n_networks, 0);
        retire(true);
        inventory_event(scene.inventory, EVENT_LOST, "");
        until_deltas(1); // what needs no libvirt is told all the same
        assert_int_equal(last_part()->n_retired, 1);
        assert_int_equal(scene.n_wholes, 1);
}

// ---- deltas

static void a_new_domain_is_told(void **state) {
        (void) state;
        begin();
        virDomainPtr domain = define("erp", NEW_DOMAIN, 10);
        inventory_event(scene.inventory, EVENT_DOMAIN_CHANGED, NEW_DOMAIN);
        until_deltas(1);
        const Drover__InventoryPart *part = last_part();
        assert_int_equal(part->serial, 1);
        assert_false(part->begin || part->end);
        assert_int_equal(part->generation, scene.parts[0]->generation);
        assert_int_equal(part->n_domains, 1);
        assert_string_equal(part->domains[0]->name, "erp");
        assert_null(part->facts);
        undefine(domain);
        inventory_event(scene.inventory, EVENT_DOMAIN_REMOVED, NEW_DOMAIN);
        until_deltas(2);
        assert_int_equal(last_part()->serial, 2);
        assert_int_equal(last_part()->n_removed_domains, 1);
        assert_string_equal(last_part()->removed_domains[0], NEW_DOMAIN);
}

// A VM with one disk, the file of that name in the scratch directory.
static virDomainPtr define_with_disk(const char *name, const char *uuid, const char *file, const char *format) {
        char *xml = memory_format("<domain type='test'><name>%s</name><uuid>%s</uuid><memory>8192</memory>"
                                  "<os><type>hvm</type></os><devices><disk type='file' device='disk'>"
                                  "<driver name='qemu' type='%s'/><source file='%s'/>"
                                  "<target dev='vda' bus='virtio'/></disk></devices></domain>",
                                  name, uuid, format, scratch_path(file));
        virDomainPtr domain = virDomainDefineXML(scene.conn, xml);
        assert_non_null(domain);
        free(xml);
        return domain;
}

// The header of a qcow2 of 1 MiB that is laid over the file.
static void write_overlay(const char *file, const char *base) {
        uint8_t header[112 + 256] = "QFI\xfb";
        size_t length = strlen(base);
        header[7] = 3;
        header[15] = 112; // behind the end of the extensions
        header[19] = (uint8_t) length;
        header[23] = 16;
        header[29] = 16;
        header[99] = 4;
        header[103] = 104;
        memcpy(header + 112, base, length);
        assert_int_equal(file_write(scratch_path(file), header, sizeof header, 0600, NULL), 0);
}

static const Drover__Domain *told_of(const char *uuid) {
        for (size_t i = 0; i < last_part()->n_domains; i++)
                if (!strcmp(last_part()->domains[i]->uuid, uuid))
                        return last_part()->domains[i];
        fail_msg("nothing is told of %s", uuid);
        return NULL;
}

// No event tells of the template itself.
static void what_a_linked_clone_does_to_its_base_is_told_with_it(void **state) {
        (void) state;
        assert_int_equal(file_write(scratch_path("base.raw"), "base", 4, 0600, NULL), 0);
        write_overlay("clone.qcow2", scratch_path("base.raw"));
        virDomainPtr template = define_with_disk("template", BASE_DOMAIN, "base.raw", "raw");
        begin();
        virDomainPtr clone = define_with_disk("clone", NEW_DOMAIN, "clone.qcow2", "qcow2");
        inventory_event(scene.inventory, EVENT_DOMAIN_CHANGED, NEW_DOMAIN);
        until_deltas(1);
        assert_int_equal(told_of(NEW_DOMAIN)->disks[0]->n_backing_chain, 1);
        assert_true(told_of(BASE_DOMAIN)->disks[0]->is_backing);
        undefine(clone);
        inventory_event(scene.inventory, EVENT_DOMAIN_REMOVED, NEW_DOMAIN);
        until_deltas(2);
        assert_int_equal(last_part()->n_removed_domains, 1);
        assert_false(told_of(BASE_DOMAIN)->disks[0]->is_backing);
        assert_int_equal(last_part()->n_domains, 1);
        undefine(template);
}

// It is no longer laid over anything once it has been made whole.
static void a_base_that_its_clone_no_longer_needs_is_told(void **state) {
        (void) state;
        assert_int_equal(file_write(scratch_path("base.raw"), "base", 4, 0600, NULL), 0);
        write_overlay("clone.qcow2", scratch_path("base.raw"));
        virDomainPtr template = define_with_disk("template", BASE_DOMAIN, "base.raw", "raw");
        virDomainPtr clone = define_with_disk("clone", NEW_DOMAIN, "clone.qcow2", "qcow2");
        begin();
        write_overlay("clone.qcow2", "");
        inventory_event(scene.inventory, EVENT_DOMAIN_CHANGED, NEW_DOMAIN);
        until_deltas(1);
        assert_int_equal(told_of(NEW_DOMAIN)->disks[0]->n_backing_chain, 0);
        assert_false(told_of(BASE_DOMAIN)->disks[0]->is_backing);
        undefine(clone);
        undefine(template);
}

static void a_burst_of_events_is_one_delta_and_what_is_unchanged_none(void **state) {
        (void) state;
        begin();
        virDomainPtr domain = define("erp", NEW_DOMAIN, 10);
        for (unsigned i = 0; i < 100; i++) {
                inventory_event(scene.inventory, EVENT_DOMAIN_CHANGED, TEST_DOMAIN);
                inventory_event(scene.inventory, EVENT_DOMAIN_CHANGED, NEW_DOMAIN);
        }
        until_deltas(1);
        assert_int_equal(last_part()->n_domains, 1);
        assert_string_equal(last_part()->domains[0]->uuid, NEW_DOMAIN);
        undefine(domain);
        inventory_event(scene.inventory, EVENT_DOMAIN_REMOVED, NEW_DOMAIN);
        until_deltas(2);
        assert_int_equal(last_part()->serial, 2);
}

static void lost_events_are_made_up_for_by_reading_all(void **state) {
        (void) state;
        begin();
        virDomainPtr domain = define("erp", NEW_DOMAIN, 10);
        inventory_event(scene.inventory, EVENT_LOST, "");
        until_deltas(1);
        assert_int_equal(last_part()->n_domains, 1);
        undefine(domain);
        inventory_event(scene.inventory, EVENT_CONNECTED, "");
        until_deltas(2);
        assert_int_equal(last_part()->n_removed_domains, 1);
        assert_int_equal(scene.n_wholes, 1);
}

static void what_moves_leave_is_told_when_it_changes(void **state) {
        (void) state;
        begin();
        retire(true);
        inventory_touch(scene.inventory, "");
        until_deltas(1);
        assert_true(last_part()->retired_changed);
        assert_int_equal(last_part()->n_retired, 1);
        assert_string_equal(last_part()->retired[0]->vm_name, "erp");
        retire(false);
        inventory_touch(scene.inventory, "");
        until_deltas(2);
        assert_true(last_part()->retired_changed);
        assert_int_equal(last_part()->n_retired, 0);
}

// ---- in a hurry

static void until_told(uint64_t reading) {
        assert_true(reading > scene.told);
        scene.awaited = reading;
        until(was_told);
}

static void what_somebody_waits_for_is_told_before_he_hears(void **state) {
        (void) state;
        begin();
        virDomainPtr domain = define("erp", NEW_DOMAIN, 10);
        inventory_touch(scene.inventory, NEW_DOMAIN);
        until_told(inventory_hurry(scene.inventory));
        assert_int_equal(scene.n_parts_told, 2);
        assert_string_equal(last_part()->domains[0]->name, "erp");
        undefine(domain);
}

static void who_waits_hears_even_if_nothing_has_changed(void **state) {
        (void) state;
        begin();
        until_told(inventory_hurry(scene.inventory));
        assert_int_equal(scene.n_parts, 1);
}

static void what_changes_during_a_reading_is_in_the_next(void **state) {
        (void) state;
        begin();
        hold_reading();
        uint64_t first = inventory_hurry(scene.inventory);
        until(is_being_read);
        virDomainPtr domain = define("erp", NEW_DOMAIN, 10);
        inventory_touch(scene.inventory, NEW_DOMAIN);
        uint64_t second = inventory_hurry(scene.inventory);
        assert_int_equal(second, first + 1);
        let_it_read();
        until_told(second);
        assert_int_equal(scene.n_parts_told, 2);
        assert_string_equal(last_part()->domains[0]->name, "erp");
        undefine(domain);
}

static void what_was_waited_for_when_a_resync_came_is_in_the_whole_picture(void **state) {
        (void) state;
        begin();
        virDomainPtr domain = define("erp", NEW_DOMAIN, 10);
        inventory_touch(scene.inventory, NEW_DOMAIN);
        uint64_t reading = inventory_hurry(scene.inventory);
        inventory_begin(scene.inventory);
        until_told(reading);
        assert_int_equal(scene.n_wholes, 2);
        assert_int_equal(last_part()->n_domains, 2);
        undefine(domain);
}

static void without_a_link_nobody_can_be_told(void **state) {
        (void) state;
        assert_int_equal(inventory_hurry(scene.inventory), 0);
}

// ---- the link

static void nothing_is_sent_while_the_link_is_gone(void **state) {
        (void) state;
        begin();
        virDomainPtr domain = define("erp", NEW_DOMAIN, 10);
        inventory_end(scene.inventory);
        inventory_event(scene.inventory, EVENT_DOMAIN_CHANGED, NEW_DOMAIN);
        until(no_worker);
        assert_int_equal(scene.n_parts, 1);
        inventory_begin(scene.inventory);
        until_wholes(2);
        assert_int_equal(last_part()->n_domains, 2);
        undefine(domain);
}

static void a_link_that_breaks_while_sending_ends_it(void **state) {
        (void) state;
        begin();
        virDomainPtr domain = define("erp", NEW_DOMAIN, 10);
        scene.link_gone = true;
        inventory_event(scene.inventory, EVENT_DOMAIN_CHANGED, NEW_DOMAIN);
        until(was_refused);
        scene.link_gone = false;
        inventory_event(scene.inventory, EVENT_DOMAIN_CHANGED, NEW_DOMAIN);
        inventory_begin(scene.inventory);
        until_wholes(2);
        assert_int_equal(scene.n_deltas, 0);
        assert_int_equal(scene.n_refused, 1);
        undefine(domain);
}

static void freeing_while_reading_is_safe(void **state) {
        (void) state;
        inventory_begin(scene.inventory);
        uv_run(&scene.loop, UV_RUN_NOWAIT);
        inventory_free(scene.inventory);
        scene.inventory = NULL;
        until(no_worker);
        assert_int_equal(scene.n_parts, 0);
}

// ---- the picture

static void a_picture_tells_new_changed_and_gone(void **state) {
        (void) state;
        struct picture picture = {0};
        char uuid[NAME_UUID_LENGTH + 1];
        Drover__Network network;
        drover__network__init(&network);
        network.uuid = (char *) NEW_DOMAIN;
        assert_true(picture_note(&picture, PICTURE_NETWORK, NEW_DOMAIN, &network.base));
        assert_false(picture_note(&picture, PICTURE_NETWORK, NEW_DOMAIN, &network.base));
        network.active = true;
        assert_true(picture_note(&picture, PICTURE_NETWORK, NEW_DOMAIN, &network.base));
        assert_true(picture_note(&picture, PICTURE_POOL, NEW_DOMAIN, &network.base)); // kinds do not mix
        picture_unsee(&picture, PICTURE_NETWORK);
        assert_true(picture_take_unseen(&picture, PICTURE_NETWORK, uuid));
        assert_string_equal(uuid, NEW_DOMAIN);
        assert_false(picture_take_unseen(&picture, PICTURE_NETWORK, uuid));
        assert_true(picture_drop(&picture, PICTURE_POOL, NEW_DOMAIN));
        assert_false(picture_drop(&picture, PICTURE_POOL, NEW_DOMAIN));
        picture_fini(&picture);
}

int main(void) {
        struct error err = ERROR_INIT;
        log_init("agent_inventory", LOG_LEVEL_ERROR);
        if (events_init(&err) < 0)
                return 1;
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(a_whole_picture_holds_everything),
                TEST(a_large_picture_comes_in_parts_that_fit),
                TEST(beginning_again_gives_a_later_generation),
                TEST(beginning_again_while_reading_sends_one_picture),
                cmocka_unit_test_setup_teardown(fault_26_without_libvirt_the_picture_claims_nothing,
                                                set_up_without_libvirt, tear_down),
                TEST(a_new_domain_is_told),
                TEST(what_a_linked_clone_does_to_its_base_is_told_with_it),
                TEST(a_base_that_its_clone_no_longer_needs_is_told),
                TEST(a_burst_of_events_is_one_delta_and_what_is_unchanged_none),
                TEST(lost_events_are_made_up_for_by_reading_all),
                TEST(what_moves_leave_is_told_when_it_changes),
                TEST(what_somebody_waits_for_is_told_before_he_hears),
                TEST(who_waits_hears_even_if_nothing_has_changed),
                TEST(what_changes_during_a_reading_is_in_the_next),
                TEST(what_was_waited_for_when_a_resync_came_is_in_the_whole_picture),
                TEST(without_a_link_nobody_can_be_told),
                TEST(nothing_is_sent_while_the_link_is_gone),
                TEST(a_link_that_breaks_while_sending_ends_it),
                TEST(freeing_while_reading_is_safe),
                cmocka_unit_test(a_picture_tells_new_changed_and_gone),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
