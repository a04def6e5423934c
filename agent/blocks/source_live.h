// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A disk of a running VM as it was at one moment, which its QEMU shows for as long as the backup job lasts
 * (agent/host/live_backup.h), and what has changed in it since the checkpoint before. It ends with the job, so it has
 * no version: nothing of it is found again later. The caller checks with live_backup_check() whether what was read
 * counts.
 */
#include "agent/blocks/nbd_client.h"

int source_live_new(const struct nbd_export *export, struct source **ret, struct error *err);
