// SPDX-License-Identifier: LGPL-2.1-or-later
/* A secret as a picture (see key.h). Any thread. */
#include "agent/repository/key.h"
#include "common/cleanup.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <qrencode.h>

#define MARGIN 4 // modules that are to stay empty around the code (ISO/IEC 18004)

static void code_free(QRcode *code) {
        OPENSSL_cleanse(code->data, (size_t) code->width * (size_t) code->width);
        QRcode_free(code);
}
DEFINE_CLEANUP(code_free, QRcode *)

// Level M: a seventh of it may be unreadable.
static int encode(const char *text, QRcode **ret_code, struct error *err) {
        QRcode *code = QRcode_encodeString(text, 0, QR_ECLEVEL_M, QR_MODE_8, 1);
        if (!code)
                return error_errno(err, errno, "draw the key as a QR code");
        *ret_code = code;
        return 0;
}

static bool is_dark(const QRcode *code, int x, int y) {
        return x >= 0 && y >= 0 && x < code->width && y < code->width && code->data[y * code->width + x] & 1;
}

// At once what is needed at most: a buffer that grew would leave pieces of the secret behind.
static int reserve(struct buffer *picture, const QRcode *code, size_t a_module, struct error *err) {
        size_t side = (size_t) code->width + 2 * MARGIN;
        uint8_t *space;
        return buffer_reserve(picture, side * side * a_module + 1024, &space, err);
}

// Two rows in a line of half blocks, black on white whatever the terminal's colours are.
int key_draw_ansi(const char *text, struct buffer *picture, struct error *err) {
        static const char *const blocks[] = {" ", "▀", "▄", "█"}; // none, the upper, the lower, both are dark
        _cleanup_(code_free_p) QRcode *code = NULL;
        if (encode(text, &code, err) < 0 || reserve(picture, code, 8, err) < 0)
                return -1;
        for (int y = -MARGIN; y < code->width + MARGIN; y += 2) {
                if (buffer_append_text(picture, "\033[38;5;16;48;5;231m", err) < 0)
                        return -1;
                for (int x = -MARGIN; x < code->width + MARGIN; x++) {
                        unsigned which = is_dark(code, x, y) | (unsigned) is_dark(code, x, y + 1) << 1;
                        if (buffer_append_text(picture, blocks[which], err) < 0)
                                return -1;
                }
                if (buffer_append_text(picture, "\033[0m\n", err) < 0)
                        return -1;
        }
        return 0;
}

int key_draw_svg(const char *text, struct buffer *picture, struct error *err) {
        _cleanup_(code_free_p) QRcode *code = NULL;
        if (encode(text, &code, err) < 0 || reserve(picture, code, 32, err) < 0)
                return -1;
        int side = code->width + 2 * MARGIN;
        if (buffer_appendf(
                    picture, err,
                    "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%dmm\" height=\"%dmm\" viewBox=\"0 0 %d %d\">\n"
                    "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n<path d=\"",
                    2 * side, 2 * side, side, side, side, side) < 0)
                return -1;
        for (int y = 0; y < code->width; y++)
                for (int x = 0; x < code->width; x++)
                        if (is_dark(code, x, y) &&
                            buffer_appendf(picture, err, "M%d %dh1v1h-1z", x + MARGIN, y + MARGIN) < 0)
                                return -1;
        return buffer_append_text(picture, "\"/>\n</svg>\n", err);
}
