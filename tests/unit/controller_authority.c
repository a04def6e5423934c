// SPDX-License-Identifier: LGPL-2.1-or-later
/* The authority: its making, invitations and joins, who may still speak, renewal, roles, tickets. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "controller.h"
#include "common/cleanup.h"
#include "common/config.h"
#include "common/fault.h"
#include "common/memory.h"
#include "controller/authority/authority.h"
#include "proto/ticket.h"
#include "proto/token.h"
#include <sys/stat.h>
#include <time.h>

#define DAY 86400

static struct store *store;
static struct authority *authority;
static const char *const addresses[] = {"hq.example.org:7443", "[fd00::1]:7443"};

static struct authority_config config_of(const char *name) {
        return (struct authority_config){.directory = scratch_path(name), .clock = &hand_clock};
}

static int set_up(void **state) {
        if (scratch_make(state) < 0)
                return -1;
        hand_now = clock_wall(&system_clock);
        store = open_store("c.db");
        struct authority_config config = config_of("state");
        OK(authority_create(&config, store, "hq", addresses, 2, err));
        OK(authority_open(&config, store, &authority, err));
        return 0;
}

static int tear_down(void **state) {
        authority_free(authority);
        store_close(store);
        return scratch_remove(state);
}

static void open_again(void) {
        struct authority_config config = config_of("state");
        authority_free(authority);
        authority = NULL;
        OK(authority_open(&config, store, &authority, err));
}

// ---- a joiner, as the agent and the command line are ----
struct joiner {
        EVP_PKEY *key;
        uint8_t *csr;
        size_t csr_length;
        Drover__JoinToken *token;
        Drover__JoinRequest request;
};

static struct joiner joiner_with(const char *text) {
        struct joiner joiner;
        OK(pki_new_key(&joiner.key, err));
        OK(pki_new_csr(joiner.key, &joiner.csr, &joiner.csr_length, err));
        OK(token_decode(text, &joiner.token, err));
        drover__join_request__init(&joiner.request);
        joiner.request.version = PROTO_VERSION_MAX;
        joiner.request.token_id = joiner.token->token_id;
        joiner.request.secret = joiner.token->secret;
        joiner.request.csr_der = (ProtobufCBinaryData){joiner.csr_length, joiner.csr};
        return joiner;
}

static void joiner_fini(struct joiner *joiner) {
        EVP_PKEY_free(joiner->key);
        free(joiner->csr);
        proto_free(&joiner->token->base);
}

static struct joiner invited_host(const char *site, const char *host) {
        char *text = NULL;
        int64_t expires_at;
        OK(authority_invite_host(authority, site, host, 0, &text, &expires_at, err));
        struct joiner joiner = joiner_with(text);
        free(text);
        return joiner;
}

static struct joiner invited_user(const char *name, enum role role, const char *sites) {
        char *text = NULL;
        int64_t expires_at;
        OK(authority_invite_user(authority, name, role, sites, 0, &text, &expires_at, err));
        struct joiner joiner = joiner_with(text);
        free(text);
        return joiner;
}

static struct identity identity_in(const Drover__JoinReply *reply) {
        struct identity identity;
        X509 *certificate;
        OK(pki_parse_certificate(reply->certificate_pem.data, reply->certificate_pem.len, &certificate, err));
        OK(pki_identity(certificate, &identity, err));
        X509_free(certificate);
        return identity;
}

static struct identity join(struct joiner *joiner) {
        Drover__JoinReply *reply = NULL;
        OK(authority_join(authority, &joiner->request, &reply, err));
        struct identity identity = identity_in(reply);
        proto_free(&reply->base);
        return identity;
}

static struct identity join_host(const char *site, const char *host) {
        struct joiner joiner = invited_host(site, host);
        struct identity identity = join(&joiner);
        joiner_fini(&joiner);
        return identity;
}

static struct identity join_user(const char *name, enum role role) {
        struct joiner joiner = invited_user(name, role, NULL);
        struct identity identity = join(&joiner);
        joiner_fini(&joiner);
        return identity;
}

static void refused(struct joiner *joiner, enum error_code code, const char *message) {
        Drover__JoinReply *reply = NULL;
        FAILS(authority_join(authority, &joiner->request, &reply, err), code, message);
        assert_null(reply);
}

static int64_t time_of(const ASN1_TIME *at) {
        struct tm tm;
        assert_int_equal(ASN1_TIME_to_tm(at, &tm), 1);
        return timegm(&tm);
}

// ---- making it ----
static void only_known_words_are_roles(void **state) {
        (void) state;
        assert_int_equal(role_parse("viewer"), ROLE_VIEWER);
        assert_int_equal(role_parse("operator"), ROLE_OPERATOR);
        assert_int_equal(role_parse("admin"), ROLE_ADMIN);
        assert_int_equal(role_parse("none"), ROLE_NONE);
        assert_int_equal(role_parse("Admin"), ROLE_NONE);
        assert_int_equal(role_parse(""), ROLE_NONE);
        assert_int_equal(role_parse(NULL), ROLE_NONE);
        assert_string_equal(role_word(ROLE_ADMIN), "admin");
        assert_string_equal(role_word((enum role) 77), "none");
        assert_true(ROLE_VIEWER < ROLE_OPERATOR && ROLE_OPERATOR < ROLE_ADMIN);
}

static void its_files_are_for_its_owner_alone(void **state) {
        (void) state;
        static const char *const files[] = {"state/ca.key", "state/ca.crt", "state/server.key", "state/server.crt"};
        struct stat status;
        assert_int_equal(stat(scratch_path("state"), &status), 0);
        assert_int_equal(status.st_mode & 07777, 0700);
        for (unsigned i = 0; i < ARRAY_SIZE(files); i++) {
                assert_int_equal(stat(scratch_path(files[i]), &status), 0);
                assert_int_equal(status.st_mode & 07777, 0600);
        }
        X509 *ca;
        OK(pki_read_certificate(scratch_path("state/ca.crt"), &ca, err));
        int64_t from = time_of(X509_get0_notBefore(ca)), to = time_of(X509_get0_notAfter(ca));
        assert_in_range(from, hand_now - DAY - 60, hand_now - DAY + 60);
        assert_in_range(to, hand_now + 3650ll * DAY - 60, hand_now + 3650ll * DAY + 60);
        X509_free(ca);
}

static void it_is_made_once(void **state) {
        (void) state;
        struct authority_config config = config_of("state");
        char message[700];
        snprintf(message, sizeof(message), "there is an authority in %s already", config.directory);
        FAILS_WITH_HINT(authority_create(&config, store, "hq", addresses, 2, err), ERROR_CONFLICT, message,
                        "drover-controller run");
}

static void an_init_that_was_cut_short_is_done_again(void **state) {
        (void) state;
        struct authority_config config = config_of("state");
        char message[700];
        assert_int_equal(unlink(scratch_path("state/ca.crt")), 0); // it is written last
        authority_free(authority);
        authority = NULL;
        snprintf(message, sizeof(message), "open the authority: there is no authority in %s", config.directory);
        FAILS_WITH_HINT(authority_open(&config, store, &authority, err), ERROR_NOT_FOUND, message,
                        "drover-controller init");
        OK(authority_create(&config, store, "hq2", addresses, 1, err));
        OK(authority_open(&config, store, &authority, err));
        assert_string_equal(authority_name(authority), "hq2");
}

static void bad_names_and_addresses_are_refused_before_anything_is_made(void **state) {
        (void) state;
        struct authority_config config = config_of("other");
        const char *bad[] = {"hq.example.org"};
        FAILS_WITH_HINT(
                authority_create(&config, store, "hq", bad, 1, err), ERROR_INVALID,
                "the controller's addresses: make a join token: \"hq.example.org\" is not of the form host:port",
                "drover-controller init --address hq.example.org:7443");
        FAILS(authority_create(&config, store, "h q", addresses, 2, err), ERROR_INVALID,
              "the controller's name: host name \"h q\" has a character outside a-z, A-Z, 0-9, . and -");
        assert_false(scratch_has("other"));
}

static void it_is_the_same_after_a_restart(void **state) {
        (void) state;
        char before[65], after[65];
        unsigned n;
        authority_fingerprint(authority, before);
        open_again();
        authority_fingerprint(authority, after);
        assert_string_equal(before, after);
        assert_int_equal(strlen(after), 64);
        assert_string_equal(authority_name(authority), "hq");
        const char *const *list = authority_addresses(authority, &n);
        assert_int_equal(n, 2);
        assert_string_equal(list[0], addresses[0]);
        assert_string_equal(list[1], addresses[1]);
        const struct identity *own = tls_credentials_identity(authority_credentials(authority));
        assert_int_equal(own->kind, IDENTITY_CONTROLLER);
}

static void another_authoritys_key_is_not_taken(void **state) {
        (void) state;
        struct authority_config config = config_of("state");
        struct authority *opened = NULL;
        EVP_PKEY *key;
        char message[1024];
        OK(pki_new_key(&key, err));
        OK(pki_write_key(scratch_path("state/ca.key"), key, err));
        EVP_PKEY_free(key);
        snprintf(message, sizeof(message), "open the authority: %s is not the key of %s", scratch_path("state/ca.key"),
                 scratch_path("state/ca.crt"));
        FAILS(authority_open(&config, store, &opened, err), ERROR_CORRUPT, message);
}

static void the_first_operator_gets_what_the_command_line_reads(void **state) {
        (void) state;
        struct files {
                struct config_list controller;
                char *user;
        } files;
        static const struct config_option options[] = {
                {"controller", CONFIG_LIST, offsetof(struct files, controller), NULL},
                {"user", CONFIG_TEXT, offsetof(struct files, user), NULL},
        };
        struct stat status;
        struct tls_credentials *credentials;
        enum role role;
        char sites[1024];
        OK(authority_first_operator(authority, "root@hq", scratch_path("home/drover"), err));
        assert_int_equal(stat(scratch_path("home/drover"), &status), 0);
        assert_int_equal(status.st_mode & 07777, 0700);
        OK(config_load(scratch_path("home/drover/config.yaml"), options, 2, &files, err));
        assert_int_equal(files.controller.n, 2);
        assert_string_equal(files.controller.items[0], addresses[0]);
        assert_string_equal(files.controller.items[1], addresses[1]);
        assert_string_equal(files.user, "root@hq");
        config_free(options, 2, &files);
        OK(tls_credentials_load(scratch_path("home/drover"), "client", &credentials, err));
        OK(authority_check_peer(authority, tls_credentials_identity(credentials), err));
        tls_credentials_unref(credentials);
        OK(authority_role_of(authority, "root@hq", &role, sites, err));
        assert_int_equal(role, ROLE_ADMIN);
        assert_string_equal(sites, "");
}

// ---- joining ----
static void a_host_joins_and_may_speak(void **state) {
        (void) state;
        struct joiner joiner = invited_host("lyon", "kvm1");
        Drover__JoinReply *reply = NULL;
        struct store_host host;
        uint8_t sha256[32];
        X509 *ca;
        OK(authority_join(authority, &joiner.request, &reply, err));
        assert_string_equal(reply->site, "lyon");
        assert_string_equal(reply->name, "kvm1");
        assert_string_equal(reply->role, "");
        assert_int_equal(reply->clock_at, hand_now);
        assert_int_equal(reply->n_addresses, 2);
        OK(pki_parse_certificate(reply->authority_pem.data, reply->authority_pem.len, &ca, err));
        OK(pki_fingerprint(ca, sha256, err));
        assert_memory_equal(sha256, joiner.token->authority_sha256.data, 32); // what the joiner pins
        X509_free(ca);
        struct identity identity = identity_in(reply);
        assert_int_equal(identity.kind, IDENTITY_HOST);
        assert_string_equal(identity.name, reply->uuid);
        assert_int_equal(identity.not_after, hand_now + 90 * DAY);
        OK(authority_check_peer(authority, &identity, err));
        assert_int_equal(store_host_named(store, "lyon", "kvm1", &host, NULL), 1);
        assert_string_equal(host.uuid, reply->uuid);
        proto_free(&reply->base);
        joiner_fini(&joiner);
}

static void a_user_joins_with_a_role_and_sites(void **state) {
        (void) state;
        struct joiner joiner = invited_user("bob", ROLE_OPERATOR, "lyon nantes");
        Drover__JoinReply *reply = NULL;
        enum role role;
        char sites[1024];
        assert_true(joiner.token->operator_);
        OK(authority_join(authority, &joiner.request, &reply, err));
        assert_string_equal(reply->name, "bob");
        assert_string_equal(reply->role, "operator");
        assert_string_equal(reply->uuid, "");
        struct identity identity = identity_in(reply);
        assert_int_equal(identity.kind, IDENTITY_USER);
        assert_string_equal(identity.name, "bob");
        assert_int_equal(identity.not_after, hand_now + 365 * DAY);
        OK(authority_check_peer(authority, &identity, err));
        OK(authority_role_of(authority, "bob", &role, sites, err));
        assert_int_equal(role, ROLE_OPERATOR);
        assert_string_equal(sites, "lyon nantes");
        FAILS(authority_role_of(authority, "eve", &role, sites, err), ERROR_DENIED, "user eve is not a member");
        proto_free(&reply->base);
        joiner_fini(&joiner);
}

static void fault_46_a_token_is_for_one_use(void **state) {
        (void) state;
        struct joiner joiner = invited_host("lyon", "kvm1");
        Drover__JoinReply *reply = NULL;
        join(&joiner);
        FAILS_WITH_HINT(authority_join(authority, &joiner.request, &reply, err), ERROR_DENIED,
                        "this join token has been used already", "ask for another one: drover host invite lyon/kvm1");
        joiner_fini(&joiner);
}

static void fault_46_a_late_token_is_refused(void **state) {
        (void) state;
        struct joiner joiner = invited_user("bob", ROLE_VIEWER, "");
        Drover__JoinReply *reply = NULL;
        char message[100], when[CLOCK_RFC3339_MAX];
        snprintf(message, sizeof(message), "this join token expired at %s", clock_rfc3339(hand_now + 3600, when));
        hand_now += 3600;
        FAILS_WITH_HINT(authority_join(authority, &joiner.request, &reply, err), ERROR_DENIED, message,
                        "ask for another one: drover user invite bob --role viewer");
        hand_now -= 1;
        join(&joiner);
        joiner_fini(&joiner);
}

static void fault_46_an_unknown_token_and_a_wrong_secret_look_the_same(void **state) {
        (void) state;
        struct joiner joiner = invited_host("lyon", "kvm1");
        uint8_t secret[33] = {0};
        memcpy(secret, joiner.token->secret.data, 32);
        secret[31] ^= 1;
        joiner.request.secret = (ProtobufCBinaryData){32, secret};
        refused(&joiner, ERROR_DENIED, "this join token is not valid");
        secret[31] ^= 1;
        joiner.request.secret.len = 33;
        refused(&joiner, ERROR_DENIED, "this join token is not valid");
        joiner.request.secret.len = 0;
        refused(&joiner, ERROR_DENIED, "this join token is not valid");
        joiner.request.secret.len = 32;
        joiner.request.token_id = (char *) "0000000000000000";
        refused(&joiner, ERROR_DENIED, "this join token is not valid");
        joiner.request.token_id = (char *) "000000000000000000000000000000000000000000000";
        refused(&joiner, ERROR_DENIED, "this join token is not valid");
        joiner.request.token_id = joiner.token->token_id; // and none of this has used it up
        join(&joiner);
        joiner_fini(&joiner);
}

static void fault_46_a_token_given_to_the_wrong_program_says_for_whom_it_is(void **state) {
        (void) state;
        struct joiner host = invited_host("lyon", "kvm1"), user = invited_user("bob", ROLE_VIEWER, "");
        Drover__JoinReply *reply = NULL;
        host.request.kind = DROVER__JOIN_KIND__JOIN_OPERATOR;
        FAILS_WITH_HINT(authority_join(authority, &host.request, &reply, err), ERROR_DENIED,
                        "this token is for the host lyon/kvm1, and not for a user",
                        "drover-agent join TOKEN, on that host");
        user.request.kind = DROVER__JOIN_KIND__JOIN_HOST;
        FAILS_WITH_HINT(authority_join(authority, &user.request, &reply, err), ERROR_DENIED,
                        "this token is for the user bob, and not for a host",
                        "drover login TOKEN, at their own machine");
        host.request.kind = DROVER__JOIN_KIND__JOIN_HOST; // and neither was used up by that
        user.request.kind = DROVER__JOIN_KIND__JOIN_OPERATOR;
        join(&host);
        join(&user);
        joiner_fini(&host);
        joiner_fini(&user);
}

static bool file_holds(const char *name, const void *bytes, size_t length) {
        struct buffer content;
        buffer_init(&content, 0);
        OK(file_read(scratch_path(name), 64u << 20, &content, err));
        bool found = memmem(content.data, content.length, bytes, length) != NULL;
        buffer_fini(&content);
        return found;
}

static void of_a_secret_only_the_hash_is_kept(void **state) {
        (void) state;
        struct joiner joiner = invited_host("lyon", "kvm1");
        uint8_t sha256[32];
        pki_sha256(joiner.token->secret.data, 32, sha256);
        assert_true(file_holds("c.db-wal", sha256, 32));
        assert_false(file_holds("c.db-wal", joiner.token->secret.data, 32));
        assert_false(file_holds("c.db", joiner.token->secret.data, 32));
        joiner_fini(&joiner);
}

static void an_older_version_is_refused_by_name(void **state) {
        (void) state;
        struct joiner joiner = invited_host("lyon", "kvm1");
        joiner.request.version = 99;
        refused(&joiner, ERROR_VERSION,
                "no protocol version in common: the peer speaks 99 to 99, this program speaks 1 to 1");
        joiner_fini(&joiner);
}

static void a_bad_request_leaves_the_token_as_it_is(void **state) {
        (void) state;
        struct joiner joiner = invited_host("lyon", "kvm1");
        joiner.request.csr_der = (ProtobufCBinaryData){3, (uint8_t *) (char *) "abc"};
        refused(&joiner, ERROR_INVALID, "the certificate request is malformed");
        joiner.request.csr_der = (ProtobufCBinaryData){joiner.csr_length, joiner.csr};
        join(&joiner);
        joiner_fini(&joiner);
}

static void a_join_that_fails_midway_leaves_nothing(void **state) {
        (void) state;
        struct joiner joiner = invited_host("lyon", "kvm1");
        struct store_host host;
        struct error why = ERROR_INIT;
        Drover__JoinReply *reply = NULL;
        setenv("DROVER_FAULT_DIR", scratch, 1);
        fault_init();
        scratch_write("controller.join.before-commit", "fail io");
        assert_int_equal(authority_join(authority, &joiner.request, &reply, &why), -1);
        assert_int_equal(why.code, ERROR_IO);
        assert_int_equal(store_host_named(store, "lyon", "kvm1", &host, NULL), 0);
        join(&joiner);
        unsetenv("DROVER_FAULT_DIR");
        fault_init();
        joiner_fini(&joiner);
}

static void a_member_is_not_invited_again(void **state) {
        (void) state;
        struct joiner early = invited_host("lyon", "kvm1");
        char *text = NULL;
        int64_t expires_at;
        join(&early);
        FAILS_WITH_HINT(authority_invite_host(authority, "lyon", "kvm1", 0, &text, &expires_at, err), ERROR_CONFLICT,
                        "lyon/kvm1 has joined already", "drover host rm lyon/kvm1");
        join_user("bob", ROLE_VIEWER);
        FAILS_WITH_HINT(authority_invite_user(authority, "bob", ROLE_ADMIN, "", 0, &text, &expires_at, err),
                        ERROR_CONFLICT, "bob has joined already", "drover user rm bob");
        assert_null(text);
        joiner_fini(&early);
}

// The name can be taken between the invitation and the join: by the first operator's command, for one.
static void a_name_that_was_taken_meanwhile_is_refused(void **state) {
        (void) state;
        struct joiner joiner = invited_host("lyon", "kvm1");
        struct joiner user = invited_user("bob", ROLE_VIEWER, "");
        struct store_host other = {.uuid = UUID_1, .site = "lyon", .name = "kvm1"};
        OK(store_host_add(store, &other, err));
        refused(&joiner, ERROR_CONFLICT, "lyon/kvm1 has joined already");
        OK(authority_first_operator(authority, "bob", scratch_path("home"), err));
        refused(&user, ERROR_CONFLICT, "bob has joined already");
        joiner_fini(&joiner);
        joiner_fini(&user);
}

static void an_invitation_has_bounds(void **state) {
        (void) state;
        char *text = NULL;
        int64_t expires_at = 0;
        char sites[1200];
        FAILS_WITH_HINT(authority_invite_host(authority, "lyon", "kvm1", 7 * DAY + 1, &text, &expires_at, err),
                        ERROR_INVALID, "an invitation lasts 7 days at most", "--ttl 7d");
        OK(authority_invite_host(authority, "lyon", "kvm1", 7 * DAY, &text, &expires_at, err));
        assert_int_equal(expires_at, hand_now + 7 * DAY);
        free(steal(&text));
        OK(authority_invite_host(authority, "lyon", "kvm1", 0, &text, &expires_at, err));
        assert_int_equal(expires_at, hand_now + 3600);
        free(steal(&text));
        FAILS(authority_invite_user(authority, "bob", ROLE_NONE, "", 0, &text, &expires_at, err), ERROR_INVALID,
              "a role is viewer, operator or admin");
        memset(sites, 'a', sizeof(sites));
        sites[sizeof(sites) - 1] = '\0';
        FAILS(authority_invite_user(authority, "bob", ROLE_VIEWER, sites, 0, &text, &expires_at, err), ERROR_TOO_LARGE,
              "the list of sites is longer than 1023 characters");
}

static void fault_48_names_are_refused_where_they_come_in(void **state) {
        (void) state;
        char *text = NULL;
        int64_t expires_at;
        FAILS(authority_invite_host(authority, "..", "kvm1", 0, &text, &expires_at, err), ERROR_INVALID,
              "site name \"..\" begins with \".\"");
        FAILS(authority_invite_host(authority, "lyon", "a/b", 0, &text, &expires_at, err), ERROR_INVALID,
              "host name \"a/b\" has a \"/\"");
        FAILS(authority_invite_user(authority, "-rf", ROLE_VIEWER, "", 0, &text, &expires_at, err), ERROR_INVALID,
              "user name \"-rf\" begins with \"-\"");
        FAILS(authority_invite_user(authority, "bob", ROLE_VIEWER, "lyon a/b", 0, &text, &expires_at, err),
              ERROR_INVALID, "site name \"a/b\" has a \"/\"");
}

// ---- who may still speak ----
static void not_heard(const struct identity *peer, const char *message) {
        FAILS(authority_check_peer(authority, peer, err), ERROR_DENIED, message);
}

static void fault_44_an_expired_certificate_is_refused(void **state) {
        (void) state;
        struct identity host = join_host("lyon", "kvm1");
        char message[200], when[CLOCK_RFC3339_MAX];
        hand_now += 90 * DAY - 1;
        OK(authority_check_peer(authority, &host, err));
        hand_now += 1;
        snprintf(message, sizeof(message), "the certificate of host %s expired at %s", host.name,
                 clock_rfc3339(hand_now, when));
        not_heard(&host, message);
}

static void fault_44_a_revoked_certificate_is_refused(void **state) {
        (void) state;
        struct identity host = join_host("lyon", "kvm1");
        char message[200], when[CLOCK_RFC3339_MAX];
        OK(authority_remove_host(authority, host.name, err));
        snprintf(message, sizeof(message), "the certificate of host %s was revoked at %s", host.name,
                 clock_rfc3339(hand_now, when));
        not_heard(&host, message);
        snprintf(message, sizeof(message), "no host %s", host.name);
        FAILS(authority_remove_host(authority, host.name, err), ERROR_NOT_FOUND, message);
}

static void fault_44_a_removed_user_is_refused(void **state) {
        (void) state;
        struct identity user = join_user("bob", ROLE_VIEWER);
        char message[200], when[CLOCK_RFC3339_MAX];
        OK(authority_remove_user(authority, "bob", err));
        snprintf(message, sizeof(message), "the certificate of user bob was revoked at %s",
                 clock_rfc3339(hand_now, when));
        not_heard(&user, message);
        FAILS(authority_remove_user(authority, "bob", err), ERROR_NOT_FOUND, "no user bob");
}

static void fault_43_a_host_does_not_speak_for_another(void **state) {
        (void) state;
        struct identity one = join_host("lyon", "kvm1"), other = join_host("lyon", "kvm2");
        char message[200];
        memcpy(one.name, other.name, sizeof(one.name));
        snprintf(message, sizeof(message), "the certificate of host %s is not known", one.name);
        not_heard(&one, message);
        one.kind = IDENTITY_USER;
        snprintf(message, sizeof(message), "the certificate of user %s is not known", one.name);
        not_heard(&one, message);
        one.kind = IDENTITY_CONTROLLER;
        not_heard(&one, "a certificate of a host or of a user is needed here");
}

static void fault_44_a_certificate_that_was_never_issued_is_refused(void **state) {
        (void) state;
        struct identity host = join_host("lyon", "kvm1");
        char message[200];
        host.certificate_sha256[0] ^= 1;
        snprintf(message, sizeof(message), "the certificate of host %s is not known", host.name);
        FAILS_WITH_HINT(authority_check_peer(authority, &host, err), ERROR_DENIED, message,
                        "drover host invite SITE/HOST, then drover-agent join TOKEN on the host");
}

static void fault_47_a_host_that_joins_again_inherits_nothing(void **state) {
        (void) state;
        struct identity before = join_host("lyon", "kvm1");
        struct store_owner owner = {.vm_uuid = UUID_1, .epoch = 3}, *owners;
        struct error why = ERROR_INIT;
        unsigned n;
        memcpy(owner.host_uuid, before.name, sizeof(owner.host_uuid));
        OK(store_owner_set(store, &owner, err));
        OK(store_inventory_put(store, before.name, STORE_DOMAIN, UUID_1, "x", 1, err));
        OK(authority_remove_host(authority, before.name, err));
        struct identity after = join_host("lyon", "kvm1");
        assert_string_not_equal(before.name, after.name);
        OK(authority_check_peer(authority, &after, err));
        assert_int_equal(authority_check_peer(authority, &before, &why), -1);
        assert_int_equal(why.code, ERROR_DENIED);
        OK(store_owners(store, &owners, &n, err));
        assert_int_equal(n, 1);
        assert_string_not_equal(owners[0].host_uuid, after.name);
        free(owners);
}

static void the_last_admin_stays(void **state) {
        (void) state;
        join_user("root", ROLE_ADMIN);
        join_user("bob", ROLE_OPERATOR);
        FAILS_WITH_HINT(authority_remove_user(authority, "root", err), ERROR_REFUSED, "root is the last admin",
                        "drover user invite NAME --role admin");
        join_user("eve", ROLE_ADMIN);
        OK(authority_remove_user(authority, "root", err));
        FAILS(authority_remove_user(authority, "eve", err), ERROR_REFUSED, "eve is the last admin");
        OK(authority_remove_user(authority, "bob", err));
}

// ---- renewal ----
static struct identity renew(const struct identity *peer) {
        struct buffer pem, ca;
        struct identity identity;
        uint8_t *csr;
        size_t length;
        EVP_PKEY *key;
        X509 *certificate;
        buffer_init(&pem, 0);
        buffer_init(&ca, 0);
        OK(pki_new_key(&key, err));
        OK(pki_new_csr(key, &csr, &length, err));
        OK(authority_renew(authority, peer, csr, length, &pem, &ca, err));
        OK(pki_parse_certificate(pem.data, pem.length, &certificate, err));
        OK(pki_identity(certificate, &identity, err));
        assert_true(ca.length > 0);
        X509_free(certificate);
        EVP_PKEY_free(key);
        free(csr);
        buffer_fini(&pem);
        buffer_fini(&ca);
        return identity;
}

static void a_renewed_certificate_and_the_old_one_overlap(void **state) {
        (void) state;
        struct identity before = join_host("lyon", "kvm1");
        hand_now += 60 * DAY;
        struct identity after = renew(&before);
        assert_string_equal(after.name, before.name);
        assert_int_equal(after.not_after, hand_now + 90 * DAY);
        OK(authority_check_peer(authority, &before, err));
        OK(authority_check_peer(authority, &after, err));
}

static void renewing_for_ever_fills_nothing(void **state) {
        (void) state;
        struct identity in_use = join_host("lyon", "kvm1"), first = renew(&in_use), last = first;
        struct error why = ERROR_INIT;
        for (unsigned i = 0; i < 12; i++)
                last = renew(&in_use);
        OK(authority_check_peer(authority, &in_use, err));
        OK(authority_check_peer(authority, &last, err));
        assert_int_equal(authority_check_peer(authority, &first, &why), -1);
}

static void who_was_removed_does_not_renew(void **state) {
        (void) state;
        struct identity host = join_host("lyon", "kvm1");
        struct buffer pem;
        char message[200], when[CLOCK_RFC3339_MAX];
        OK(authority_remove_host(authority, host.name, err));
        buffer_init(&pem, 0);
        snprintf(message, sizeof(message), "renew a certificate: the certificate of host %s was revoked at %s",
                 host.name, clock_rfc3339(hand_now, when));
        FAILS(authority_renew(authority, &host, NULL, 0, &pem, &pem, err), ERROR_DENIED, message);
}

static void the_controller_renews_its_own_and_keeps_its_key(void **state) {
        (void) state;
        bool renewed = true;
        struct identity before = *tls_credentials_identity(authority_credentials(authority));
        OK(authority_renew_own(authority, &renewed, err));
        assert_false(renewed);
        hand_now += 60 * DAY - 1;
        OK(authority_renew_own(authority, &renewed, err));
        assert_false(renewed);
        hand_now += 1;
        OK(authority_renew_own(authority, &renewed, err));
        assert_true(renewed);
        struct identity after = *tls_credentials_identity(authority_credentials(authority));
        assert_memory_not_equal(before.certificate_sha256, after.certificate_sha256, 32);
        assert_int_equal(after.not_after, hand_now + 90 * DAY);
        assert_int_equal(
                EVP_PKEY_eq(tls_credentials_key(authority_credentials(authority)), authority_ticket_key(authority)), 1);
        open_again();
        assert_memory_equal(tls_credentials_identity(authority_credentials(authority))->certificate_sha256,
                            after.certificate_sha256, 32);
}

static void a_controller_that_slept_through_renewal_renews_at_its_start(void **state) {
        (void) state;
        hand_now += 200 * DAY;
        open_again();
        assert_int_equal(tls_credentials_identity(authority_credentials(authority))->not_after, hand_now + 90 * DAY);
}

static void fault_25_an_older_database_makes_the_controller_issue_its_own_anew(void **state) {
        (void) state;
        struct authority_config config = config_of("state");
        char uuid[] = UUID_1;
        authority_free(authority);
        authority = NULL;
        store_close(store);
        store = open_store("older.db");
        OK(store_meta_set(store, "controller_uuid", uuid, err));
        OK(store_meta_set(store, "name", "hq", err));
        OK(store_meta_set(store, "addresses", "hq:7443\n", err));
        OK(authority_open(&config, store, &authority, err));
        const struct identity *own = tls_credentials_identity(authority_credentials(authority));
        assert_string_equal(own->name, uuid);
        assert_int_equal(store_certificate_valid(store, own->certificate_sha256, NULL), 1);
}

static void a_certificate_does_not_outlive_the_authority(void **state) {
        (void) state;
        hand_now += 3640ll * DAY;
        open_again();
        struct identity host = join_host("lyon", "kvm1");
        assert_in_range(host.not_after, hand_now + 9 * DAY, hand_now + 11 * DAY);
        hand_now += 20 * DAY;
        struct joiner joiner = invited_host("lyon", "kvm2");
        refused(&joiner, ERROR_FAILED, "the authority's own certificate has expired");
        joiner_fini(&joiner);
}

// ---- tickets ----
static Drover__Ticket *ticket_between(const char *source, const char *sink) {
        Drover__Ticket *ticket = new (Drover__Ticket);
        drover__ticket__init(ticket);
        ticket->job = memory_string("k3f7");
        ticket->disk = memory_string("vda");
        ticket->attempt = 1;
        ticket->source_host = memory_string(source);
        ticket->sink_host = memory_string(sink);
        ticket->path = DROVER__TRANSFER_PATH__PATH_DIRECT;
        return ticket;
}

static void a_ticket_binds_both_newest_certificates(void **state) {
        (void) state;
        struct identity one = join_host("lyon", "kvm1"), two = join_host("nantes", "kvm1"), newer = renew(&two);
        Drover__Ticket *ticket = ticket_between(one.name, two.name), *opened = NULL;
        struct buffer bytes;
        buffer_init(&bytes, 0);
        OK(authority_ticket(authority, ticket, &bytes, err));
        OK(ticket_open(bytes.data, bytes.length, authority_ticket_key(authority), hand_now, &opened, err));
        assert_memory_equal(opened->source_certificate_sha256.data, one.certificate_sha256, 32);
        assert_memory_equal(opened->sink_certificate_sha256.data, newer.certificate_sha256, 32);
        assert_int_equal(opened->expires_at, hand_now + 600);
        assert_int_equal(opened->nonce.len, TICKET_NONCE);
        // Asked again, the same message gives a ticket of its own.
        buffer_clear(&bytes);
        OK(authority_ticket(authority, ticket, &bytes, err));
        assert_memory_not_equal(ticket->nonce.data, opened->nonce.data, TICKET_NONCE);
        proto_free(&opened->base);
        proto_free(&ticket->base);
        buffer_fini(&bytes);
}

static void fault_45_there_is_no_ticket_for_a_removed_host(void **state) {
        (void) state;
        struct identity one = join_host("lyon", "kvm1"), two = join_host("nantes", "kvm1");
        Drover__Ticket *ticket = ticket_between(one.name, two.name);
        struct buffer bytes;
        char message[200];
        OK(authority_remove_host(authority, two.name, err));
        buffer_init(&bytes, 0);
        snprintf(message, sizeof(message), "make a ticket: host %s has no certificate", two.name);
        FAILS(authority_ticket(authority, ticket, &bytes, err), ERROR_DENIED, message);
        assert_int_equal(bytes.length, 0);
        proto_free(&ticket->base);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(only_known_words_are_roles),
                TEST(its_files_are_for_its_owner_alone),
                TEST(it_is_made_once),
                TEST(an_init_that_was_cut_short_is_done_again),
                TEST(bad_names_and_addresses_are_refused_before_anything_is_made),
                TEST(it_is_the_same_after_a_restart),
                TEST(another_authoritys_key_is_not_taken),
                TEST(the_first_operator_gets_what_the_command_line_reads),
                TEST(a_host_joins_and_may_speak),
                TEST(a_user_joins_with_a_role_and_sites),
                TEST(fault_46_a_token_is_for_one_use),
                TEST(fault_46_a_late_token_is_refused),
                TEST(fault_46_an_unknown_token_and_a_wrong_secret_look_the_same),
                TEST(fault_46_a_token_given_to_the_wrong_program_says_for_whom_it_is),
                TEST(of_a_secret_only_the_hash_is_kept),
                TEST(an_older_version_is_refused_by_name),
                TEST(a_bad_request_leaves_the_token_as_it_is),
                TEST(a_join_that_fails_midway_leaves_nothing),
                TEST(a_member_is_not_invited_again),
                TEST(a_name_that_was_taken_meanwhile_is_refused),
                TEST(an_invitation_has_bounds),
                TEST(fault_48_names_are_refused_where_they_come_in),
                TEST(fault_44_an_expired_certificate_is_refused),
                TEST(fault_44_a_revoked_certificate_is_refused),
                TEST(fault_44_a_removed_user_is_refused),
                TEST(fault_43_a_host_does_not_speak_for_another),
                TEST(fault_44_a_certificate_that_was_never_issued_is_refused),
                TEST(fault_47_a_host_that_joins_again_inherits_nothing),
                TEST(the_last_admin_stays),
                TEST(a_renewed_certificate_and_the_old_one_overlap),
                TEST(renewing_for_ever_fills_nothing),
                TEST(who_was_removed_does_not_renew),
                TEST(the_controller_renews_its_own_and_keeps_its_key),
                TEST(a_controller_that_slept_through_renewal_renews_at_its_start),
                TEST(fault_25_an_older_database_makes_the_controller_issue_its_own_anew),
                TEST(a_certificate_does_not_outlive_the_authority),
                TEST(a_ticket_binds_both_newest_certificates),
                TEST(fault_45_there_is_no_ticket_for_a_removed_host),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
