// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* What libvirt and its emulators offer on this host, for all architectures together. Blocking, for workers. */
#include "agent/host/connection.h"

struct capabilities {
        char **machines; // canonical names and aliases
        unsigned n_machines;
        char **domain_types; // kvm, qemu
        unsigned n_domain_types;
};
int capabilities_read(virConnectPtr conn, struct capabilities *ret, struct error *err);
void capabilities_fini(struct capabilities *capabilities);
// Whom QEMU's processes run as here, as libvirt's security driver for owners and modes says: 1, 0: it has none, -1.
int capabilities_qemu_owner(virConnectPtr conn, unsigned *ret_uid, unsigned *ret_gid, struct error *err);
bool capabilities_offer(const struct capabilities *capabilities, const char *domain_type);
