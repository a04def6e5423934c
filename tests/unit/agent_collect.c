// SPDX-License-Identifier: LGPL-2.1-or-later
/* Domains, pools and facts read from a host, which is libvirt's test driver with images in a scratch directory. */
#include "agent/host/collect.h"
#include "agent/host/events.h"
#include "agent/host/small_machine.h"
#include "common/cleanup.h"
#include "common/memory.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "scratch.h"

#define ERP_UUID "6c1f8a8e-0f4e-4b3c-9d5e-0a1b2c3d4e5f"
#define WEB_UUID "6c1f8a8e-0f4e-4b3c-9d5e-0a1b2c3d4e60"
#define JOB      "abcd1234"

static struct error err;
static struct connection *connection;
static virConnectPtr conn;

static int set_up(void **state) {
        scratch_make(state);
        error_clear(&err);
        // The default test host lives on between connections of a process; one from a file is new each time.
        scratch_write("host.xml",
                      "<node><domain type='test'><name>idle</name><uuid>6c1f8a8e-0f4e-4b3c-9d5e-0a1b2c3d4e61"
                      "</uuid><memory>8192</memory><os><type>hvm</type></os></domain><pool type='dir'>"
                      "<name>images</name><uuid>6c1f8a8e-0f4e-4b3c-9d5e-0a1b2c3d4e62</uuid>"
                      "<target><path>/nowhere/images</path></target></pool><network><name>office</name>"
                      "<uuid>6c1f8a8e-0f4e-4b3c-9d5e-0a1b2c3d4e63</uuid><bridge name='br9'/><forward/>"
                      "<ip address='192.168.9.1' netmask='255.255.255.0'/></network></node>");
        _cleanup_(free_p) char *uri = memory_format("test://%s", scratch_path("host.xml"));
        assert_int_equal(connection_new(uri, &connection, &err), 0);
        assert_int_equal(connection_get(connection, &conn, &err), 0);
        return 0;
}

static int tear_down(void **state) {
        connection_put(conn);
        connection_free(connection);
        return scratch_remove(state);
}

static void define(const char *name, const char *uuid, const char *target, const char *image, const char *format) {
        _cleanup_(free_p) char *xml = memory_format(
                "<domain type='test'><name>%s</name><uuid>%s</uuid><memory "
                "unit='MiB'>64</memory><os><type>hvm</type></os>"
                "<devices><disk type='file' device='disk'><driver name='qemu' type='%s'/><source file='%s'/>"
                "<target dev='%s' bus='virtio'/></disk></devices></domain>",
                name, uuid, format, image, target);
        _cleanup_(domain_free_p) virDomainPtr domain = virDomainDefineXML(conn, xml);
        assert_non_null(domain);
}

static Drover__Domain *read_one(const char *uuid, struct journal *journal) {
        Drover__Domain *domain = NULL;
        if (collect_domain_by_uuid(conn, uuid, journal, &domain, &err) < 0)
                fail_msg("%s", err.message);
        return domain;
}

static const Drover__Obstacle *obstacle(const Drover__Domain *domain, const char *code) {
        for (size_t i = 0; i < domain->n_obstacles; i++)
                if (strcmp(domain->obstacles[i]->code, code) == 0)
                        return domain->obstacles[i];
        return NULL;
}

static void a_domain_is_read_with_its_image(void **state) {
        (void) state;
        scratch_write("erp.img", "0123456789");
        define("erp", ERP_UUID, "vda", scratch_path("erp.img"), "raw");
        Drover__Domain *domain = read_one(ERP_UUID, NULL);
        assert_string_equal(domain->name, "erp");
        assert_string_equal(domain->state, "shut off");
        assert_true(domain->persistent);
        assert_int_equal(strlen(domain->definition_sha256), 64);
        assert_int_equal(domain->n_disks, 1);
        assert_int_equal(domain->disks[0]->file_bytes, 10);
        assert_int_equal(domain->disks[0]->capacity_bytes, 10);
        assert_true(domain->disks[0]->allocation_bytes <= 4096);
        assert_null(obstacle(domain, "image-missing"));
        assert_false(domain->disks[0]->in_use_elsewhere);
        proto_free(&domain->base);
}

static void a_missing_image_is_an_obstacle(void **state) {
        (void) state;
        define("erp", ERP_UUID, "vda", scratch_path("none.img"), "raw");
        Drover__Domain *domain = read_one(ERP_UUID, NULL);
        _cleanup_(free_p) char *message =
                memory_format("disk vda: open %s: No such file or directory", scratch_path("none.img"));
        assert_string_equal(obstacle(domain, "image-missing")->message, message);
        proto_free(&domain->base);
}

