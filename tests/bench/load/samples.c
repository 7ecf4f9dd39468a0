#include "samples.h"

void samples_add (struct samples *self, int64_t ns)
{
    if (self->n == self->cap) {
        self->cap = self->cap ? 2 * self->cap : 65536;
        self->ns = realloc (self->ns, self->cap * sizeof *self->ns);
        CHECK (self->ns);
    }
    self->ns[self->n++] = ns > UINT32_MAX ? UINT32_MAX : ns < 0 ? 0 : (uint32_t) ns;
}

static int compare (const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;
    return (x > y) - (x < y);
}

double samples_us (struct samples *self, double quantile)
{
    if (self->n == 0)
        return 0;
    qsort (self->ns, self->n, sizeof *self->ns, compare);
    size_t at = (size_t) (quantile * (double) self->n);
    return (double) self->ns[at < self->n ? at : self->n - 1] / 1e3;
}
