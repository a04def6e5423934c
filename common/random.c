// SPDX-License-Identifier: LGPL-2.1-or-later
/* Random bytes from getrandom(2). A process without randomness must not go on: it would make guessable secrets. */
#include "common/random.h"
#include "common/log.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

void random_bytes(void *bytes, size_t length) {
        unsigned char *at = bytes;
        while (length > 0) {
                ssize_t n = getrandom(at, length, 0);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0) {
                        log_error("the kernel gives no random bytes, ending", NULL);
                        abort();
                }
                at += n;
                length -= (size_t) n;
        }
}

uint32_t random_u32(void) {
        uint32_t value;
        random_bytes(&value, sizeof(value));
        return value;
}

uint64_t random_u64(void) {
        uint64_t value;
        random_bytes(&value, sizeof(value));
        return value;
}
