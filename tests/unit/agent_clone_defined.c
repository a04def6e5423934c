// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Clones defined beside their source: with numbers of their own, broken off and asked again, and with the snapshots
 * that they can go back to.
 */
#include "agent_clone_scene.h"
#include <dlfcn.h>
#include "scratch.h"

static void a_clone_is_defined_beside_its_source_with_numbers_of_its_own(void **state) {
        struct scene *scene = *state;
        struct ask ask;
        define_template(scene);
        ask_init(scene, &ask, "raw", "<graphics type='vnc' port='5901' autoport='no'/>");
        scene_must(scene, placement_reserve(&scene->custody, &ask.reserve, &scene->err));
        scene_must(scene, copy(scene, "vda", "system"));
        scene_must(scene, copy(scene, "vdb", "data"));
        static const char *const points[] = {"agent.define.all-published", "agent.define.before-define",
                                             "agent.define.defined", "agent.define.done"};
        for (unsigned i = 0; i < ARRAY_SIZE(points); i++) {
                scene_fail_at(scene, points[i]);
                assert_int_equal(define(scene, &ask, 0), -1);
        }
        scene_must(scene, define(scene, &ask, 0));
        assert_true(scene_defined(scene, SOURCE) && scene_defined(scene, SCENE_UUID));
        _cleanup_(domain_free_p) virDomainPtr clone = scene_domain(scene, SCENE_UUID);
        _cleanup_(free_p) char *xml = virDomainGetXMLDesc(clone, VIR_DOMAIN_XML_INACTIVE);
        assert_string_equal(virDomainGetName(clone), "web");
        assert_non_null(strstr(xml, NEW));
        assert_null(strstr(xml, SCENE_MAC));
        assert_null(strstr(xml, "5901"));
        assert_null(strstr(xml, SOURCE));
        assert_null(strstr(xml, "erp.raw"));
        free(ask.xml);
}

static void a_clone_that_is_not_quite_another_vm_is_refused(void **state) {
        struct scene *scene = *state;
        struct ask ask;
        define_template(scene);
        ask_init(scene, &ask, "raw", "");
        scene_must(scene, placement_reserve(&scene->custody, &ask.reserve, &scene->err));
        scene_must(scene, copy(scene, "vda", "system"));
        scene_must(scene, copy(scene, "vdb", "data"));
        ask.identity.n_macs = 0;
        assert_int_equal(define(scene, &ask, 0), -1);
        assert_error(scene->err, ERROR_REFUSED, "the interface " SCENE_MAC " has no address of its own in the clone");
        ask.identity.uuid = SOURCE;
        assert_int_equal(define(scene, &ask, 0), -1);
        assert_error(scene->err, ERROR_REFUSED, "the clone's identity is that of VM " SOURCE ", not of " SCENE_UUID);
        free(ask.xml);
}

// ---- snapshots ----

static ProtobufCBinaryData snapshot(const struct ask *ask, const char *name, const char *parent, const char *state) {
        _cleanup_(free_p) char *after =
                *parent ? memory_format("<parent><name>%s</name></parent>", parent) : memory_string("");
        bool running = strcmp(state, "running") == 0;
        char *xml = memory_format("<domainsnapshot><name>%s</name><state>%s</state>%s<creationTime>1795292606"
                                  "</creationTime><memory snapshot='%s'/><disks><disk name='vda' snapshot='internal'/>"
                                  "<disk name='vdb' snapshot='internal'/></disks>%s</domainsnapshot>",
                                  name, state, after, running ? "internal" : "no", ask->xml);
        return (ProtobufCBinaryData){.data = (uint8_t *) xml, .len = strlen(xml)};
}

// An image that says it holds a snapshot.
static void copy_with_snapshot(struct scene *scene, const char *item) {
        static const uint8_t one[4] = {0, 0, 0, 1};
        _cleanup_(close_p) int fd = -1;
        scene_must(scene, placement_open(&scene->custody, item, &fd, &scene->err));
        scene_must(scene, image_tool_create(fd, 1 << 20, &scene->err));
        assert_int_equal(pwrite(fd, one, sizeof(one), 60), sizeof(one));
}

