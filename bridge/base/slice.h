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
    return a.n == b.n && (a.n == 0 || memcmp (a.p, b.p, b.n) == 0);
}

static inline bool slice_is (struct slice a, const char *s)
{
    return slice_eq (a, slice_str (s));
}

/* memcpy() may not be given NULL, not even for no bytes. */
static inline void slice_copy (void *to, struct slice from)
{
    if (from.n)
        memcpy (to, from.p, from.n);
}

/* Without blanks and tabs around it. */
static inline struct slice slice_trim (struct slice s)
{
    for (; s.n && (s.p[0] == ' ' || s.p[0] == '\t'); s.p++)
        s.n--;
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* What stands before the first `c` of *rest into *part; *rest begins behind it then. False, and nothing changes, when
 * there is no `c`. */
static inline bool slice_cut (struct slice *rest, char c, struct slice *part)
{
    const char *at = rest->n ? memchr (rest->p, c, rest->n) : NULL;
    if (!at)
        return false;
    *part = slice_of (rest->p, (size_t) (at - rest->p));
    *rest = slice_of (at + 1, rest->n - part->n - 1);
    return true;
}

/* The next item of a comma list without blanks around it; false at the end. Empty items are skipped. */
static inline bool slice_next_item (struct slice *list, struct slice *item)
{
    while (list->n) {
        if (!slice_cut (list, ',', item)) {
            *item = *list;
            *list = slice_of (NULL, 0);
        }
        *item = slice_trim (*item);
        if (item->n)
            return true;
    }
    return false;
}

#endif
