// SPDX-License-Identifier: LGPL-2.1-or-later
/* Buffers for blocks (see blocks.h). */
#include "agent/blocks/blocks.h"
#include <stdlib.h>

uint8_t *blocks_buffer(void) {
        uint8_t *buffer = aligned_alloc(BLOCKS_ALIGNMENT, BLOCKS_BLOCK);
        if (!buffer)
                abort(); // as memory_new(), which cannot align
        return buffer;
}
