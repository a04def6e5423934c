// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* The form of every name in an operator's request, refused here before anything is looked up (fault 48). Pure. */
#include "controller/session/verbs.h"

// "lyon/kvm1/erp", an ending of it, or a UUID. Each part by its own rule.
int verb_check_vm_name(const char *text, struct error *err);
int verb_check_host_name(const char *text, struct error *err); // "lyon/kvm1", "kvm1" or a UUID
#define CHECKED_VERBS(X)                                                                                               \
        X(site_list)                                                                                                   \
        X(site_create)                                                                                                 \
        X(site_set)                                                                                                    \
        X(site_remove)                                                                                                 \
        X(host_list)                                                                                                   \
        X(host_show)                                                                                                   \
        X(host_invite)                                                                                                 \
        X(host_remove)                                                                                                 \
        X(vm_list)                                                                                                     \
        X(retired_list)                                                                                                \
        X(vm_xml)                                                                                                      \
        X(vm_power)                                                                                                    \
        X(vm_move)                                                                                                     \
        X(vm_clone)                                                                                                    \
        X(vm_move_many)                                                                                                \
        X(vm_purge)                                                                                                    \
        X(job_list)                                                                                                    \
        X(job_show)                                                                                                    \
        X(job_follow)                                                                                                  \
        X(job_set)                                                                                                     \
        X(job_cancel)                                                                                                  \
        X(job_undo)                                                                                                    \
        X(job_retry)                                                                                                   \
        X(user_invite)                                                                                                 \
        X(user_remove)
#define X(name) int verb_check_##name(const struct verb_call *call, struct error *err);
CHECKED_VERBS(X)
#undef X
