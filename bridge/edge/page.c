#include "edge/page.h"

/* PAGE_DIST and PAGE_GZIP are folders, from CMakeLists.txt. */
#define EMBED(symbol, file)                                                                                            \
    __asm__(".section .rodata\n" #symbol ":\n.incbin \"" file "\"\n" #symbol "_end:\n.byte 0\n.previous\n");           \
    extern const char symbol[] __attribute__ ((visibility ("hidden")));                                                \
    extern const char symbol##_end[] __attribute__ ((visibility ("hidden")))
#define EMBED_PAGE(name)                                                                                               \
    EMBED (page_##name##_html, PAGE_DIST "/" #name ".html");                                                           \
    EMBED (page_##name##_gzip, PAGE_GZIP "/" #name ".html.gz");                                                        \
    EMBED (page_##name##_hashes, PAGE_DIST "/" #name ".csp")

EMBED_PAGE (production);
EMBED_PAGE (development);

#define SLICE(symbol) slice_of (symbol, (size_t) (symbol##_end - symbol))
#define PAGE(name)    ((struct page){SLICE (page_##name##_html), SLICE (page_##name##_gzip), SLICE (page_##name##_hashes)})

struct page page_of (bool production)
{
    return production ? PAGE (production) : PAGE (development);
}
