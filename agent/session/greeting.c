// SPDX-License-Identifier: LGPL-2.1-or-later
/* Hello and Welcome; pure but for reading the kernel's boot id. Loop thread. */
#include "agent/session/greeting.h"
#include "common/cleanup.h"
#include "common/memory.h"

#include <fcntl.h>
#include <string.h>

#define SOFTWARE  "drover-agent " DROVER_VERSION
#define BOOT_ID   "/proc/sys/kernel/random/boot_id"
#define PING_MOST 300u
#define DEAD_MOST 3600u

static char *boot_id(void) {
        char text[64];
        _cleanup_(close_p) int fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        text[n > 0 ? n : 0] = '\0';
        text[strcspn(text, "\n")] = '\0';
        return memory_string(text);
}

Drover__Hello *greeting_hello(uint64_t instance, uint16_t data_port, const char *data_address) {
        Drover__Hello *hello = new (Drover__Hello);
        drover__hello__init(hello);
        hello->version_min = PROTO_VERSION_MIN;
        hello->version_max = PROTO_VERSION_MAX;
        hello->software = memory_string(SOFTWARE);
        hello->data_port = data_port;
        hello->data_address = memory_string(data_address ? data_address : "");
        hello->boot_id = boot_id();
        hello->instance = instance;
        return hello;
}

int greeting_check(const Drover__Welcome *welcome, struct error *err) {
        if (welcome->version < PROTO_VERSION_MIN || welcome->version > PROTO_VERSION_MAX) {
                error_set(err, ERROR_VERSION,
                          "the controller (%s) speaks protocol version %u; this agent (%s) speaks %u to %u",
                          welcome->software, welcome->version, SOFTWARE, PROTO_VERSION_MIN, PROTO_VERSION_MAX);
                error_hint(err, "install the same version of drover on both machines");
                return -1;
        }
        if (welcome->ping_seconds < 1 || welcome->ping_seconds > PING_MOST ||
            welcome->dead_seconds <= welcome->ping_seconds || welcome->dead_seconds > DEAD_MOST)
                return error_set(err, ERROR_PROTOCOL, "heartbeats of %u s, dead after %u s, are out of range",
                                 welcome->ping_seconds, welcome->dead_seconds);
        return 0;
}
