// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Words for libvirt's numbers. Pure. */
const char *collect_reason_word(int state,
                                int reason); // (VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_DESTROYED) -> "destroyed"
