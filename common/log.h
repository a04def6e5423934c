// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Logging to standard error with syslog priorities that journald understands (<6>...). One line an entry, with
 * fields: log_info("move committed", "job", id, "vm", name, NULL). Libraries log nothing above debug; the layer that
 * decides logs once. Never a secret. Safe from any thread.
 */
#include "common/error.h"

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

void log_init(const char *program, enum log_level level); // prefix <N> only when stderr is journald's (JOURNAL_STREAM)
void log_set_level(enum log_level level);
// Fields: pairs of const char* name, const char* value, ended by NULL; a NULL value leaves the pair out.
void log_write(enum log_level level, const char *message, ...) __attribute__((sentinel));
void log_failure(enum log_level level, const char *what, const struct error *err, ...) __attribute__((sentinel));
#define log_error(...)   log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
