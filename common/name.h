// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Names that come from outside, refused where they are decoded (fault 48): no "/", no "..", no control character,
 * no leading "-" or ".", bounded, valid UTF-8. What passes here is still never concatenated into a path without
 * directory file descriptors.
 */
#include "common/error.h"

#define NAME_SITE_MAX    63  // bytes without NUL; [a-z0-9-]
#define NAME_HOST_MAX    63  // [a-zA-Z0-9.-]
#define NAME_USER_MAX    63  // [a-zA-Z0-9._-@]
#define NAME_VM_MAX      128 // what libvirt allows less the above
#define NAME_VOLUME_MAX  200
#define NAME_UUID_LENGTH 36

int name_check_site(const char *name, struct error *err);
int name_check_host(const char *name, struct error *err);
int name_check_user(const char *name, struct error *err);
int name_check_vm(const char *name, struct error *err);
int name_check_volume(const char *name, struct error *err); // also pools, networks and bridges
int name_check_guest(const char *name, struct error *err);  // what a guest calls itself: RFC 1123, 64 bytes at most
int name_check_uuid(const char *text, struct error *err);   // lower case, 8-4-4-4-12
int name_check_job(const char *text, struct error *err);    // job ids: [a-z0-9]{4,32}
int name_check_target(const char *text, struct error *err); // disk targets: [a-z]{2,4}[a-z0-9]{0,4}, or "nvram"
// Split "lyon/kvm1" into its parts (buffers of the maxima above + 1).
int name_split_host(const char *text, char *ret_site, char *ret_host, struct error *err);
void name_new_uuid(char ret_uuid[NAME_UUID_LENGTH + 1]); // random, version 4
// How alike two names are, for "did you mean": Damerau-Levenshtein distance, capped at 255.
unsigned name_distance(const char *one, const char *other);
// "did you mean" over candidates: index of the nearest within 3 edits and less than half its length, or -1.
int name_nearest(const char *name, char *const *candidates, size_t n);
