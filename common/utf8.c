// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * UTF-8: stepping, cleaning and cutting of text that came from outside, for error messages, logs and the checks of
 * names. A NUL is never a valid continuation byte, so that no step reads beyond the end of a C string.
 */
#include "common/utf8.h"
#include <string.h>

unsigned utf8_next(const char *text, uint32_t *ret_point) {
        const unsigned char *byte = (const unsigned char *) text;
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        unsigned length = byte[0] < 0x80             ? 1
                          : (byte[0] & 0xe0) == 0xc0 ? 2
                          : (byte[0] & 0xf0) == 0xe0 ? 3
                          : (byte[0] & 0xf8) == 0xf0 ? 4
                                                     : 0;
        if (length == 0)
                return 0;
        uint32_t point = length == 1 ? byte[0] : byte[0] & (0x7fu >> length);
        for (unsigned i = 1; i < length; i++) {
                if ((byte[i] & 0xc0) != 0x80)
                        return 0;
                point = point << 6 | (byte[i] & 0x3fu);
        }
        if (point < least[length] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
                return 0;
        *ret_point = point;
        return length;
}

void utf8_clean(char *text) {
        while (*text) {
                uint32_t point = 0;
                unsigned length = utf8_next(text, &point);
                if (length == 0) {
                        *text++ = '?';
                        continue;
                }
                if (point < 0x20 || (point >= 0x7f && point <= 0x9f))
                        memset(text, '?', length);
                text += length;
        }
}

size_t utf8_cut(const char *text, size_t most) {
        size_t length = strnlen(text, most + 1);
        if (length <= most)
                return length;
        // At most three continuation bytes belong to one character; more than that is not UTF-8 and may be cut
        // anywhere.
        for (unsigned back = 0; back < 4 && back < most; back++)
                if (((unsigned char) text[most - back] & 0xc0) != 0x80)
                        return most - back;
        return most;
}