static void an_image_that_is_not_what_is_said_is_an_obstacle(void **state) {
        (void) state;
        scratch_write("erp.img", "0123456789");
        define("erp", ERP_UUID, "vda", scratch_path("erp.img"), "qcow2");
        Drover__Domain *domain = read_one(ERP_UUID, NULL);
        assert_non_null(
                strstr(obstacle(domain, "image")->message, "is not a qcow2 image, although the definition says so"));
        proto_free(&domain->base);
}

static void a_domain_that_is_not_there_is_not_found(void **state) {
        (void) state;
        Drover__Domain *domain = NULL;
        assert_int_equal(collect_domain_by_uuid(conn, ERP_UUID, NULL, &domain, &err), -1);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        assert_null(domain);
}

static void an_image_of_two_domains_is_an_obstacle_for_both(void **state) {
        (void) state;
        scratch_write("shared.img", "x");
        assert_int_equal(symlink("shared.img", scratch_path("other-path.img")), 0);
        define("erp", ERP_UUID, "vda", scratch_path("shared.img"), "raw");
        define("web", WEB_UUID, "vda", scratch_path("other-path.img"), "raw");
        Drover__Domain **domains = NULL;
        size_t n = 0, told = 0;
        assert_int_equal(collect_domains(conn, NULL, &domains, &n, &err), 0);
        assert_int_equal(n, 3);
        for (size_t i = 0; i < n; i++) {
                const Drover__Obstacle *shared = obstacle(domains[i], "shared-disk");
                if (shared) {
                        told++;
                        assert_true(domains[i]->disks[0]->in_use_elsewhere);
                        assert_string_equal(shared->message, strcmp(domains[i]->name, "erp") == 0
                                                                     ? "disk vda: web uses the same image"
                                                                     : "disk vda: erp uses the same image");
                }
                proto_free(&domains[i]->base);
        }
        free(domains);
        assert_int_equal(told, 2);
        // One read alone knows it, too, until the other is gone.
        Drover__Domain *domain = read_one(ERP_UUID, NULL);
        assert_non_null(obstacle(domain, "shared-disk"));
        proto_free(&domain->base);
        _cleanup_(domain_free_p) virDomainPtr web = virDomainLookupByName(conn, "web");
        assert_int_equal(virDomainUndefine(web), 0);
        domain = read_one(ERP_UUID, NULL);
        assert_null(obstacle(domain, "shared-disk"));
        proto_free(&domain->base);
}

static void snapshots_are_listed(void **state) {
        (void) state;
        scratch_write("erp.img", "x");
        define("erp", ERP_UUID, "vda", scratch_path("erp.img"), "raw");
        _cleanup_(domain_free_p) virDomainPtr handle = virDomainLookupByName(conn, "erp");
        virDomainSnapshotPtr snapshot =
                virDomainSnapshotCreateXML(handle, "<domainsnapshot><name>before</name></domainsnapshot>", 0);
        assert_non_null(snapshot);
        virDomainSnapshotFree(snapshot);
        Drover__Domain *domain = read_one(ERP_UUID, NULL);
        assert_int_equal(domain->n_snapshots, 1);
        assert_string_equal(domain->snapshots[0]->name, "before");
        assert_string_equal(domain->snapshots[0]->state, "shut off");
        assert_true(domain->snapshots[0]->current);
        proto_free(&domain->base);
}

static void a_fenced_domain_is_held_and_misses_nothing(void **state) {
        (void) state;
        struct journal *journal = NULL;
        assert_int_equal(journal_open(scratch_path("journal"), &journal, &err), 0);
        struct hold hold = {.job = JOB,
                            .vm_uuid = ERP_UUID,
                            .vm_name = "erp",
                            .item = "vda",
                            .kind = HOLD_FENCED,
                            .directory = "/nowhere",
                            .name = "erp.img",
                            .bytes = 7,
                            .at = 1234};
        assert_int_equal(journal_hold_put(journal, &hold, &err), 0);
        assert_int_equal(journal_grant(journal, ERP_UUID, 5, &err), 0);
        define("erp", ERP_UUID, "vda", "/nowhere/erp.img", "raw");
        Drover__Domain *domain = read_one(ERP_UUID, journal);
        assert_string_equal(domain->held_by_job, JOB);
        assert_int_equal(domain->epoch, 5);
        assert_null(obstacle(domain, "image-missing"));
        proto_free(&domain->base);
        journal_close(journal);
}

