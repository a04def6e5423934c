// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Checks of what a request carries, before anything is done with it (fault 48): every name by its own rule, every list
 * and every blob within a bound. Pure; one function for each verb that has parameters. All fail with ERROR_INVALID and
 * name the parameter.
 */
#include "proto/codec.h"

#define PARAMETERS_LIST_MAX    64         // disks, cards, bridges, networks, snapshots of one VM
#define PARAMETERS_XML_MAX     (1u << 20) // as DEFINITION_MAX
#define PARAMETERS_TICKET_MAX  4096u
#define PARAMETERS_TIMEOUT_MAX 86400u      // seconds
#define PARAMETERS_NVRAM_MAX   (64u << 20) // bytes: the flash of every machine that QEMU knows is smaller

int parameters_power(const Drover__AgentRequest *request, struct error *err);
int parameters_inspect(const Drover__AgentRequest *request, struct error *err);
int parameters_reserve(const Drover__AgentRequest *request, struct error *err);
int parameters_stop(const Drover__AgentRequest *request, struct error *err);
int parameters_fence(const Drover__AgentRequest *request, struct error *err);
int parameters_send(const Drover__AgentRequest *request, struct error *err);
int parameters_receive(const Drover__AgentRequest *request, struct error *err);
int parameters_define(const Drover__AgentRequest *request, struct error *err);
int parameters_verify(const Drover__AgentRequest *request, struct error *err);
int parameters_purge(const Drover__AgentRequest *request, struct error *err);
int parameters_clone_hold(const Drover__AgentRequest *request, struct error *err);
int parameters_clone_local(const Drover__AgentRequest *request, struct error *err);
int parameters_clone_confirm(const Drover__AgentRequest *request, struct error *err);
int parameters_identity_reset(const Drover__AgentRequest *request, struct error *err);
int parameters_revive(const Drover__AgentRequest *request, struct error *err);
int parameters_unrevive(const Drover__AgentRequest *request, struct error *err);
int parameters_rate(const Drover__AgentRequest *request, struct error *err);
int parameters_cancel(const Drover__AgentRequest *request, struct error *err);
int parameters_step_name(const char *step, struct error *err);
