/* A borrowed run of bytes: pointer and length, never owned, not NUL-terminated. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
    const char *p; /* may be NULL when n is 0 */
    size_t n;      /* bytes */
};

static inline struct slice slice_of (const void *p, size_t n)
{
    return (struct slice){.p = p, .n = n};
}

/* NULL gives the empty slice. */
static inline struct slice slice_str (const char *s)
{
    return (struct slice){.p = s, .n = s ? strlen (s) : 0};
}

static inline bool slice_eq (struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp (a.p, b.p, a.n) == 0);
}

static inline bool slice_is (struct slice a, const char *s)
{
    return slice_eq (a, slice_str (s));
}

#endif