static void what_moves_left_behind_is_told_by_job(void **state) {
        (void) state;
        struct journal *journal = NULL;
        assert_int_equal(journal_open(scratch_path("journal"), &journal, &err), 0);
        struct hold hold = {.job = JOB,
                            .vm_uuid = ERP_UUID,
                            .vm_name = "erp",
                            .item = "vda",
                            .kind = HOLD_RETIRED,
                            .directory = "/nowhere",
                            .name = "erp.img",
                            .bytes = 7,
                            .at = 1234};
        assert_int_equal(journal_hold_put(journal, &hold, &err), 0);
        strcpy(hold.item, "vdb");
        assert_int_equal(journal_hold_put(journal, &hold, &err), 0);
        strcpy(hold.job, "zzzz9999");
        assert_int_equal(journal_hold_put(journal, &hold, &err), 0);
        Drover__Retired **retired = NULL;
        size_t n = 0;
        assert_int_equal(collect_retired(journal, &retired, &n, &err), 0);
        assert_int_equal(n, 2);
        assert_string_equal(retired[0]->job, JOB);
        assert_string_equal(retired[0]->vm_name, "erp");
        assert_int_equal(retired[0]->bytes, 14);
        assert_int_equal(retired[0]->n_disks, 2);
        assert_string_equal(retired[0]->disks[1], "vdb");
        assert_int_equal(retired[0]->retired_at, 1234);
        for (size_t i = 0; i < n; i++)
                proto_free(&retired[i]->base);
        free(retired);
        journal_close(journal);
}

static void pools_and_networks_are_read(void **state) {
        (void) state;
        Drover__Pool **pools = NULL;
        Drover__Network **networks = NULL;
        size_t n = 0;
        assert_int_equal(collect_pools(conn, &pools, &n, &err), 0);
        assert_int_equal(n, 1);
        assert_string_equal(pools[0]->name, "images");
        assert_string_equal(pools[0]->type, "dir");
        assert_string_equal(pools[0]->path, "/nowhere/images");
        assert_true(pools[0]->active);
        assert_true(pools[0]->capacity_bytes > 0);
        assert_int_equal(pools[0]->spare_bytes, 256 << 20);
        proto_free(&pools[0]->base);
        free(pools);
        assert_int_equal(collect_networks(conn, &networks, &n, &err), 0);
        assert_int_equal(n, 1);
        assert_string_equal(networks[0]->name, "office");
        assert_string_equal(networks[0]->bridge, "br9");
        assert_string_equal(networks[0]->forward, "nat");
        proto_free(&networks[0]->base);
        free(networks);
}

static void facts_are_told_with_libvirt_and_without(void **state) {
        (void) state;
        Drover__HostFacts *facts = NULL;
        assert_int_equal(collect_facts(connection, &facts, &err), 0);
        assert_true(facts->libvirt_connected);
        assert_true(*facts->libvirt_version);
        assert_true(facts->cpus > 0);
        assert_true(facts->memory_bytes > 1 << 20);
        assert_true(facts->clock_at > 1700000000);
        bool opens = small_machine_check(&err) == 0;
        assert_string_equal(facts->identity_reset->refusal, opens ? "" : err.message);
        assert_int_equal(facts->identity_reset->n_hints, opens ? 0 : err.n_hints);
        proto_free(&facts->base);

        struct connection *away = NULL;
        assert_int_equal(connection_new("qemu+unix:///system?socket=/nonexistent", &away, &err), 0);
        assert_int_equal(collect_facts(away, &facts, &err), 0);
        assert_false(facts->libvirt_connected);
        assert_string_equal(facts->libvirt_version, "");
        assert_true(facts->cpus > 0);
        proto_free(&facts->base);
        connection_free(away);
}

static void states_have_libvirts_words(void **state) {
        (void) state;
        assert_string_equal(collect_state_word(VIR_DOMAIN_RUNNING), "running");
        assert_string_equal(collect_state_word(VIR_DOMAIN_SHUTOFF), "shut off");
        assert_string_equal(collect_state_word(VIR_DOMAIN_PMSUSPENDED), "pmsuspended");
        assert_string_equal(collect_state_word(-1), "unknown");
        assert_string_equal(collect_state_word(99), "unknown");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        if (events_init(NULL) < 0)
                return 1;
        const struct CMUnitTest tests[] = {
                TEST(a_domain_is_read_with_its_image),
                TEST(a_missing_image_is_an_obstacle),
                TEST(an_image_that_is_not_what_is_said_is_an_obstacle),
                TEST(a_domain_that_is_not_there_is_not_found),
                TEST(an_image_of_two_domains_is_an_obstacle_for_both),
                TEST(snapshots_are_listed),
                TEST(a_fenced_domain_is_held_and_misses_nothing),
                TEST(what_moves_left_behind_is_told_by_job),
                TEST(pools_and_networks_are_read),
                TEST(facts_are_told_with_libvirt_and_without),
                TEST(states_have_libvirts_words),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