// Stands before libvirt's own when the program is linked: the test driver would not take another domain type.
static char *snapshots_defined[4];
static unsigned n_snapshots_defined;
virDomainSnapshotPtr virDomainSnapshotCreateXML(virDomainPtr domain, const char *xml, unsigned flags) {
        assert_true(flags & VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE);
        assert_true(n_snapshots_defined < ARRAY_SIZE(snapshots_defined));
        snapshots_defined[n_snapshots_defined++] = memory_string(xml);
        _cleanup_(free_p) char *made =
                memory_format("<domainsnapshot><name>s%u</name></domainsnapshot>", n_snapshots_defined);
        virDomainSnapshotPtr (*make)(virDomainPtr, const char *, unsigned) =
                (virDomainSnapshotPtr(*)(virDomainPtr, const char *, unsigned)) dlsym(RTLD_NEXT, __func__);
        return make(domain, made, 0);
}

static void a_clone_knows_the_snapshots_that_it_can_go_back_to(void **state) {
        struct scene *scene = *state;
        struct ask ask;
        Drover__MoveDefineResult *result = NULL;
        define_template(scene);
        ask_init(scene, &ask, "qcow2", "");
        ProtobufCBinaryData came[] = {snapshot(&ask, "clean", "", "shutoff"),
                                      snapshot(&ask, "live", "clean", "running"),
                                      snapshot(&ask, "later", "live", "shutoff")};
        ask.define.snapshot_xml = came;
        ask.define.n_snapshot_xml = 3;
        scene_must(scene, placement_reserve(&scene->custody, &ask.reserve, &scene->err));
        copy_with_snapshot(scene, "vda");
        copy_with_snapshot(scene, "vdb");
        scene_must(scene, placement_define(&scene->custody, &ask.define, &result, &scene->err));
        assert_int_equal(result->n_warnings, 1);
        assert_string_equal(
                result->warnings[0],
                "the clone does not know the snapshot live: it holds memory of the VM that was cloned, with "
                "that one's addresses");
        proto_free(&result->base);
        assert_int_equal(n_snapshots_defined, 2);
        assert_non_null(strstr(snapshots_defined[0], "<name>clean</name>"));
        assert_null(strstr(snapshots_defined[0], "<parent>"));
        assert_non_null(strstr(snapshots_defined[0], "<uuid>" SCENE_UUID "</uuid>"));
        assert_null(strstr(snapshots_defined[0], SCENE_MAC));
        assert_non_null(strstr(snapshots_defined[1], "<name>later</name>"));
        assert_non_null(strstr(snapshots_defined[1], "<name>clean</name>")); // joined up over the gap
        assert_null(strstr(snapshots_defined[1], "<name>live</name>"));
        for (unsigned i = 0; i < 3; i++)
                free(came[i].data);
        while (n_snapshots_defined > 0)
                free(snapshots_defined[--n_snapshots_defined]);
        free(ask.xml);
}

static void a_clone_laid_over_its_source_has_no_snapshots(void **state) {
        struct scene *scene = *state;
        struct ask ask;
        need_immutable(scene);
        define_template(scene);
        ask_init(scene, &ask, "qcow2", "");
        ProtobufCBinaryData came[] = {snapshot(&ask, "clean", "", "shutoff")};
        ask.define.snapshot_xml = came;
        ask.define.n_snapshot_xml = 1;
        link_clone(scene, &ask);
        scene_must(scene, define(scene, &ask, 1));
        assert_int_equal(n_snapshots_defined, 0);
        scene_must(scene, placement_discard(&scene->custody, &scene->err));
        free(came[0].data);
        free(ask.xml);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CLONE_TEST(a_clone_is_defined_beside_its_source_with_numbers_of_its_own),
                CLONE_TEST(a_clone_that_is_not_quite_another_vm_is_refused),
                CLONE_TEST(a_clone_knows_the_snapshots_that_it_can_go_back_to),
                CLONE_TEST(a_clone_laid_over_its_source_has_no_snapshots),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
