#include "base/pages.h"
#include "base/list.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define REGION_BYTES ((size_t) 2 << 20)
#define BLOCKS       (REGION_BYTES / PAGES_BLOCK - 1) /* the first one is the region's own */
#define PIECE_BYTES  ((size_t) 64 << 10)
#define GROWTH_MAX   ((size_t) 1 << 20) /* of the heap at once; more was one large thing, which may never be touched */

/* A block that was given out before. */
struct spare {
    struct spare *next;
};

/* At the start of each region, which is aligned to its size. */
struct region {
    struct list link; /* in `with_room` while it has a block to give */
    struct spare *spare;
    size_t used;  /* blocks that are given out */
    size_t fresh; /* blocks that never were: they are given last, so that their memory is not touched before */
};

static struct list with_room = {&with_room, &with_room};
static size_t n_regions;

size_t pages_regions (void)
{
    return n_regions;
}

/* Twice as much as is wanted holds an aligned piece; the rest goes back. */
static void *map_aligned (void)
{
    char *start = mmap (NULL, 2 * REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        return NULL;
    size_t before = (REGION_BYTES - (uintptr_t) start % REGION_BYTES) % REGION_BYTES;
    if (before)
        munmap (start, before);
    munmap (start + before + REGION_BYTES, REGION_BYTES - before);
    return start + before;
}

static struct region *new_region (void)
{
    struct region *self = map_aligned ();
    if (!self)
        return NULL;
    *self = (struct region){.fresh = BLOCKS};
    list_init (&self->link);
    list_append (&with_room, &self->link);
    n_regions++;
    return self;
}

/* The next one that never was given out. */
static void *fresh_block (struct region *self)
{
    char *block = (char *) self + PAGES_BLOCK * (BLOCKS + 1 - self->fresh--);
    if ((uintptr_t) block % PIECE_BYTES == 0)
        (void) madvise (block, PIECE_BYTES, MADV_POPULATE_WRITE); /* Linux 5.14; without it there are page faults */
    return block;
}

static bool is_full (const struct region *self)
{
    return !self->spare && !self->fresh;
}

void *pages_get (void)
{
    struct region *region = list_empty (&with_room) ? new_region () : LIST_ENTRY (with_room.next, struct region, link);
    if (!region)
        return NULL;
    void *block = region->spare;
    if (block)
        region->spare = region->spare->next;
    else
        block = fresh_block (region);
    region->used++;
    if (is_full (region))
        list_remove (&region->link);
    return block;
}

void pages_put (void *block)
{
    if (!block)
        return;
    struct region *region = (struct region *) ((uintptr_t) block & ~(uintptr_t) (REGION_BYTES - 1));
    if (is_full (region))
        list_append (&with_room, &region->link);
    struct spare *spare = block;
    spare->next = region->spare;
    region->spare = spare;
    if (--region->used > 0)
        return;
    list_remove (&region->link);
    munmap (region, REGION_BYTES);
    n_regions--;
}

/* The end of the heap is a variable of the C library's; to ask for it is no system call. */
void pages_warm_heap (void)
{
    static char *warm;
    char *end = sbrk (0);
    size_t n = warm && end > warm ? (size_t) (end - warm) : 0;
    if (n && n <= GROWTH_MAX)
        (void) madvise (warm, n, MADV_POPULATE_WRITE);
    warm = end;
}
