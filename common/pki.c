// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Keys, requests and certificates on OpenSSL 3. No state of its own, safe from any thread as long as the objects
 * passed in are not being changed. The profile follows RFC 5280: the authority may sign leaves and nothing below them.
 */
#include "common/pki.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/tls.h"
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#define PEM_MAX         (64u << 10)
#define CSR_MAX         (16u << 10)
#define COMMON_NAME_MAX 64 // RFC 5280, appendix A.1: ub-common-name
#define DAY             86400

DEFINE_CLEANUP(X509_free, X509 *)
DEFINE_CLEANUP(X509_REQ_free, X509_REQ *)
DEFINE_CLEANUP(X509_EXTENSION_free, X509_EXTENSION *)
DEFINE_CLEANUP(GENERAL_NAMES_free, GENERAL_NAMES *)
DEFINE_CLEANUP(BIO_free_all, BIO *)
DEFINE_CLEANUP(BN_free, BIGNUM *)
DEFINE_CLEANUP(EVP_MD_CTX_free, EVP_MD_CTX *)

int pki_new_key(EVP_PKEY **ret_key, struct error *err) {
        EVP_PKEY *key = EVP_EC_gen("P-256");
        if (!key)
                return tls_error(err, "make a key");
        *ret_key = key;
        return 0;
}

static bool is_p256(EVP_PKEY *key) {
        char group[32] = "";
        return EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 &&
               strcmp(group, "prime256v1") == 0;
}

int pki_write_key(const char *path, EVP_PKEY *key, struct error *err) {
        _cleanup_(BIO_free_all_p) BIO *bio = BIO_new(BIO_s_secmem());
        char *pem = NULL;
        long length;
        if (!bio || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1 ||
            (length = BIO_get_mem_data(bio, &pem)) <= 0)
                return tls_error(err, "encode the key");
        return file_write(path, pem, (size_t) length, 0600, err);
}

// Without this OpenSSL would ask for a pass phrase on the terminal.
static int no_pass_phrase(char *buffer, int size, int writing, void *data) {
        (void) buffer, (void) size, (void) writing, (void) data;
        return -1;
}

int pki_read_key(const char *path, EVP_PKEY **ret_key, struct error *err) {
        struct buffer content;
        buffer_init(&content, PEM_MAX);
        int r = file_read(path, PEM_MAX, &content, err);
        if (r == 0) {
                _cleanup_(BIO_free_all_p) BIO *bio = BIO_new_mem_buf(content.data, (int) content.length);
                EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_pass_phrase, NULL) : NULL;
                if (!key) {
                        tls_error(NULL, "");
                        r = error_set(err, ERROR_INVALID, "%s: holds no private key in PEM without a pass phrase",
                                      path);
                } else if (!is_p256(key)) {
                        EVP_PKEY_free(key);
                        r = error_set(err, ERROR_INVALID, "%s: the key is not of type P-256", path);
                } else {
                        *ret_key = key;
                }
        }
        if (content.data)
                OPENSSL_cleanse(content.data, content.length);
        buffer_fini(&content);
        return r;
}

int pki_new_csr(EVP_PKEY *key, uint8_t **ret_der, size_t *ret_length, struct error *err) {
        _cleanup_(X509_REQ_free_p) X509_REQ *csr = X509_REQ_new();
        if (!csr || X509_REQ_set_version(csr, X509_REQ_VERSION_1) != 1 || X509_REQ_set_pubkey(csr, key) != 1 ||
            X509_REQ_sign(csr, key, EVP_sha256()) <= 0)
                return tls_error(err, "make a certificate request");
        unsigned char *der = NULL;
        int length = i2d_X509_REQ(csr, &der);
        if (length <= 0)
                return tls_error(err, "encode the certificate request");
        uint8_t *copy = memory_new((size_t) length); // OPENSSL_malloc's memory is not the caller's free()'s
        memcpy(copy, der, (size_t) length);
        OPENSSL_free(der);
        *ret_der = copy;
        *ret_length = (size_t) length;
        return 0;
}

