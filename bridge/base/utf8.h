/* UTF-8 (RFC 3629): no surrogates, nothing over U+10FFFF, no overlong forms. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/slice.h"

#include <stdint.h>

/* Length (1 to 4) of the well-formed sequence at the start of `s`, its code point in *cp; 0 when there is none. */
size_t utf8_next (struct slice s, uint32_t *cp);

bool utf8_valid (struct slice s);

#endif
