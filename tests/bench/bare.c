// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The least that a verified copy could take on this machine: pread, TLS 1.3 with certificates on both sides, pwrite,
 * both around the page cache, blocks of 1 MiB, some threads an end with a connection each; fsync at the end. No hash,
 * no zeros left out, no resuming. A bench's yardstick and nothing else.
 *
 *   bare receive FILE PORT THREADS PKI        prints "listening", copies once
 *   bare send FILE ADDRESS PORT THREADS PKI   prints the seconds from the first connection to the other end's sync
 *
 * PKI is a directory with ca-cert.pem, server-cert.pem, server-key.pem, client-cert.pem, client-key.pem.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK       (1u << 20)
#define ALIGNMENT   4096u
#define THREADS_MAX 16
#define SOCKET_KEPT (4 << 20)

struct head { // before each block; length 0: the end. On the first connection's first: the file's length as offset
        uint64_t offset;
        uint64_t length;
};
static int file_fd;
static uint64_t file_bytes;
static atomic_uint_least64_t next_block;
static struct sockaddr_in address;
static SSL_CTX *context;

static void check(bool ok, const char *what) {
        if (ok)
                return;
        ERR_print_errors_fp(stderr);
        err(1, "%s", what);
}

static SSL_CTX *make_context(const char *pki, bool server) {
        char ca[512], certificate[512], key[512];
        const char *who = server ? "server" : "client";
        snprintf(ca, sizeof ca, "%s/ca-cert.pem", pki);
        snprintf(certificate, sizeof certificate, "%s/%s-cert.pem", pki, who);
        snprintf(key, sizeof key, "%s/%s-key.pem", pki, who);
        SSL_CTX *made = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
        check(made && SSL_CTX_set_min_proto_version(made, TLS1_3_VERSION) == 1, "TLS");
        check(SSL_CTX_load_verify_locations(made, ca, NULL) == 1, ca);
        check(SSL_CTX_use_certificate_chain_file(made, certificate) == 1, certificate);
        check(SSL_CTX_use_PrivateKey_file(made, key, SSL_FILETYPE_PEM) == 1, key);
        SSL_CTX_set_verify(made, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        SSL_CTX_set_read_ahead(made, 1);
        SSL_CTX_set_default_read_buffer_len(made, 256 << 10);
        return made;
}

static SSL *make_session(int fd, bool server) {
        int one = 1, kept = SOCKET_KEPT;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kept, sizeof kept);
        SSL *session = SSL_new(context);
        check(session && SSL_set_fd(session, fd) == 1, "TLS");
        check((server ? SSL_accept(session) : SSL_connect(session)) == 1, "the handshake");
        return session;
}

static void put(SSL *session, const void *bytes, size_t length) {
        size_t n = 0;
        check(SSL_write_ex(session, bytes, length, &n) == 1 && n == length, "send");
}

static bool get(SSL *session, void *bytes, size_t length) {
        for (size_t done = 0, n = 0; done < length; done += n)
                if (SSL_read_ex(session, (char *) bytes + done, length - done, &n) != 1)
                        return false;
        return true;
}

static uint8_t *new_buffer(void) {
        uint8_t *buffer = aligned_alloc(ALIGNMENT, BLOCK);
        check(buffer, "memory");
        return buffer;
}

static void *send_blocks(void *data) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        check(fd >= 0 && connect(fd, (struct sockaddr *) &address, sizeof address) == 0, "connect");
        SSL *session = make_session(fd, false);
        uint8_t *buffer = new_buffer();
        struct head head = {htobe64(file_bytes), 0};
        put(session, &head, sizeof head);
        for (;;) {
                uint64_t offset = atomic_fetch_add(&next_block, BLOCK);
                ssize_t n = offset < file_bytes ? pread(file_fd, buffer, BLOCK, (off_t) offset) : 0;
                check(n >= 0, "read");
                head = (struct head){htobe64(offset), htobe64((uint64_t) n)};
                put(session, &head, sizeof head);
                if (n == 0)
                        break;
                put(session, buffer, (size_t) n);
        }
        check(get(session, &head, sizeof head), "the other end's last word");
        free(buffer);
        SSL_free(session);
        close(fd);
        return data;
}

