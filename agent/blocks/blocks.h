// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The units in which images are read, hashed and written (docs/data-plane.md says why these), and buffers for them.
 */
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCKS_BLOCK     (1u << 20)  // read, hashed, sent, recorded as verified at a time
#define BLOCKS_PIECE     (64u << 10) // looked for at the target
#define BLOCKS_GRAIN     4096u       // zero or equal by itself
#define BLOCKS_PIECES    (BLOCKS_BLOCK / BLOCKS_PIECE)
#define BLOCKS_GRAINS    (BLOCKS_BLOCK / BLOCKS_GRAIN)
#define BLOCKS_ALIGNMENT 4096u         // of buffers, offsets and lengths of direct I/O
#define BLOCKS_BYTES_MAX (64ull << 40) // longest image that is accepted (fault 55)

uint8_t *blocks_buffer(void); // aligned, room for a block; never fails; free()
