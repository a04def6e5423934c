// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Certificates that were issued, by the SHA-256 of their DER; one that is not here is not ours. `number` counts them,
 * because two can be issued within the same second and the newest must still be told apart. Loop thread.
 */
#include "controller/store/store_private.h"
#include <string.h>

int store_certificate_add(struct store *store, const struct store_certificate *certificate, struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "INSERT INTO certificate (sha256, number, serial, kind, subject, not_before, not_after, revoked_at)"
                 " SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5, ?6, ?7 FROM certificate");
        db_bind_blob(&q, 1, certificate->sha256, sizeof(certificate->sha256));
        db_bind_text(&q, 2, certificate->serial);
        db_bind_int(&q, 3, certificate->kind);
        db_bind_text(&q, 4, certificate->subject);
        db_bind_int(&q, 5, certificate->not_before);
        db_bind_int(&q, 6, certificate->not_after);
        db_bind_int(&q, 7, certificate->revoked_at);
        return store_run(&q, err);
}

int store_certificates_revoke(struct store *store, enum identity_kind kind, const char *subject, int64_t at,
                              struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "UPDATE certificate SET revoked_at = ?3 WHERE kind = ?1 AND subject = ?2 AND revoked_at = 0");
        db_bind_int(&q, 1, kind);
        db_bind_text(&q, 2, subject);
        db_bind_int(&q, 3, at);
        return store_run(&q, err);
}

static int read_certificate(struct db_query *q, struct store_certificate *ret, struct error *err) {
        int result = db_step(q, err);
        if (result > 0) {
                size_t length;
                const uint8_t *hash = db_blob(q, 0, &length);
                memset(ret, 0, sizeof(*ret));
                if (length == sizeof(ret->sha256))
                        memcpy(ret->sha256, hash, length);
                STORE_TEXT(ret->serial, q, 1);
                ret->kind = (enum identity_kind) db_int(q, 2);
                STORE_TEXT(ret->subject, q, 3);
                ret->not_before = db_int(q, 4);
                ret->not_after = db_int(q, 5);
                ret->revoked_at = db_int(q, 6);
        }
        db_done(q);
        return result;
}

int store_certificate_get(struct store *store, const uint8_t sha256[32], struct store_certificate *ret,
                          struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "SELECT sha256, serial, kind, subject, not_before, not_after, revoked_at FROM certificate"
                 " WHERE sha256 = ?1");
        db_bind_blob(&q, 1, sha256, 32);
        return read_certificate(&q, ret, err);
}

int store_certificate_valid(struct store *store, const uint8_t sha256[32], struct error *err) {
        struct store_certificate certificate;
        int found = store_certificate_get(store, sha256, &certificate, err);
        return found <= 0 ? found : certificate.revoked_at == 0;
}

int store_certificate_newest(struct store *store, enum identity_kind kind, const char *subject,
                             struct store_certificate *ret, struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "SELECT sha256, serial, kind, subject, not_before, not_after, revoked_at FROM certificate"
                 " WHERE kind = ?1 AND subject = ?2 AND revoked_at = 0 ORDER BY number DESC LIMIT 1");
        db_bind_int(&q, 1, kind);
        db_bind_text(&q, 2, subject);
        return read_certificate(&q, ret, err);
}

int store_certificates_trim(struct store *store, enum identity_kind kind, const char *subject,
                            const uint8_t keep_sha256[32], unsigned keep, struct error *err) {
        struct db_query q;
        db_query(store->db, &q,
                 "DELETE FROM certificate WHERE kind = ?1 AND subject = ?2 AND sha256 <> ?3 AND number NOT IN"
                 " (SELECT number FROM certificate WHERE kind = ?1 AND subject = ?2 ORDER BY number DESC LIMIT ?4)");
        db_bind_int(&q, 1, kind);
        db_bind_text(&q, 2, subject);
        db_bind_blob(&q, 3, keep_sha256, 32);
        db_bind_int(&q, 4, keep);
        return store_run(&q, err);
}
