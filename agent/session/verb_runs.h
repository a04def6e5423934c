// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * What the rows of the table of verbs do: thin functions that fetch libvirt's connection, call agent/host or
 * agent/transfer, and put what comes back into the result. Each runs on a worker, may be repeated after a crash, and
 * leaves a false result empty.
 */
#include "agent/session/verbs.h"

// verb_power.c: one domain
int verb_domain_power(struct verb_call *call, struct error *err);
int verb_domain_xml(struct verb_call *call, struct error *err);
// verb_source.c: the host that a VM leaves
int verb_move_inspect(struct verb_call *call, struct error *err);
int verb_move_stop(struct verb_call *call, struct error *err);
int verb_move_fence(struct verb_call *call, struct error *err);
int verb_move_confirm(struct verb_call *call, struct error *err);
int verb_move_retire(struct verb_call *call, struct error *err);
int verb_move_release(struct verb_call *call, struct error *err);
int verb_retired_purge(struct verb_call *call, struct error *err);
// verb_revive.c: the host that a VM left, when that is undone
int verb_move_revive(struct verb_call *call, struct error *err);
int verb_move_unrevive(struct verb_call *call, struct error *err);
// verb_target.c: the host that a VM comes to
int verb_move_reserve(struct verb_call *call, struct error *err);
int verb_move_define(struct verb_call *call, struct error *err);
int verb_move_start(struct verb_call *call, struct error *err);
int verb_move_settle(struct verb_call *call, struct error *err);
int verb_move_discard(struct verb_call *call, struct error *err);
// verb_transfer.c: the bytes
int verb_transfer_send(struct verb_call *call, struct error *err);
int verb_transfer_receive(struct verb_call *call, struct error *err);
// verb_clone.c: both hosts of a clone
int verb_clone_hold(struct verb_call *call, struct error *err);
int verb_clone_local(struct verb_call *call, struct error *err);
int verb_clone_confirm(struct verb_call *call, struct error *err);
int verb_identity_reset(struct verb_call *call, struct error *err);
// verb_verify.c
int verb_move_verify(struct verb_call *call, struct error *err);

// The custody context of a call over `conn`, which the caller keeps until it is done with it.
struct custody;
void verb_custody(const struct verb_call *call, virConnectPtr conn, struct custody *ret);
