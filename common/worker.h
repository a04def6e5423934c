// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * Blocking work off the loop: libvirt, child processes, file systems. `work` runs on a pool thread and touches only its
 * own `data`; `done` runs on the loop thread afterwards, always. UV_THREADPOOL_SIZE is set once by worker_init().
 */
#include <uv.h>
typedef void (*worker_fn)(void *data);
void worker_init(unsigned threads); // before the first uv call of the process
void worker_run(uv_loop_t *loop, worker_fn work, worker_fn done, void *data);
unsigned worker_pending(void); // submitted and not yet done, for an orderly end