static void *receive_blocks(void *data) {
        SSL *session = make_session((int) (intptr_t) data, true);
        uint8_t *buffer = new_buffer();
        struct head head;
        check(get(session, &head, sizeof head), "receive");
        // Before the blocks, or writers would extend the file again and again, one at a time. The same from each of
        // them.
        check(ftruncate(file_fd, (off_t) be64toh(head.offset)) == 0, "make room");
        atomic_store(&next_block, be64toh(head.offset)); // here: the file's length
        while (get(session, &head, sizeof head) && head.length) {
                size_t length = be64toh(head.length), rounded = (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
                check(length <= BLOCK && get(session, buffer, length), "receive");
                memset(buffer + length, 0, rounded - length);
                check(pwrite(file_fd, buffer, rounded, (off_t) be64toh(head.offset)) == (ssize_t) rounded, "write");
        }
        free(buffer);
        return session;
}

static void receive(int listener, unsigned threads) {
        pthread_t workers[THREADS_MAX];
        void *sessions[THREADS_MAX];
        struct head done = {0};
        for (unsigned i = 0; i < threads; i++) {
                int fd = accept(listener, NULL, NULL);
                check(fd >= 0, "accept");
                check(pthread_create(&workers[i], NULL, receive_blocks, (void *) (intptr_t) fd) == 0, "thread");
        }
        for (unsigned i = 0; i < threads; i++)
                pthread_join(workers[i], &sessions[i]);
        check(ftruncate(file_fd, (off_t) atomic_load(&next_block)) == 0 && fsync(file_fd) == 0, "sync");
        for (unsigned i = 0; i < threads; i++)
                put(sessions[i], &done, sizeof done);
}

static double seconds(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static void send_all(unsigned threads) {
        pthread_t workers[THREADS_MAX];
        double begun = seconds();
        for (unsigned i = 0; i < threads; i++)
                check(pthread_create(&workers[i], NULL, send_blocks, NULL) == 0, "thread");
        for (unsigned i = 0; i < threads; i++)
                pthread_join(workers[i], NULL);
        printf("%.4f\n", seconds() - begun);
}

static unsigned threads_of(const char *text) {
        int n = atoi(text);
        if (n < 1 || n > THREADS_MAX)
                errx(2, "threads: 1 to %d", THREADS_MAX);
        return (unsigned) n;
}

int main(int argc, char **argv) {
        address = (struct sockaddr_in){.sin_family = AF_INET};
        if (argc == 6 && !strcmp(argv[1], "receive")) {
                int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
                address.sin_port = htons((uint16_t) atoi(argv[3]));
                setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
                check(bind(listener, (struct sockaddr *) &address, sizeof address) == 0 && listen(listener, 16) == 0,
                      "listen");
                file_fd = open(argv[2], O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
                check(file_fd >= 0, argv[2]);
                context = make_context(argv[5], true);
                puts("listening");
                fflush(stdout);
                receive(listener, threads_of(argv[4]));
        } else if (argc == 7 && !strcmp(argv[1], "send")) {
                struct stat st;
                address.sin_port = htons((uint16_t) atoi(argv[4]));
                check(inet_pton(AF_INET, argv[3], &address.sin_addr) == 1, argv[3]);
                file_fd = open(argv[2], O_RDONLY | O_DIRECT | O_CLOEXEC);
                check(file_fd >= 0 && fstat(file_fd, &st) == 0, argv[2]);
                file_bytes = (uint64_t) st.st_size;
                context = make_context(argv[6], false);
                send_all(threads_of(argv[5]));
        } else {
                errx(2, "bare receive FILE PORT THREADS PKI | bare send FILE ADDRESS PORT THREADS PKI");
        }
        return 0;
}
