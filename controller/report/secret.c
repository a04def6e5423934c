// SPDX-License-Identifier: LGPL-2.1-or-later
/* Secrets in files of their own: who else may read them, and what of the file counts. Any thread; blocks. */
#include "controller/report/secret.h"
#include "common/cleanup.h"
#include "common/file.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/stat.h>

void secret_fini(struct buffer *secret) {
        if (secret->data)
                OPENSSL_cleanse(secret->data, secret->capacity);
        buffer_fini(secret);
}

static int open_private(const char *path, int *ret_fd, struct error *err) {
        struct stat stat;
        _cleanup_(close_p) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 && errno == ELOOP) {
                error_set(err, ERROR_INVALID, "%s: is a symbolic link", path);
                error_hint(err, "name the file to which it leads in controller.yaml");
                return -1;
        }
        if (fd < 0 || fstat(fd, &stat) < 0) {
                error_errno(err, errno, "%s", path);
                error_hint(err, "the controller's user must be able to read it: chown root:drover %s; chmod 640 %s",
                           path, path);
                return -1;
        }
        if (stat.st_mode & S_IRWXO) {
                error_set(err, ERROR_REFUSED, "%s may be read by everybody on this machine", path);
                error_hint(err, "chown root:drover %s; chmod 640 %s", path, path);
                return -1;
        }
        *ret_fd = steal_fd(&fd);
        return 0;
}

int secret_read(const char *path, size_t least, struct buffer *ret, struct error *err) {
        _cleanup_(close_p) int fd = -1;
        struct buffer content;
        if (open_private(path, &fd, err) < 0)
                return -1;
        buffer_init(&content, SECRET_MAX + 1);
        if (file_read_fd(fd, path, SECRET_MAX, &content, err) < 0) {
                secret_fini(&content);
                return -1;
        }
        size_t length = 0;
        while (length < content.length && content.data[length] >= 0x20 && content.data[length] != 0x7f)
                length++;
        bool ends = length == content.length || content.data[length] == '\n' || content.data[length] == '\r';
        if (!ends || length < least) {
                secret_fini(&content);
                return ends ? error_set(err, ERROR_INVALID, "%s: the first line has %zu bytes, and must have %zu", path,
                                        length, least)
                            : error_set(err, ERROR_INVALID, "%s: the first line holds a control character", path);
        }
        if (content.data)
                content.data[length] = '\0'; // file_read() keeps room for it
        content.length = length;
        secret_fini(ret);
        *ret = content;
        return 0;
}
