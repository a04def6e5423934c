// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A repository's secret on paper: as text that survives being typed, and as a picture.
 *
 *     DROVER1-5KM2Q-…        fourteen groups of five, 91 characters
 *
 * The symbols are those of Crockford's Base 32 (0-9 A-Z without I L O U; upper or lower case, O is read as 0, I and L
 * as 1). The secret's 32 bytes and the first 3 of the SHA-256 of "drover key 1" and the secret are 56 symbols, the
 * highest bits first. Each four are followed by one that checks them: in the field of 32 elements of BIP 173 (x^5 + x^3
 * + 1), the sum of 2, 4, 8 and 16 times the four and the group's number, from 0. So any one wrong symbol, any two
 * exchanged, and any group in another's place is found, and which one it is can be said.
 *
 * No message holds any of the secret. What is written here is the secret: wipe it (OPENSSL_cleanse). Pure, any thread.
 */
#include "agent/repository/seal.h"
#include "common/buffer.h"

#define KEY_GROUPS 14u
#define KEY_TEXT   (7 + 6 * KEY_GROUPS + 1) // with its NUL

void key_print(const struct seal_secret *secret, char ret_text[KEY_TEXT]);
// Hyphens may be spaces or ends of lines, or be left out altogether. ERROR_INVALID says which group is wrong.
int key_parse(const char *text, struct seal_secret *ret_secret, struct error *err);

// The text as a QR code (ISO/IEC 18004, by libqrencode), appended: for a terminal of any colours, and as an SVG
// picture. libqrencode's own copies are freed and not wiped: for a program that ends soon after.
int key_draw_ansi(const char *text, struct buffer *picture, struct error *err);
int key_draw_svg(const char *text, struct buffer *picture, struct error *err);
