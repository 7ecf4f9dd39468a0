/* UTF-8 (RFC 3629): no surrogates, nothing over U+10FFFF, no overlong forms. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/slice.h"

#include <stdint.h>

/* Length (1 to 4) of the well-formed sequence at the start of `s`, its code point in *cp; 0 when there is none. */
size_t utf8_next (struct slice s, uint32_t *cp);

bool utf8_valid (struct slice s);

/* How far a text has come that arrives in pieces, which may end inside a character. All 0 at its beginning. */
struct utf8_progress {
    uint8_t missing;   /* bytes of the character that has begun */
    uint8_t low, high; /* what the next of them may be */
};

/* Is the text well-formed as far as this piece? */
bool utf8_goes_on (struct utf8_progress *self, struct slice piece);

/* May it end here? */
static inline bool utf8_may_end (const struct utf8_progress *self)
{
    return self->missing == 0;
}

#endif
