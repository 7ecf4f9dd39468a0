/* Blocks of one page for what lives long and comes in great number. They are cut from large regions, whose memory the
 * system is asked for in pieces of 16 blocks, ahead of the page faults: those cost several times as much. A whole huge
 * page at once would cost less still, but stop the loop for as long as it takes to clear it. A region goes back to the
 * system when its last block is free. One thread only. */
#ifndef BASE_PAGES_H
#define BASE_PAGES_H

#include "base/check.h"

#include <stddef.h>

#define PAGES_BLOCK 4096 /* bytes of a block; aligned to as many */

/* A block, not cleared; NULL when memory is out. */
NODISCARD void *pages_get (void);

/* Give a block back. NULL is nothing. */
void pages_put (void *block);

/* The same for the C library's heap, for who is about to allocate many small things: when it has grown since the last
 * call, ask for the memory of what it has grown by (128 KiB as a rule) before the page faults do. */
void pages_warm_heap (void);

/* Regions that are held at the moment. */
size_t pages_regions (void);

#endif
