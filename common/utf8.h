// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. Pure functions, any thread. */
#include <stddef.h>
#include <stdint.h>

// Bytes of the character at `text` (1 to 4), or 0 when it is not valid. Never reads past a NUL.
unsigned utf8_next(const char *text, uint32_t *ret_point);
// Replace each byte of a control character (C0, DEL, C1) and each byte that is not valid by '?'.
void utf8_clean(char *text);
// The longest prefix of at most `most` bytes that does not end inside a character.
size_t utf8_cut(const char *text, size_t most);
