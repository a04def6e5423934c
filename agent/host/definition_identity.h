// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What tells one VM from every other, given to a clone anew: UUID, MAC addresses, serial numbers and world wide names
 * of disks, the machine's numbers in its SMBIOS tables, the generation ID that guests watch; and what two VMs on one
 * host cannot both have: fixed ports of screens, addresses of vsock. Numbers are made from the clone's UUID, so that
 * asking again gives the same. A definition and its snapshots are treated alike. Pure.
 */
#include "agent/host/definition.h"
#include "agent/host/tree.h"

// ERROR_REFUSED for an interface whose address has no new one in identity->macs.
int identity_apply(xmlNode *domain, const Drover__CloneIdentity *identity, struct error *err);
// A UUID and 4*n hexadecimal digits for one purpose of one VM.
void identity_uuid(const char *vm_uuid, const char *purpose, char ret[NAME_UUID_LENGTH + 1]);
void identity_digits(const char *vm_uuid, const char *purpose, unsigned n, char *ret); // n digits and NUL; n at most 64
