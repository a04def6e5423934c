// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Records of the protocol as JSON objects: names and units as docs/cli.md fixes them. Each returns a new object. */
#include "proto/codec.h"
#include <jansson.h>
json_t *record_site(const Drover__SiteRecord *site);
json_t *record_host(const Drover__HostRecord *host, bool whole);
json_t *record_vm(const Drover__VmRecord *vm, bool whole);
json_t *record_retired(const Drover__RetiredRecord *retired);
json_t *record_job(const Drover__JobRecord *job, bool whole);
json_t *record_user(const Drover__UserRecord *user);
json_t *record_audit(const Drover__AuditRecord *audit);
json_t *record_plan(const Drover__MovePlan *plan);
json_t *record_batch_plan(const Drover__BatchPlan *plan);
json_t *record_status(const Drover__FleetStatus *status);