static int add_extension(X509 *certificate, X509 *issuer, int nid, const char *value) {
        X509V3_CTX context;
        X509V3_set_ctx_nodb(&context);
        X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
        _cleanup_(X509_EXTENSION_free_p) X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
        return extension && X509_add_ext(certificate, extension, -1) == 1 ? 0 : -1;
}

// Not through X509V3_EXT_conf_nid(): that reads a small language, and the URI would have to be quoted for it.
static int add_uri(X509 *certificate, const char *uri) {
        _cleanup_(GENERAL_NAMES_free_p) GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
        GENERAL_NAME *name = GENERAL_NAME_new();
        ASN1_IA5STRING *text = ASN1_IA5STRING_new();
        if (!names || !name || !text || ASN1_STRING_set(text, uri, -1) != 1 || sk_GENERAL_NAME_push(names, name) <= 0) {
                GENERAL_NAME_free(name);
                ASN1_IA5STRING_free(text);
                return -1;
        }
        GENERAL_NAME_set0_value(name, GEN_URI, text);
        return X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1 ? 0 : -1;
}

// 127 random bits are positive and far beyond collision; RFC 5280 4.1.2.2 allows 20 octets.
static int set_serial(X509 *certificate) {
        _cleanup_(BN_free_p) BIGNUM *number = BN_new();
        return number && BN_rand(number, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
                               BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate))
                       ? 0
                       : -1;
}

static int set_common_name(X509_NAME *name, const char *text) {
        size_t length = strlen(text);
        if (length > COMMON_NAME_MAX) {
                length = COMMON_NAME_MAX;
                while (length > 0 && ((unsigned char) text[length] & 0xc0) == 0x80) // not inside a UTF-8 sequence
                        length--;
        }
        return X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *) text,
                                          (int) length, -1, 0) == 1
                       ? 0
                       : -1;
}

static int set_basics(X509 *certificate, EVP_PKEY *key, const char *common_name, int64_t not_before,
                      int64_t not_after) {
        return X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) == 0 &&
                               ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t) not_before) &&
                               ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t) not_after) &&
                               X509_set_pubkey(certificate, key) == 1 &&
                               set_common_name(X509_get_subject_name(certificate), common_name) == 0
                       ? 0
                       : -1;
}

int pki_new_authority(EVP_PKEY *key, const char *common_name, unsigned days, X509 **ret_certificate,
                      struct error *err) {
        _cleanup_(X509_free_p) X509 *certificate = X509_new();
        int64_t now = clock_wall(&system_clock);
        if (!certificate || set_basics(certificate, key, common_name, now - DAY, now + (int64_t) days * DAY) < 0 ||
            X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) != 1 ||
            add_extension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") < 0 ||
            add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign") < 0 ||
            add_extension(certificate, certificate, NID_subject_key_identifier, "hash") < 0 ||
            X509_sign(certificate, key, EVP_sha256()) <= 0)
                return tls_error(err, "make the authority's certificate");
        *ret_certificate = steal(&certificate);
        return 0;
}

static int check_csr(const uint8_t *der, size_t length, X509_REQ **ret_csr, struct error *err) {
        if (length > CSR_MAX)
                return error_set(err, ERROR_TOO_LARGE, "the certificate request is larger than 16 KiB");
        const unsigned char *at = der;
        _cleanup_(X509_REQ_free_p) X509_REQ *csr = d2i_X509_REQ(NULL, &at, (long) length);
        EVP_PKEY *key = csr ? X509_REQ_get0_pubkey(csr) : NULL;
        if (!key || at != der + length) {
                tls_error(NULL, "");
                return error_set(err, ERROR_INVALID, "the certificate request is malformed");
        }
        if (!is_p256(key))
                return error_set(err, ERROR_INVALID, "the certificate request's key is not of type P-256");
        if (X509_REQ_verify(csr, key) != 1) {
                tls_error(NULL, "");
                return error_set(err, ERROR_DENIED, "the certificate request is not signed with its own key");
        }
        *ret_csr = steal(&csr);
        return 0;
}

