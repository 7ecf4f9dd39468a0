#include "base/buf.h"

#include <stdarg.h>

void buf_init (struct buf *self, size_t limit)
{
    *self = (struct buf){.limit = limit};
}

void buf_fini (struct buf *self)
{
    free (self->p);
    *self = (struct buf){.limit = self->limit};
}

bool buf_reserve (struct buf *self, size_t more)
{
    if (self->failed)
        return false;
    if (more <= self->cap - self->n)
        return true;
    if (more > SIZE_MAX / 2 - self->n || (self->limit && self->n + more > self->limit)) {
        self->failed = true;
        return false;
    }
    size_t cap = self->cap ? self->cap * 2 : 256;
    while (cap < self->n + more)
        cap *= 2;
    uint8_t *p = realloc (self->p, cap);
    if (!p) {
        self->failed = true;
        return false;
    }
    self->p = p;
    self->cap = cap;
    return true;
}

uint8_t *buf_extend_slowly (struct buf *self, size_t n)
{
    if (self->limit && (n > self->limit || self->n > self->limit - n))
        self->failed = true;
    if (!buf_reserve (self, n))
        return NULL;
    self->n += n;
    return self->p + self->n - n;
}

void buf_printf (struct buf *self, const char *format, ...)
{
    char small[512];
    va_list args;

    va_start (args, format);
    int n = vsnprintf (small, sizeof small, format, args);
    va_end (args);
    if (n < 0) {
        self->failed = true;
        return;
    }
    if ((size_t) n < sizeof small) {
        buf_put (self, small, (size_t) n);
        return;
    }
    if (self->limit && self->n + (size_t) n > self->limit)
        self->failed = true;
    if (!buf_reserve (self, (size_t) n + 1))
        return;
    va_start (args, format);
    vsnprintf ((char *) self->p + self->n, (size_t) n + 1, format, args);
    va_end (args);
    self->n += (size_t) n;
}

char *buf_steal_str (struct buf *self)
{
    bool ok = buf_reserve (self, 1);
    char *s = (char *) self->p;
    if (ok)
        s[self->n] = '\0';
    else
        free (s);
    *self = (struct buf){.limit = self->limit};
    return ok ? s : NULL;
}
