// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* The disks of a described domain, looked up on the host: paths, pools, sizes, chains, who else uses them. For workers.
 */
#include "agent/host/connection.h"
#include "agent/host/definition_bases.h"
#include "agent/host/held.h"
#include "agent/host/pool.h"
#include "proto/codec.h"

// `fenced`: a job has the images in its hands, so it is no obstacle that they are not in their places.
// `bases`: what the definition itself lays the images over.
void collect_disks(virDomainPtr handle, const struct pool_table *pools, const struct definition_bases *bases,
                   bool active, bool fenced, Drover__Domain *domain);
// Remember which images it uses.
void collect_images(const Drover__Domain *domain);
// The same, and tell which of them others use, as far as they are known, or will when a job gives back what it holds.
void collect_sharing(virConnectPtr conn, const struct held_images *held, Drover__Domain *domain);
