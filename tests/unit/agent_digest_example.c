// SPDX-License-Identifier: LGPL-2.1-or-later
/* The digest of the worked example in proto/PROTOCOL.md, by the code that makes digests. */
#include "agent/blocks/digest.h"
#include "common/cleanup.h"
#include "common/file.h"
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void the_documented_digest_is_what_we_make(void **state) {
        (void) state;
        uint8_t image[20000], hash[DIGEST_HASH], whole[DIGEST_BYTES];
        char text[DIGEST_TEXT];
        struct buffer content;
        memset(image, 'a', sizeof image);
        struct grains grains;
        grains_find(image, sizeof image, &grains);
        digest_block(image, sizeof image, &grains, hash);
        struct digest *digest = digest_new(sizeof image);
        assert_int_equal(digest_add(digest, 0, sizeof image, hash, NULL), 0);
        assert_int_equal(digest_finish(digest, whole, NULL), 0);
        digest_free(digest);
        buffer_init(&content, 0);
        assert_int_equal(file_read(SOURCE_DIR "/proto/PROTOCOL.md", 1 << 20, &content, NULL), 0);
        _cleanup_(free_p) char *document = buffer_steal_text(&content);
        assert_non_null(strstr(document, digest_text(whole, text)));
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(the_documented_digest_is_what_we_make)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
