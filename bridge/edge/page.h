/* The status page, as bridge/page/build has bundled it, embedded in the program. */
#ifndef EDGE_PAGE_H
#define EDGE_PAGE_H

#include "base/slice.h"

#include <stdbool.h>

struct page {
    struct slice html;
    struct slice gzip;   /* the same, compressed */
    struct slice hashes; /* of its script and style: directives of a Content-Security-Policy */
};

/* In production the page has no Try tab, nor any code of it. */
struct page page_of (bool production);

#endif
