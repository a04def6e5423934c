// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * A walk over packed protobuf bytes beside their descriptor, before anything is allocated for them: counts the members
 * of all levels (a 4 MiB frame could hold two million empty messages), and looks at every string. Pure.
 */
#include "common/error.h"
#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

int scan_message(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes, size_t length, struct error *err);
// Valid UTF-8 without control characters (C0, DEL, C1) other than newline and tab: what a terminal may be given.
bool scan_text_ok(const uint8_t *text, size_t length);
// Replace by '?' what scan_text_ok() refuses, in place.
void scan_clean_text(char *text);
