// SPDX-License-Identifier: LGPL-2.1-or-later
/* Agents, operators and joiners at the controller's port: who may speak, for whom, and for how long. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "controller_scene.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static struct fleet_host *host_of(const struct member *member) {
        return fleet_host_by_uuid(scene_fleet(), member->uuid);
}

// ---- hosts come and go

static void a_host_is_welcomed_and_goes_online(void **state) {
        (void) state;
        struct peer peer;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1");
        dial(&peer, TLS_ALPN_AGENT, kvm1.credentials);
        assert_false(host_of(&kvm1)->online);
        say_hello(&peer);
        const Drover__Welcome *welcome = hear_agent(&peer, DROVER__ENVELOPE__BODY_WELCOME)->welcome;
        assert_string_equal(welcome->site, "lyon");
        assert_string_equal(welcome->host, "kvm1");
        assert_int_equal(welcome->version, PROTO_VERSION_MAX);
        assert_int_equal(welcome->ping_seconds, 5);
        assert_int_equal(welcome->dead_seconds, 12);
        assert_true(host_of(&kvm1)->online);
        assert_string_equal(host_of(&kvm1)->address, "127.0.0.1");
        assert_int_equal(host_of(&kvm1)->data_port, 7444);
        hang_up(&peer);
        RUN_UNTIL(!host_of(&kvm1)->online);
        assert_true(host_of(&kvm1)->offline_since > 0);
        member_fini(&kvm1);
}

static void fault_02_a_silent_host_goes_offline(void **state) {
        (void) state;
        struct peer peer;
        scene.limits.ping_seconds = 1;
        scene.limits.dead_seconds = 2;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1");
        go_online(&peer, &kvm1);
        hear_agent(&peer, DROVER__ENVELOPE__BODY_PING); // and does not answer
        RUN_UNTIL(!host_of(&kvm1)->online);
        RUN_UNTIL(peer.closed);
        hang_up(&peer);
        member_fini(&kvm1);
}

static void who_says_nothing_is_not_waited_for(void **state) {
        (void) state;
        struct peer peer;
        scene.limits.hello_ms = 100;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1");
        dial(&peer, TLS_ALPN_AGENT, kvm1.credentials);
        assert_last_words(&peer, ERROR_TIMEOUT, "127.0.0.1: nothing was said in time");
        hang_up(&peer);
        dial(&peer, TLS_ALPN_JOIN, NULL);
        assert_last_words(&peer, ERROR_TIMEOUT, "127.0.0.1: nothing was said in time");
        hang_up(&peer);
        member_fini(&kvm1);
}

static void fault_08_a_newer_connection_of_a_host_fences_the_older_one(void **state) {
        (void) state;
        struct peer first, second;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1");
        go_online(&first, &kvm1);
        go_online(&second, &kvm1);
        assert_last_words(&first, ERROR_CONFLICT, "a newer connection of this host has taken over");
        assert_true(host_of(&kvm1)->online);
        assert_false(second.closed);
        hang_up(&first);
        assert_true(host_of(&kvm1)->online);
        hang_up(&second);
        RUN_UNTIL(!host_of(&kvm1)->online);
        member_fini(&kvm1);
}

static void fault_41_an_agent_of_another_version_is_refused_by_name(void **state) {
        (void) state;
        struct peer peer;
        struct error err = ERROR_INIT;
        uint32_t version;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1");
        dial(&peer, TLS_ALPN_AGENT, kvm1.credentials);
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__Hello hello = DROVER__HELLO__INIT;
        hello.version_min = 7;
        hello.version_max = 9;
        hello.software = (char *) "drover-agent 7.0";
        envelope.body_case = DROVER__ENVELOPE__BODY_HELLO;
        envelope.hello = &hello;
        say(&peer, &envelope.base);
        proto_negotiate(7, 9, &version, &err);
        error_prefix(&err, "drover-agent 7.0");
        assert_non_null(strstr(err.message, "7 to 9"));
        assert_last_words(&peer, ERROR_VERSION, err.message);
        assert_false(host_of(&kvm1)->online);
        hang_up(&peer);
        member_fini(&kvm1);
}

// ---- who may speak which protocol

static void fault_44_a_certificate_of_the_wrong_kind_is_refused(void **state) {
        (void) state;
        struct peer peer;
        char text[256];
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1"), ann = new_user("ann", ROLE_ADMIN, "");
        dial(&peer, TLS_ALPN_AGENT, ann.credentials);
        assert_last_words(&peer, ERROR_DENIED, "drover-agent/1 is for a host; this certificate speaks for user ann");
        hang_up(&peer);
        dial(&peer, TLS_ALPN_DATA, ann.credentials);
        assert_last_words(&peer, ERROR_DENIED, "drover-data/1 is for a host; this certificate speaks for user ann");
        hang_up(&peer);
        dial(&peer, TLS_ALPN_OPERATOR, kvm1.credentials);
        snprintf(text, sizeof(text), "drover-operator/1 is for a user; this certificate speaks for host %s", kvm1.uuid);
        assert_last_words(&peer, ERROR_DENIED, text);
        hang_up(&peer);
        dial(&peer, TLS_ALPN_AGENT, authority_credentials(scene_authority()));
        assert_int_equal(last_words(&peer)->code, ERROR_DENIED);
        hang_up(&peer);
        member_fini(&kvm1);
        member_fini(&ann);
}

static void remove_host(struct peer *operator_peer, const char *name, bool force) {
        REQUEST(host_remove, HOST_REMOVE, host_remove, HostRemove)
        verb.host = (char *) name;
        verb.force = force;
        const Drover__OperatorReply *reply = ask(operator_peer, &request);
        if (reply->failure)
                fail_msg("%s", reply->failure->message);
}

static void fault_44_a_host_that_is_removed_is_cut_at_once_and_stays_out(void **state) {
        (void) state;
        struct peer agent, relay, ann_peer, again;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1"), ann = new_user("ann", ROLE_ADMIN, "");
        log_in(&ann_peer, &ann);
        go_online(&agent, &kvm1);
        dial(&relay, TLS_ALPN_DATA, kvm1.credentials);
        remove_host(&ann_peer, "kvm1", false);
        assert_last_words(&agent, ERROR_DENIED, "host lyon/kvm1 was removed from the fleet by ann");
        assert_last_words(&relay, ERROR_DENIED, "host lyon/kvm1 was removed from the fleet by ann");
        assert_null(host_of(&kvm1));
        dial(&again, TLS_ALPN_AGENT, kvm1.credentials);
        assert_int_equal(last_words(&again)->code, ERROR_DENIED);
        assert_non_null(strstr(last_words(&again)->message, " was revoked at "));
        hang_up(&agent);
        hang_up(&relay);
        hang_up(&again);
        hang_up(&ann_peer);
        member_fini(&kvm1);
        member_fini(&ann);
}

static void a_host_with_vms_is_only_removed_by_force(void **state) {
        (void) state;
        struct peer ann_peer;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1"), ann = new_user("ann", ROLE_ADMIN, "");
        give_vms(&kvm1, (const char *const[]){"erp"}, 1);
        log_in(&ann_peer, &ann);
        REQUEST(host_remove, HOST_REMOVE, host_remove, HostRemove)
        verb.host = (char *) "lyon/kvm1";
        assert_refused(ask(&ann_peer, &request), ERROR_CONFLICT, "lyon/kvm1 has 1 VM, which would run on unseen");
        assert_non_null(host_of(&kvm1));
        remove_host(&ann_peer, "lyon/kvm1", true);
        assert_null(host_of(&kvm1));
        hang_up(&ann_peer);
        member_fini(&kvm1);
        member_fini(&ann);
}

static void fault_44_a_certificate_that_expires_while_connected_ends_the_connection(void **state) {
        (void) state;
        struct peer peer;
        scene.limits.ping_seconds = 1;
        scene.certificate_seconds = 2;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1");
        go_online(&peer, &kvm1);
        const Drover__Failure *failure = last_words(&peer);
        assert_int_equal(failure->code, ERROR_DENIED);
        assert_true(strncmp(failure->message, "the host's certificate expired at ", 34) == 0);
        assert_false(host_of(&kvm1)->online);
        hang_up(&peer);
        dial(&peer, TLS_ALPN_AGENT, kvm1.credentials);
        RUN_UNTIL(peer.closed);
        hang_up(&peer);
        member_fini(&kvm1);
}

static void fault_44_an_operator_whose_certificate_expires_while_connected_is_cut(void **state) {
        (void) state;
        struct peer peer;
        scene.certificate_seconds = 2;
        scene_start();
        struct member bob = new_user("bob", ROLE_VIEWER, "");
        log_in(&peer, &bob);
        const Drover__Failure *failure = last_words(&peer);
        assert_int_equal(failure->code, ERROR_DENIED);
        assert_true(strncmp(failure->message, "the certificate of user bob expired at ", 39) == 0);
        hang_up(&peer);
        member_fini(&bob);
}

static void a_certificate_is_renewed_over_the_connection(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct peer peer;
        EVP_PKEY *key;
        X509 *certificate;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1");
        go_online(&peer, &kvm1);
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__RenewRequest renew = DROVER__RENEW_REQUEST__INIT;
        must(pki_new_key(&key, &err), &err);
        must(pki_new_csr(key, &renew.csr_der.data, &renew.csr_der.len, &err), &err);
        envelope.body_case = DROVER__ENVELOPE__BODY_RENEW;
        envelope.renew = &renew;
        say(&peer, &envelope.base);
        say(&peer, &envelope.base);
        const Drover__RenewReply *reply = hear_agent(&peer, DROVER__ENVELOPE__BODY_RENEWED)->renewed;
        assert_null(reply->failure);
        must(pki_parse_certificate(reply->certificate_pem.data, reply->certificate_pem.len, &certificate, &err), &err);
        assert_true(pki_matches(certificate, key));
        reply = hear_agent(&peer, DROVER__ENVELOPE__BODY_RENEWED)->renewed;
        assert_string_equal(reply->failure->message, "a certificate was issued to this host a moment ago");
        assert_false(peer.closed);
        X509_free(certificate);
        EVP_PKEY_free(key);
        free(renew.csr_der.data);
        hang_up(&peer);
        member_fini(&kvm1);
}

static int64_t renew(struct peer *peer) {
        struct error err = ERROR_INIT;
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__RenewRequest request = DROVER__RENEW_REQUEST__INIT;
        struct identity identity;
        EVP_PKEY *key;
        X509 *certificate;
        must(pki_new_key(&key, &err), &err);
        must(pki_new_csr(key, &request.csr_der.data, &request.csr_der.len, &err), &err);
        envelope.body_case = DROVER__ENVELOPE__BODY_RENEW;
        envelope.renew = &request;
        say(peer, &envelope.base);
        Drover__Envelope *answer;
        do
                answer = (Drover__Envelope *) hear(peer);
        while (answer && answer->body_case == DROVER__ENVELOPE__BODY_PING);
        if (!answer || answer->body_case != DROVER__ENVELOPE__BODY_RENEWED || answer->renewed->failure)
                fail_msg("not renewed");
        const ProtobufCBinaryData *pem = &answer->renewed->certificate_pem;
        must(pki_parse_certificate(pem->data, pem->len, &certificate, &err), &err);
        must(pki_identity(certificate, &identity, &err), &err);
        X509_free(certificate);
        EVP_PKEY_free(key);
        free(request.csr_der.data);
        return identity.not_after;
}

static void a_connection_outlives_the_certificates_that_are_renewed_over_it(void **state) {
        (void) state;
        struct peer peer;
        scene.limits.ping_seconds = 1;
        scene.certificate_seconds = 4;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1");
        int64_t first = tls_credentials_identity(kvm1.credentials)->not_after;
        go_online(&peer, &kvm1);
        RUN_UNTIL(clock_wall(&system_clock) >= first - 2);
        int64_t second = renew(&peer);
        assert_true(second > first);
        RUN_UNTIL(clock_wall(&system_clock) > first);
        int64_t third = renew(&peer); // the certificate that the connection was opened with has ended
        assert_true(third > second);
        assert_false(peer.closed);
        assert_true(host_of(&kvm1)->online);
        hang_up(&peer);
        member_fini(&kvm1);
}

// ---- one host cannot speak for another

struct xml_scene {
        struct member kvm1, kvm2, ann;
        struct peer one, other, operator_peer;
        uint64_t id; // of the request that kvm2 was asked
};

static void ask_xml_of_kvm2(struct xml_scene *xml) {
        scene_start();
        xml->kvm1 = new_host("lyon", "kvm1");
        xml->kvm2 = new_host("lyon", "kvm2");
        xml->ann = new_user("ann", ROLE_VIEWER, "");
        go_online(&xml->one, &xml->kvm1);
        go_online(&xml->other, &xml->kvm2);
        give_vms(&xml->kvm2, (const char *const[]){"erp"}, 1);
        log_in(&xml->operator_peer, &xml->ann);
        REQUEST(vm_xml, VM_XML, vm_xml, VmXml)
        verb.vm = (char *) "erp";
        send_request(&xml->operator_peer, &request);
        const Drover__AgentRequest *asked = hear_agent(&xml->other, DROVER__ENVELOPE__BODY_REQUEST)->request;
        assert_int_equal(asked->verb_case, DROVER__AGENT_REQUEST__VERB_DOMAIN_XML);
        xml->id = asked->id;
}

static void free_xml_scene(struct xml_scene *xml) {
        hang_up(&xml->one);
        hang_up(&xml->other);
        hang_up(&xml->operator_peer);
        member_fini(&xml->kvm1);
        member_fini(&xml->kvm2);
        member_fini(&xml->ann);
}

static void answer_xml(struct peer *peer, uint64_t id, const char *text) {
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__AgentResult result = DROVER__AGENT_RESULT__INIT;
        Drover__DomainXmlResult xml = DROVER__DOMAIN_XML_RESULT__INIT;
        xml.xml = (ProtobufCBinaryData){.data = (uint8_t *) text, .len = strlen(text)};
        result.id = id;
        result.value_case = DROVER__AGENT_RESULT__VALUE_DOMAIN_XML;
        result.domain_xml = &xml;
        envelope.body_case = DROVER__ENVELOPE__BODY_RESULT;
        envelope.result = &result;
        say(peer, &envelope.base);
}

// A ping after it has been answered: then what was said before it has been dealt with.
static void wait_for_pong(struct peer *peer) {
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__Ping ping = DROVER__PING__INIT;
        envelope.body_case = DROVER__ENVELOPE__BODY_PING;
        envelope.ping = &ping;
        say(peer, &envelope.base);
        hear_agent(peer, DROVER__ENVELOPE__BODY_PONG);
}

static void fault_43_an_answer_of_another_host_is_not_believed(void **state) {
        (void) state;
        struct xml_scene xml;
        ask_xml_of_kvm2(&xml);
        answer_xml(&xml.one, xml.id, "<domain>forged</domain>");
        wait_for_pong(&xml.one);
        answer_xml(&xml.other, xml.id, "<domain>true</domain>");
        const Drover__OperatorReply *reply = hear_reply(&xml.operator_peer);
        assert_int_equal(reply->value_case, DROVER__OPERATOR_REPLY__VALUE_XML);
        assert_int_equal(reply->xml->xml.len, strlen("<domain>true</domain>"));
        assert_memory_equal(reply->xml->xml.data, "<domain>true</domain>", reply->xml->xml.len);
        answer_xml(&xml.other, xml.id, "<domain>twice</domain>"); // nobody asks any more
        wait_for_pong(&xml.other);
        assert_int_equal(xml.operator_peer.n, xml.operator_peer.taken);
        free_xml_scene(&xml);
}

static void fault_43_inventory_is_always_of_the_host_that_sends_it(void **state) {
        (void) state;
        struct xml_scene xml;
        ask_xml_of_kvm2(&xml);
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__InventoryPart part = DROVER__INVENTORY_PART__INIT;
        struct fleet_vm *vms[4];
        char uuid[NAME_UUID_LENGTH + 1];
        snprintf(uuid, sizeof(uuid), "%s", host_of(&xml.kvm2)->vms[0]->domain->uuid);
        char *removed = uuid;
        part.generation = 1;
        part.begin = part.end = true;
        envelope.body_case = DROVER__ENVELOPE__BODY_INVENTORY;
        envelope.inventory = &part;
        say(&xml.one, &envelope.base);
        part.begin = part.end = false;
        part.serial = 1;
        part.removed_domains = &removed;
        part.n_removed_domains = 1;
        say(&xml.one, &envelope.base);
        wait_for_pong(&xml.one);
        assert_int_equal(fleet_vms_by_uuid(scene_fleet(), uuid, vms, 4), 1);
        assert_ptr_equal(vms[0]->host, host_of(&xml.kvm2));
        free_xml_scene(&xml);
}

static void an_operator_does_not_wait_for_ever_for_a_host(void **state) {
        (void) state;
        struct xml_scene xml;
        scene.limits.question_ms = 100;
        ask_xml_of_kvm2(&xml);
        assert_refused(hear_reply(&xml.operator_peer), ERROR_UNREACHABLE, "lyon/kvm2 has not answered in time");
        free_xml_scene(&xml);
}

static void an_operator_hears_when_the_host_it_asked_is_lost(void **state) {
        (void) state;
        struct xml_scene xml;
        ask_xml_of_kvm2(&xml);
        hang_up(&xml.other);
        assert_refused(hear_reply(&xml.operator_peer), ERROR_UNREACHABLE, "the connection to the host was lost");
        free_xml_scene(&xml);
}

static void an_answer_to_an_operator_who_has_left_is_dropped(void **state) {
        (void) state;
        struct xml_scene xml;
        ask_xml_of_kvm2(&xml);
        hang_up(&xml.operator_peer);
        wait_for_pong(&xml.one);
        answer_xml(&xml.other, xml.id, "<domain/>");
        wait_for_pong(&xml.other);
        free_xml_scene(&xml);
}

// ---- jobs

static void say_done(struct peer *peer, uint64_t id) {
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__AgentResult result = DROVER__AGENT_RESULT__INIT;
        result.id = id;
        envelope.body_case = DROVER__ENVELOPE__BODY_RESULT;
        envelope.result = &result;
        say(peer, &envelope.base);
}

static void a_job_is_begun_followed_to_its_end_and_recorded(void **state) {
        (void) state;
        struct peer agent, ann_peer;
        char id[33];
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1"), ann = new_user("ann", ROLE_OPERATOR, "");
        go_online(&agent, &kvm1);
        give_vms(&kvm1, (const char *const[]){"erp"}, 1);
        log_in(&ann_peer, &ann);
        {
                REQUEST(vm_power, VM_POWER, vm_power, VmPower)
                verb.vm = (char *) "lyon/kvm1/erp";
                verb.action = DROVER__POWER_ACTION__POWER_STOP;
                const Drover__OperatorReply *reply = ask(&ann_peer, &request);
                assert_int_equal(reply->value_case, DROVER__OPERATOR_REPLY__VALUE_JOBS);
                assert_string_equal(reply->jobs->jobs[0]->kind, "vm.stop");
                assert_string_equal(reply->jobs->jobs[0]->user, "ann");
                snprintf(id, sizeof(id), "%s", reply->jobs->jobs[0]->id);
        }
        const Drover__AgentRequest *asked = hear_agent(&agent, DROVER__ENVELOPE__BODY_REQUEST)->request;
        assert_string_equal(asked->job, id);
        {
                REQUEST(job_follow, JOB_FOLLOW, job_follow, JobFollow)
                char beginning[5];
                snprintf(beginning, sizeof(beginning), "%.4s", id);
                verb.id = beginning;
                const Drover__OperatorReply *reply = ask(&ann_peer, &request);
                assert_string_equal(reply->jobs->jobs[0]->state, "running");
                assert_false(reply->last);
                say_done(&agent, asked->id);
                do
                        reply = hear_reply(&ann_peer);
                while (!reply->last);
                assert_string_equal(reply->jobs->jobs[0]->state, "done");
                reply = ask(&ann_peer, &request); // of a job that has ended
                assert_true(reply->last);
                assert_string_equal(reply->jobs->jobs[0]->state, "done");
        }
        struct error err = ERROR_INIT;
        struct store_audit *rows;
        unsigned n;
        must(store_audits(controller_store(scene.controller), 0, &rows, &n, &err), &err);
        assert_int_equal(n, 1);
        assert_string_equal(rows[0].verb, "vm stop");
        assert_string_equal(rows[0].object, "lyon/kvm1/erp");
        assert_string_equal(rows[0].outcome, "done");
        assert_string_equal(rows[0].job, id);
        store_audit_fini(&rows[0]);
        free(rows);
        hang_up(&agent);
        hang_up(&ann_peer);
        member_fini(&kvm1);
        member_fini(&ann);
}

static void a_request_is_asked_again_on_the_hosts_next_connection(void **state) {
        (void) state;
        struct peer first, second, ann_peer;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1"), ann = new_user("ann", ROLE_OPERATOR, "");
        go_online(&first, &kvm1);
        give_vms(&kvm1, (const char *const[]){"erp"}, 1);
        log_in(&ann_peer, &ann);
        REQUEST(vm_power, VM_POWER, vm_power, VmPower)
        verb.vm = (char *) "erp";
        verb.action = DROVER__POWER_ACTION__POWER_START;
        assert_null(ask(&ann_peer, &request)->failure);
        uint64_t id = hear_agent(&first, DROVER__ENVELOPE__BODY_REQUEST)->request->id;
        go_online(&second, &kvm1); // the first one looks alive still
        const Drover__AgentRequest *again = hear_agent(&second, DROVER__ENVELOPE__BODY_REQUEST)->request;
        assert_true(again->id != id);
        assert_string_equal(again->step, "start");
        say_done(&second, id); // an answer to the old question is none
        wait_for_pong(&second);
        assert_int_equal(runner_count(controller_runner(scene.controller), "running"), 1);
        say_done(&second, again->id);
        wait_for_pong(&second);
        assert_int_equal(runner_count(controller_runner(scene.controller), "running"), 0);
        hang_up(&first);
        hang_up(&second);
        hang_up(&ann_peer);
        member_fini(&kvm1);
        member_fini(&ann);
}

// ---- joining

static char *invite(const char *site, const char *host, uint32_t ttl) {
        struct error err = ERROR_INIT;
        int64_t expires;
        char *token;
        must(authority_invite_host(scene_authority(), site, host, ttl, &token, &expires, &err), &err);
        return token;
}

static void send_join(struct peer *peer, const char *token_text) {
        struct error err = ERROR_INIT;
        Drover__JoinEnvelope envelope = DROVER__JOIN_ENVELOPE__INIT;
        Drover__JoinRequest request = DROVER__JOIN_REQUEST__INIT;
        Drover__JoinToken *token;
        EVP_PKEY *key;
        dial(peer, TLS_ALPN_JOIN, NULL);
        must(token_decode(token_text, &token, &err), &err);
        must(pki_new_key(&key, &err), &err);
        must(pki_new_csr(key, &request.csr_der.data, &request.csr_der.len, &err), &err);
        request.version = PROTO_VERSION_MAX;
        request.token_id = token->token_id;
        request.secret = token->secret;
        request.software = (char *) "test";
        envelope.body_case = DROVER__JOIN_ENVELOPE__BODY_REQUEST;
        envelope.request = &request;
        say(peer, &envelope.base);
        free(request.csr_der.data);
        EVP_PKEY_free(key);
        proto_free(&token->base);
}

static void fault_46_a_token_joins_once_and_not_again(void **state) {
        (void) state;
        struct peer peer;
        scene_start();
        _cleanup_(free_p) char *token = invite("lyon", "kvm1", 0);
        send_join(&peer, token);
        const Drover__JoinEnvelope *envelope = (Drover__JoinEnvelope *) hear(&peer);
        assert_int_equal(envelope->body_case, DROVER__JOIN_ENVELOPE__BODY_REPLY);
        assert_string_equal(envelope->reply->name, "kvm1");
        assert_string_equal(envelope->reply->addresses[0], "127.0.0.1:7443");
        assert_non_null(fleet_host_by_uuid(scene_fleet(), envelope->reply->uuid));
        RUN_UNTIL(peer.closed); // one request, one answer
        hang_up(&peer);
        send_join(&peer, token);
        assert_last_words(&peer, ERROR_DENIED, "this join token has been used already");
        hang_up(&peer);
        size_t n;
        fleet_hosts(scene_fleet(), &n);
        assert_int_equal(n, 1);
}

static void fault_46_a_token_that_comes_late_does_not_join(void **state) {
        (void) state;
        struct peer peer;
        scene_start();
        _cleanup_(free_p) char *token = invite("lyon", "kvm1", 1);
        int64_t end = clock_wall(&system_clock) + 1;
        RUN_UNTIL(clock_wall(&system_clock) > end);
        send_join(&peer, token);
        const Drover__Failure *failure = last_words(&peer);
        assert_int_equal(failure->code, ERROR_DENIED);
        assert_true(strncmp(failure->message, "this join token expired at ", 27) == 0);
        hang_up(&peer);
        size_t n;
        fleet_hosts(scene_fleet(), &n);
        assert_int_equal(n, 0);
}

static void fault_46_a_joiner_that_trusts_another_authority_sends_nothing(void **state) {
        (void) state;
        static const char *const alpns[] = {TLS_ALPN_JOIN, NULL};
        static const uint8_t other[32] = {1};
        const struct tls_policy policy = {.alpns = alpns, .peer = IDENTITY_CONTROLLER, .authority_sha256 = other};
        struct error err = ERROR_INIT;
        struct peer peer = {.envelope = &drover__join_envelope__descriptor};
        scene_start();
        must(link_connect(&scene.loop, scene.address, NULL, &policy, &peer_callbacks, &peer, &peer.link, &err), &err);
        RUN_UNTIL(peer.closed);
        assert_false(peer.open);
        assert_int_equal(peer.why.code, ERROR_TLS);
        hang_up(&peer);
}

static void fault_47_a_host_that_joins_again_inherits_nothing(void **state) {
        (void) state;
        struct peer peer, ann_peer;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1"), ann = new_user("ann", ROLE_ADMIN, "");
        give_vms(&kvm1, (const char *const[]){"erp"}, 1);
        log_in(&ann_peer, &ann);
        remove_host(&ann_peer, "lyon/kvm1", true);
        struct member again = new_host("lyon", "kvm1");
        assert_string_not_equal(again.uuid, kvm1.uuid);
        assert_int_equal(host_of(&again)->n_vms, 0);
        dial(&peer, TLS_ALPN_AGENT, kvm1.credentials); // what it was is not known any more
        assert_int_equal(last_words(&peer)->code, ERROR_DENIED);
        assert_false(host_of(&again)->online);
        hang_up(&peer);
        go_online(&peer, &again);
        hang_up(&peer);
        hang_up(&ann_peer);
        member_fini(&kvm1);
        member_fini(&again);
        member_fini(&ann);
}

static void who_fails_to_join_too_often_has_to_wait(void **state) {
        (void) state;
        struct peer peer;
        scene.limits.failed_joins_per_minute = 3;
        scene_start();
        _cleanup_(free_p) char *token = invite("lyon", "kvm1", 0);
        for (unsigned i = 0; i < 4; i++) { // the first one joins
                send_join(&peer, token);
                RUN_UNTIL(peer.closed);
                hang_up(&peer);
        }
        send_join(&peer, token);
        assert_last_words(&peer, ERROR_BUSY, "3 tries to join from 127.0.0.1 have failed in a minute; wait one");
        hang_up(&peer);
}

// ---- bounds

static int dial_raw(void) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                      .sin_port = htons((uint16_t) controller_port(scene.controller))};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                fail_msg("connect: %m");
        return fd;
}

static bool is_ended(int fd) {
        char byte;
        return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

static void fault_03_handshakes_that_do_not_end_are_bounded_for_each_address(void **state) {
        (void) state;
        int fds[4];
        struct peer peer;
        scene.limits.handshakes_per_address = 3;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1");
        for (unsigned i = 0; i < 4; i++)
                fds[i] = dial_raw();
        RUN_UNTIL(is_ended(fds[3]));
        for (unsigned i = 0; i < 3; i++) {
                assert_false(is_ended(fds[i]));
                close(fds[i]);
        }
        close(fds[3]);
        for (bool done = false; !done;) { // once the controller has noticed
                dial(&peer, TLS_ALPN_AGENT, kvm1.credentials);
                done = peer.open;
                hang_up(&peer);
        }
        member_fini(&kvm1);
}

static void connections_are_bounded(void **state) {
        (void) state;
        struct peer one, other;
        scene.limits.connections = 1;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1"), kvm2 = new_host("lyon", "kvm2");
        go_online(&one, &kvm1);
        dial(&other, TLS_ALPN_AGENT, kvm2.credentials);
        assert_last_words(&other, ERROR_BUSY, "the controller has 1 connections and takes no more");
        hang_up(&one);
        hang_up(&other);
        member_fini(&kvm1);
        member_fini(&kvm2);
}

static void fault_40_a_flood_of_empty_messages_ends_the_connection(void **state) {
        (void) state;
        struct peer peer;
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__AgentResult result = DROVER__AGENT_RESULT__INIT;
        Drover__Pong pong = DROVER__PONG__INIT;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1");
        go_online(&peer, &kvm1);
        envelope.body_case = DROVER__ENVELOPE__BODY_RESULT;
        envelope.result = &result;
        for (unsigned i = 0; i < 5000; i++)
                say(&peer, &envelope.base);
        assert_last_words(&peer, ERROR_PROTOCOL,
                          "more than 100 messages made no sense, the last: the result of something that it was not "
                          "asked for");
        hang_up(&peer);
        go_online(&peer, &kvm1); // and what makes sense costs nothing
        envelope.body_case = DROVER__ENVELOPE__BODY_PONG;
        envelope.pong = &pong;
        for (unsigned i = 0; i < 5000; i++)
                say(&peer, &envelope.base);
        wait_for_pong(&peer);
        hang_up(&peer);
        member_fini(&kvm1);
}

static void who_is_denied_too_often_is_cut(void **state) {
        (void) state;
        struct peer peer;
        scene_start();
        struct member bob = new_user("bob", ROLE_VIEWER, "");
        log_in(&peer, &bob);
        REQUEST(audit_list, AUDIT_LIST, audit_list, AuditList)
        for (unsigned i = 0; i < 200; i++)
                send_request(&peer, &request);
        assert_last_words(&peer, ERROR_DENIED, "more than 50 requests of this connection were denied");
        hang_up(&peer);
        member_fini(&bob);
}

static void fault_40_what_comes_before_hello_ends_the_connection(void **state) {
        (void) state;
        struct peer peer;
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__InventoryPart part = DROVER__INVENTORY_PART__INIT;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1");
        dial(&peer, TLS_ALPN_AGENT, kvm1.credentials);
        envelope.body_case = DROVER__ENVELOPE__BODY_INVENTORY;
        envelope.inventory = &part;
        say(&peer, &envelope.base);
        assert_last_words(&peer, ERROR_PROTOCOL, "the agent sent \"inventory\" before its hello");
        hang_up(&peer);
        member_fini(&kvm1);
}

static uint32_t mutation_state;
static uint32_t mutation(void) {
        mutation_state = mutation_state * 1664525u + 1013904223u;
        return mutation_state >> 8;
}

static void send_mutated(struct peer *peer, const ProtobufCMessage *envelope) {
        struct buffer bytes;
        buffer_init(&bytes, 0);
        proto_pack(envelope, &bytes, NULL);
        for (unsigned i = 0; i < 1 + mutation() % 3; i++)
                bytes.data[mutation() % bytes.length] ^= (uint8_t) (1u << mutation() % 8);
        if (peer->link)
                link_send(peer->link, bytes.data, bytes.length, NULL);
        buffer_fini(&bytes);
}

static void fault_40_mutated_messages_end_their_connection_or_do_nothing(void **state) {
        (void) state;
        struct peer agent, ann_peer;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1"), ann = new_user("ann", ROLE_VIEWER, "");
        Drover__Envelope envelope = DROVER__ENVELOPE__INIT;
        Drover__AgentResult result = DROVER__AGENT_RESULT__INIT;
        Drover__OperatorEnvelope operator_envelope = DROVER__OPERATOR_ENVELOPE__INIT;
        REQUEST(vm_list, VM_LIST, vm_list, VmList)
        result.id = 77;
        result.failure = proto_failure(&(struct error){.code = ERROR_IO, .message = "something went wrong"});
        envelope.body_case = DROVER__ENVELOPE__BODY_RESULT;
        envelope.result = &result;
        verb.site = (char *) "lyon";
        verb.search = (char *) "erp";
        operator_envelope.body_case = DROVER__OPERATOR_ENVELOPE__BODY_REQUEST;
        operator_envelope.request = &request;
        for (mutation_state = 1; mutation_state < 40; mutation_state++) {
                uint32_t seed = mutation_state;
                go_online(&agent, &kvm1);
                log_in(&ann_peer, &ann);
                for (unsigned i = 0; i < 10; i++) {
                        send_mutated(&agent, &envelope.base);
                        send_mutated(&ann_peer, &operator_envelope.base);
                }
                hang_up(&agent);
                hang_up(&ann_peer);
                mutation_state = seed;
        }
        go_online(&agent, &kvm1); // the others do not notice
        hang_up(&agent);
        proto_free(&result.failure->base);
        member_fini(&kvm1);
        member_fini(&ann);
}

static void the_end_of_the_controller_ends_every_connection(void **state) {
        (void) state;
        struct peer agent, ann_peer;
        scene_start();
        struct member kvm1 = new_host("lyon", "kvm1"), ann = new_user("ann", ROLE_VIEWER, "");
        go_online(&agent, &kvm1);
        log_in(&ann_peer, &ann);
        scene_stop();
        RUN_UNTIL(agent.closed && ann_peer.closed);
        hang_up(&agent);
        hang_up(&ann_peer);
        scene_start(); // and what was known is there again
        assert_non_null(host_of(&kvm1));
        assert_false(host_of(&kvm1)->online);
        go_online(&agent, &kvm1);
        hang_up(&agent);
        member_fini(&kvm1);
        member_fini(&ann);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SCENE_TEST(a_host_is_welcomed_and_goes_online),
                SCENE_TEST(fault_02_a_silent_host_goes_offline),
                SCENE_TEST(who_says_nothing_is_not_waited_for),
                SCENE_TEST(fault_08_a_newer_connection_of_a_host_fences_the_older_one),
                SCENE_TEST(fault_41_an_agent_of_another_version_is_refused_by_name),
                SCENE_TEST(fault_44_a_certificate_of_the_wrong_kind_is_refused),
                SCENE_TEST(fault_44_a_host_that_is_removed_is_cut_at_once_and_stays_out),
                SCENE_TEST(a_host_with_vms_is_only_removed_by_force),
                SCENE_TEST(fault_44_a_certificate_that_expires_while_connected_ends_the_connection),
                SCENE_TEST(fault_44_an_operator_whose_certificate_expires_while_connected_is_cut),
                SCENE_TEST(a_certificate_is_renewed_over_the_connection),
                SCENE_TEST(a_connection_outlives_the_certificates_that_are_renewed_over_it),
                SCENE_TEST(fault_43_an_answer_of_another_host_is_not_believed),
                SCENE_TEST(fault_43_inventory_is_always_of_the_host_that_sends_it),
                SCENE_TEST(an_operator_does_not_wait_for_ever_for_a_host),
                SCENE_TEST(an_operator_hears_when_the_host_it_asked_is_lost),
                SCENE_TEST(an_answer_to_an_operator_who_has_left_is_dropped),
                SCENE_TEST(a_job_is_begun_followed_to_its_end_and_recorded),
                SCENE_TEST(a_request_is_asked_again_on_the_hosts_next_connection),
                SCENE_TEST(fault_46_a_token_joins_once_and_not_again),
                SCENE_TEST(fault_46_a_token_that_comes_late_does_not_join),
                SCENE_TEST(fault_46_a_joiner_that_trusts_another_authority_sends_nothing),
                SCENE_TEST(fault_47_a_host_that_joins_again_inherits_nothing),
                SCENE_TEST(who_fails_to_join_too_often_has_to_wait),
                SCENE_TEST(fault_03_handshakes_that_do_not_end_are_bounded_for_each_address),
                SCENE_TEST(connections_are_bounded),
                SCENE_TEST(fault_40_a_flood_of_empty_messages_ends_the_connection),
                SCENE_TEST(who_is_denied_too_often_is_cut),
                SCENE_TEST(fault_40_what_comes_before_hello_ends_the_connection),
                SCENE_TEST(fault_40_mutated_messages_end_their_connection_or_do_nothing),
                SCENE_TEST(the_end_of_the_controller_ends_every_connection),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
