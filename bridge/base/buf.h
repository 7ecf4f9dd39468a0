/* A growable byte buffer with a sticky error: append freely, look at `failed` once at the end.
 * Growth failure or a passed limit sets `failed`; later appends do nothing. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/check.h"
#include "base/slice.h"

#include <stdint.h>

struct buf {
    uint8_t *p;   /* owned; NULL until the first append */
    size_t n;     /* bytes in use */
    size_t cap;   /* bytes allocated */
    size_t limit; /* most bytes allowed; 0 = no limit */
    bool failed;
};

void buf_init (struct buf *self, size_t limit);
void buf_fini (struct buf *self);

/* Forget the content and the error, keep the memory. */
static inline void buf_reset (struct buf *self)
{
    self->n = 0;
    self->failed = false;
}

/* Make room for `more` bytes behind `n`. False (and `failed`) when that cannot be had. */
NODISCARD bool buf_reserve (struct buf *self, size_t more);

/* buf_extend() when the memory at hand will not do. */
uint8_t *buf_extend_slowly (struct buf *self, size_t n);

/* Make the content `n` bytes longer: where they go, for the caller to write. NULL (and `failed`) when they cannot be
 * had. The limit holds for the content, also when the memory at hand would have room for more. */
static inline uint8_t *buf_extend (struct buf *self, size_t n)
{
    if (self->failed || n > self->cap - self->n || (self->limit && self->n + n > self->limit))
        return buf_extend_slowly (self, n);
    self->n += n;
    return self->p + self->n - n;
}

static inline void buf_put (struct buf *self, const void *bytes, size_t n)
{
    uint8_t *to = n ? buf_extend (self, n) : NULL;
    if (to)
        memcpy (to, bytes, n);
}

void buf_printf (struct buf *self, const char *format, ...) PRINTF_LIKE (2, 3);

static inline void buf_putc (struct buf *self, char c)
{
    uint8_t *to = buf_extend (self, 1);
    if (to)
        *to = (uint8_t) c;
}

static inline void buf_puts (struct buf *self, const char *s)
{
    buf_put (self, s, strlen (s));
}

static inline struct slice buf_slice (const struct buf *self)
{
    return slice_of (self->p, self->n);
}

/* The content as a NUL-terminated string that the caller frees; NULL when the buffer has failed or memory is out.
 * The buffer is left empty. */
NODISCARD char *buf_steal_str (struct buf *self);

#endif