int pki_issue(X509 *authority, EVP_PKEY *authority_key, const uint8_t *csr_der, size_t length,
              const struct pki_request *request, X509 **ret_certificate, struct error *err) {
        char uri[128];
        if (identity_format(request->identity, uri, sizeof(uri)) < 0)
                return error_set(err, ERROR_INVALID, "a certificate needs an identity");
        if (request->not_after <= request->not_before)
                return error_set(err, ERROR_INVALID, "a certificate cannot end before it begins");
        _cleanup_(X509_REQ_free_p) X509_REQ *csr = NULL;
        if (check_csr(csr_der, length, &csr, err) < 0)
                return -1;
        const char *common_name =
                request->common_name && *request->common_name ? request->common_name : request->identity->name;
        const char *usage = request->server ? "serverAuth,clientAuth" : "clientAuth";
        _cleanup_(X509_free_p) X509 *certificate = X509_new();
        if (!certificate ||
            set_basics(certificate, X509_REQ_get0_pubkey(csr), common_name, request->not_before, request->not_after) <
                    0 ||
            X509_set_issuer_name(certificate, X509_get_subject_name(authority)) != 1 ||
            add_extension(certificate, authority, NID_basic_constraints, "critical,CA:FALSE") < 0 ||
            add_extension(certificate, authority, NID_key_usage, "critical,digitalSignature") < 0 ||
            add_extension(certificate, authority, NID_ext_key_usage, usage) < 0 ||
            add_extension(certificate, authority, NID_subject_key_identifier, "hash") < 0 ||
            add_extension(certificate, authority, NID_authority_key_identifier, "keyid:always") < 0 ||
            add_uri(certificate, uri) < 0 || X509_sign(certificate, authority_key, EVP_sha256()) <= 0)
                return tls_error(err, "issue a certificate");
        *ret_certificate = steal(&certificate);
        return 0;
}

int pki_certificate_pem(X509 *certificate, struct buffer *pem, struct error *err) {
        _cleanup_(BIO_free_all_p) BIO *bio = BIO_new(BIO_s_mem());
        char *text = NULL;
        long length;
        if (!bio || PEM_write_bio_X509(bio, certificate) != 1 || (length = BIO_get_mem_data(bio, &text)) <= 0)
                return tls_error(err, "encode the certificate");
        return buffer_append(pem, text, (size_t) length, err);
}

int pki_parse_certificate(const uint8_t *pem, size_t length, X509 **ret_certificate, struct error *err) {
        if (length > PEM_MAX)
                return error_set(err, ERROR_TOO_LARGE, "a certificate is larger than 64 KiB");
        _cleanup_(BIO_free_all_p) BIO *bio = BIO_new_mem_buf(pem, (int) length);
        _cleanup_(X509_free_p) X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, no_pass_phrase, NULL) : NULL;
        _cleanup_(X509_free_p) X509 *second = certificate ? PEM_read_bio_X509(bio, NULL, no_pass_phrase, NULL) : NULL;
        tls_error(NULL, "");
        if (!certificate)
                return error_set(err, ERROR_INVALID, "not a certificate in PEM");
        if (second)
                return error_set(err, ERROR_INVALID, "more than one certificate where one is expected");
        *ret_certificate = steal(&certificate);
        return 0;
}

int pki_read_certificate(const char *path, X509 **ret_certificate, struct error *err) {
        struct buffer content;
        buffer_init(&content, PEM_MAX);
        int r = file_read(path, PEM_MAX, &content, err);
        if (r == 0 && pki_parse_certificate(content.data, content.length, ret_certificate, err) < 0)
                r = error_prefix(err, "%s", path);
        buffer_fini(&content);
        return r;
}

int pki_fingerprint(X509 *certificate, uint8_t ret_sha256[32], struct error *err) {
        unsigned length = 0;
        if (X509_digest(certificate, EVP_sha256(), ret_sha256, &length) != 1 || length != 32)
                return tls_error(err, "hash the certificate");
        return 0;
}

