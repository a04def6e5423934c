// SPDX-License-Identifier: LGPL-2.1-or-later
/* Keys, requests and certificates: what is issued, what is refused, and what is read back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "certificates.h"
#include "scratch.h"
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <sys/stat.h>
#include <time.h>

static struct authority authority;

static int make_authority(void **state) {
        (void) state;
        authority = authority_new();
        return 0;
}

static int free_authority(void **state) {
        (void) state;
        authority_free(&authority);
        return 0;
}

static EVP_PKEY *key_new(void) {
        struct error err = ERROR_INIT;
        EVP_PKEY *key = NULL;
        must(pki_new_key(&key, &err), &err);
        return key;
}

static int64_t seconds(const ASN1_TIME *at) {
        struct tm parts;
        assert_int_equal(ASN1_TIME_to_tm(at, &parts), 1);
        return timegm(&parts);
}

static void a_key_is_written_for_its_owner_alone_and_read_back(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        EVP_PKEY *key = key_new(), *again = NULL;
        struct stat status;
        must(pki_write_key(scratch_path("agent.key"), key, &err), &err);
        assert_int_equal(stat(scratch_path("agent.key"), &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
        must(pki_read_key(scratch_path("agent.key"), &again, &err), &err);
        assert_int_equal(EVP_PKEY_eq(key, again), 1);
        EVP_PKEY_free(key);
        EVP_PKEY_free(again);
}

static void a_key_of_another_type_or_under_a_pass_phrase_is_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        EVP_PKEY *key = NULL, *rsa = EVP_RSA_gen(2048), *p256 = key_new();
        char text[300];
        FILE *file = fopen(scratch_path("rsa.key"), "w");
        PEM_write_PKCS8PrivateKey(file, rsa, NULL, NULL, 0, NULL, NULL);
        fclose(file);
        file = fopen(scratch_path("locked.key"), "w");
        PEM_write_PKCS8PrivateKey(file, p256, EVP_aes_256_cbc(), "secret", 6, NULL, NULL);
        fclose(file);
        scratch_write("text.key", "hello\n");
        assert_int_equal(pki_read_key(scratch_path("rsa.key"), &key, &err), -1);
        snprintf(text, sizeof(text), "%s: the key is not of type P-256", scratch_path("rsa.key"));
        assert_error(err, ERROR_INVALID, text);
        assert_int_equal(pki_read_key(scratch_path("locked.key"), &key, &err), -1);
        snprintf(text, sizeof(text), "%s: holds no private key in PEM without a pass phrase",
                 scratch_path("locked.key"));
        assert_error(err, ERROR_INVALID, text);
        assert_int_equal(pki_read_key(scratch_path("text.key"), &key, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID);
        assert_int_equal(pki_read_key(scratch_path("missing.key"), &key, &err), -1);
        assert_int_equal(err.code, ERROR_NOT_FOUND);
        assert_null(key);
        EVP_PKEY_free(rsa);
        EVP_PKEY_free(p256);
}

static void the_authority_signs_leaves_and_nothing_below_them(void **state) {
        (void) state;
        X509 *ca = authority.certificate;
        int64_t now = clock_wall(&system_clock);
        assert_int_equal(X509_check_ca(ca), 1);
        assert_int_equal(X509_get_pathlen(ca), 0);
        assert_int_equal(X509_get_key_usage(ca), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
        assert_int_equal(X509_verify(ca, authority.key), 1);
        assert_in_range(seconds(X509_get0_notBefore(ca)), now - 86400 - 60, now - 86400);
        assert_in_range(seconds(X509_get0_notAfter(ca)), now + 3650LL * 86400 - 60, now + 3650LL * 86400);
}

static void what_is_issued_names_its_owner_and_no_more(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct identity identity;
        uint8_t digest[32];
        EVP_PKEY *key = key_new();
        X509 *certificate = certificate_new(&authority, key, IDENTITY_HOST, 1700000000, 4102444800);
        assert_int_equal(X509_verify(certificate, authority.key), 1);
        assert_int_equal(X509_check_issued(authority.certificate, certificate), X509_V_OK);
        assert_int_equal(X509_check_ca(certificate), 0);
        assert_int_equal(X509_get_key_usage(certificate), KU_DIGITAL_SIGNATURE);
        assert_int_equal(X509_get_extended_key_usage(certificate), XKU_SSL_SERVER | XKU_SSL_CLIENT);
        assert_int_equal(seconds(X509_get0_notBefore(certificate)), 1700000000);
        assert_true(pki_matches(certificate, key));
        assert_false(pki_matches(certificate, authority.key));
        must(pki_identity(certificate, &identity, &err), &err);
        must(pki_fingerprint(certificate, digest, &err), &err);
        assert_int_equal(identity.kind, IDENTITY_HOST);
        assert_string_equal(identity.name, UUID_HOST);
        assert_int_equal(identity.not_after, 4102444800);
        assert_memory_equal(identity.certificate_sha256, digest, 32);
        assert_int_equal(strlen(identity.serial), 32);
        assert_int_equal(strspn(identity.serial, "0123456789abcdef"), 32);
        assert_true(identity.serial[0] < '8'); // 127 bits
        X509_free(certificate);
        EVP_PKEY_free(key);
}

static void a_user_is_no_server_and_two_serials_differ(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct identity one, other;
        EVP_PKEY *key = key_new();
        X509 *a = certificate_now(&authority, key, IDENTITY_USER), *b = certificate_now(&authority, key, IDENTITY_USER);
        assert_int_equal(X509_get_extended_key_usage(a), XKU_SSL_CLIENT);
        must(pki_identity(a, &one, &err), &err);
        must(pki_identity(b, &other, &err), &err);
        assert_string_not_equal(one.serial, other.serial);
        X509_free(a);
        X509_free(b);
        EVP_PKEY_free(key);
}

static int issue(const uint8_t *csr, size_t length, const char *common_name, int64_t to, X509 **ret,
                 struct error *err) {
        struct identity identity = identity_of(IDENTITY_HOST);
        struct pki_request request = {
                .identity = &identity, .common_name = common_name, .not_before = 1000, .not_after = to};
        return pki_issue(authority.certificate, authority.key, csr, length, &request, ret, err);
}

static void a_long_name_for_people_is_cut_between_characters(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        EVP_PKEY *key = key_new();
        X509 *certificate = NULL;
        uint8_t *csr;
        size_t length;
        char name[128] = "", cut[200];
        memset(name, 'a', 63);
        strcat(name, "\xc3\xa9more");
        must(pki_new_csr(key, &csr, &length, &err), &err);
        must(issue(csr, length, name, 2000, &certificate, &err), &err);
        X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, cut, sizeof(cut));
        assert_int_equal(strlen(cut), 63);
        X509_free(certificate);
        must(issue(csr, length, NULL, 2000, &certificate, &err), &err);
        X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, cut, sizeof(cut));
        assert_string_equal(cut, UUID_HOST);
        X509_free(certificate);
        free(csr);
        EVP_PKEY_free(key);
}

static void a_request_that_is_not_its_own_keys_is_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        EVP_PKEY *key = key_new(), *rsa = EVP_RSA_gen(2048), *p384 = EVP_EC_gen("P-384");
        X509 *certificate = NULL;
        uint8_t *csr, large[20000] = {0x30};
        size_t length;
        must(pki_new_csr(key, &csr, &length, &err), &err);
        csr[length - 1] ^= 1;
        assert_int_equal(issue(csr, length, "x", 2000, &certificate, &err), -1);
        assert_error(err, ERROR_DENIED, "the certificate request is not signed with its own key");
        csr[length - 1] ^= 1;
        assert_int_equal(issue(csr, length - 1, "x", 2000, &certificate, &err), -1);
        assert_error(err, ERROR_INVALID, "the certificate request is malformed");
        assert_int_equal(issue(csr, 0, "x", 2000, &certificate, &err), -1);
        assert_error(err, ERROR_INVALID, "the certificate request is malformed");
        assert_int_equal(issue(large, sizeof(large), "x", 2000, &certificate, &err), -1);
        assert_error(err, ERROR_TOO_LARGE, "the certificate request is larger than 16 KiB");
        assert_int_equal(issue(csr, length, "x", 1000, &certificate, &err), -1);
        assert_error(err, ERROR_INVALID, "a certificate cannot end before it begins");
        free(csr);
        EVP_PKEY *others[] = {rsa, p384};
        for (int i = 0; i < 2; i++) {
                must(pki_new_csr(others[i], &csr, &length, &err), &err);
                assert_int_equal(issue(csr, length, "x", 2000, &certificate, &err), -1);
                assert_error(err, ERROR_INVALID, "the certificate request's key is not of type P-256");
                free(csr);
        }
        assert_null(certificate);
        EVP_PKEY_free(key);
        EVP_PKEY_free(rsa);
        EVP_PKEY_free(p384);
}

static void an_identity_is_exactly_one_uri(void **state) {
        (void) state;
        static const char *const two[] = {"drover://host/" UUID_HOST, "drover://user/alice"};
        static const char *const foreign[] = {"https://acme.example/"};
        struct error err = ERROR_INIT;
        struct identity identity = {.kind = IDENTITY_NONE};
        EVP_PKEY *key = key_new();
        X509 *certificate = certificate_now(&authority, key, IDENTITY_HOST);
        certificate_rename(certificate, authority.key, two, 2);
        assert_int_equal(pki_identity(certificate, &identity, &err), -1);
        assert_error(err, ERROR_TLS, "the certificate has 2 SAN URIs, expected 1");
        certificate_rename(certificate, authority.key, NULL, 0);
        assert_int_equal(pki_identity(certificate, &identity, &err), -1);
        assert_error(err, ERROR_TLS, "the certificate has 0 SAN URIs, expected 1");
        certificate_rename(certificate, authority.key, foreign, 1);
        assert_int_equal(pki_identity(certificate, &identity, &err), -1);
        assert_error(err, ERROR_INVALID,
                     "the certificate's SAN URI: \"https://acme.example/\" is not an identity: it does not begin with "
                     "drover://");
        assert_int_equal(identity.kind, IDENTITY_NONE);
        X509_free(certificate);
        EVP_PKEY_free(key);
}

static void a_nul_inside_the_uri_is_refused(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct identity identity;
        EVP_PKEY *key = key_new();
        X509 *certificate = certificate_now(&authority, key, IDENTITY_HOST);
        certificate_rename(certificate, authority.key, NULL, 0);
        GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
        GENERAL_NAME *name = GENERAL_NAME_new();
        ASN1_IA5STRING *text = ASN1_IA5STRING_new();
        ASN1_STRING_set(text, "drover://user/alice\0.example", 28);
        GENERAL_NAME_set0_value(name, GEN_URI, text);
        sk_GENERAL_NAME_push(names, name);
        X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT);
        GENERAL_NAMES_free(names);
        assert_int_equal(pki_identity(certificate, &identity, &err), -1);
        assert_error(err, ERROR_TLS, "the certificate's SAN URI is malformed");
        X509_free(certificate);
        EVP_PKEY_free(key);
}

static void a_certificate_is_read_from_pem_and_exactly_one(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        struct buffer pem;
        X509 *certificate = NULL;
        buffer_init(&pem, 0);
        must(pki_certificate_pem(authority.certificate, &pem, &err), &err);
        must(pki_parse_certificate(pem.data, pem.length, &certificate, &err), &err);
        assert_int_equal(X509_cmp(certificate, authority.certificate), 0);
        X509_free(certificate);
        certificate = NULL;
        must(file_write(scratch_path("ca.crt"), pem.data, pem.length, 0644, &err), &err);
        must(pki_read_certificate(scratch_path("ca.crt"), &certificate, &err), &err);
        X509_free(certificate);
        certificate = NULL;
        must(pki_certificate_pem(authority.certificate, &pem, &err), &err);
        assert_int_equal(pki_parse_certificate(pem.data, pem.length, &certificate, &err), -1);
        assert_error(err, ERROR_INVALID, "more than one certificate where one is expected");
        assert_int_equal(pki_parse_certificate((const uint8_t *) "hello", 5, &certificate, &err), -1);
        assert_error(err, ERROR_INVALID, "not a certificate in PEM");
        assert_null(certificate);
        buffer_fini(&pem);
}

static void a_signature_holds_for_its_bytes_and_its_key(void **state) {
        (void) state;
        struct error err = ERROR_INIT;
        EVP_PKEY *key = key_new();
        uint8_t signature[80];
        size_t length = sizeof(signature);
        must(pki_sign(key, "ticket", 6, signature, &length, &err), &err);
        assert_in_range(length, 64, 72);
        must(pki_verify(key, "ticket", 6, signature, length, &err), &err);
        assert_int_equal(pki_verify(key, "tickat", 6, signature, length, &err), -1);
        assert_error(err, ERROR_DENIED, "the signature does not match");
        assert_int_equal(pki_verify(authority.key, "ticket", 6, signature, length, &err), -1);
        assert_error(err, ERROR_DENIED, "the signature does not match");
        assert_int_equal(pki_verify(key, "ticket", 6, signature, length - 1, &err), -1);
        assert_int_equal(pki_verify(key, "ticket", 6, signature, 0, &err), -1);
        EVP_PKEY_free(key);
}

static void the_digest_is_sha256(void **state) {
        (void) state;
        static const uint8_t abc[32] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                        0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                        0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
        uint8_t digest[32];
        assert_int_equal(pki_sha256("abc", 3, digest), 0);
        assert_memory_equal(digest, abc, 32);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                SCRATCH_TEST(a_key_is_written_for_its_owner_alone_and_read_back),
                SCRATCH_TEST(a_key_of_another_type_or_under_a_pass_phrase_is_refused),
                cmocka_unit_test(the_authority_signs_leaves_and_nothing_below_them),
                cmocka_unit_test(what_is_issued_names_its_owner_and_no_more),
                cmocka_unit_test(a_user_is_no_server_and_two_serials_differ),
                cmocka_unit_test(a_long_name_for_people_is_cut_between_characters),
                cmocka_unit_test(a_request_that_is_not_its_own_keys_is_refused),
                cmocka_unit_test(an_identity_is_exactly_one_uri),
                cmocka_unit_test(a_nul_inside_the_uri_is_refused),
                SCRATCH_TEST(a_certificate_is_read_from_pem_and_exactly_one),
                cmocka_unit_test(a_signature_holds_for_its_bytes_and_its_key),
                cmocka_unit_test(the_digest_is_sha256),
        };
        return cmocka_run_group_tests(tests, make_authority, free_authority);
}
