/* Blocks of one page for what lives long and comes in great number. They are cut from regions of the size of a huge
 * page, for which huge pages are asked (madvise(2), MADV_HUGEPAGE): one page fault for 512 blocks where the system has
 * them, and a region goes back to the system when its last block is free. One thread only. */
#ifndef BASE_PAGES_H
#define BASE_PAGES_H

#include "base/check.h"

#include <stddef.h>

#define PAGES_BLOCK 4096 /* bytes of a block; aligned to as many */

/* A block, not cleared; NULL when memory is out. */
NODISCARD void *pages_get (void);

/* Give a block back. NULL is nothing. */
void pages_put (void *block);

/* Regions that are held at the moment. */
size_t pages_regions (void);

#endif