// Exactly one URI, no NUL inside: what C reads is what the authority signed.
static int san_uri(X509 *certificate, char *uri, size_t size, struct error *err) {
        int critical = 0;
        _cleanup_(GENERAL_NAMES_free_p) GENERAL_NAMES *names =
                X509_get_ext_d2i(certificate, NID_subject_alt_name, &critical, NULL);
        if (!names && critical != -1) { // -2: the extension is there twice; >= 0: it cannot be decoded
                tls_error(NULL, "");
                return error_set(err, ERROR_TLS, "the certificate's alternative name is malformed");
        }
        const ASN1_STRING *found = NULL;
        int count = 0;
        for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
                int type;
                void *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
                if (type == GEN_URI) {
                        found = value;
                        count++;
                }
        }
        if (count != 1)
                return error_set(err, ERROR_TLS, "the certificate has %d SAN URIs, expected 1", count);
        const char *text = (const char *) ASN1_STRING_get0_data(found);
        size_t length = (size_t) ASN1_STRING_length(found);
        if (length >= size || memchr(text, 0, length))
                return error_set(err, ERROR_TLS, "the certificate's SAN URI is malformed");
        memcpy(uri, text, length);
        uri[length] = 0;
        return 0;
}

static int serial_text(X509 *certificate, char *text, size_t size, struct error *err) {
        _cleanup_(BN_free_p) BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
        char *hex = number ? BN_bn2hex(number) : NULL;
        if (!hex)
                return tls_error(err, "read the certificate's serial number");
        size_t length = strlen(hex);
        bool fits = length < size;
        for (size_t i = 0; fits && i <= length; i++)
                text[i] = hex[i] >= 'A' && hex[i] <= 'F' ? (char) (hex[i] - 'A' + 'a') : hex[i];
        OPENSSL_free(hex);
        return fits ? 0 : error_set(err, ERROR_TLS, "the certificate's serial number is too long");
}

int pki_identity(X509 *certificate, struct identity *ret_identity, struct error *err) {
        char uri[128];
        struct identity identity;
        struct tm end;
        if (san_uri(certificate, uri, sizeof(uri), err) < 0)
                return -1;
        if (identity_parse(uri, &identity, err) < 0)
                return error_prefix(err, "the certificate's SAN URI");
        if (pki_fingerprint(certificate, identity.certificate_sha256, err) < 0 ||
            serial_text(certificate, identity.serial, sizeof(identity.serial), err) < 0)
                return -1;
        if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) != 1)
                return tls_error(err, "read the certificate's end");
        identity.not_after = timegm(&end);
        *ret_identity = identity;
        return 0;
}

bool pki_matches(X509 *certificate, EVP_PKEY *key) {
        bool same = EVP_PKEY_eq(X509_get0_pubkey(certificate), key) == 1;
        tls_error(NULL, "");
        return same;
}

int pki_sign(EVP_PKEY *key, const void *bytes, size_t length, uint8_t *signature, size_t *length_inout,
             struct error *err) {
        _cleanup_(EVP_MD_CTX_free_p) EVP_MD_CTX *context = EVP_MD_CTX_new();
        if (!context || EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) != 1 ||
            EVP_DigestSign(context, signature, length_inout, bytes, length) != 1)
                return tls_error(err, "sign");
        return 0;
}

int pki_verify(EVP_PKEY *key, const void *bytes, size_t length, const uint8_t *signature, size_t signature_length,
               struct error *err) {
        _cleanup_(EVP_MD_CTX_free_p) EVP_MD_CTX *context = EVP_MD_CTX_new();
        if (!context || EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) != 1)
                return tls_error(err, "check a signature");
        if (EVP_DigestVerify(context, signature, signature_length, bytes, length) != 1) {
                tls_error(NULL, "");
                return error_set(err, ERROR_DENIED, "the signature does not match");
        }
        return 0;
}

int pki_sha256(const void *bytes, size_t length, uint8_t ret_digest[32]) {
        return EVP_Digest(bytes, length, ret_digest, NULL, EVP_sha256(), NULL) == 1 ? 0 : -1;
}
