/* For how long an HTTP answer is fresh, for a cache of one's own (RFC 9111 section 4.2): from Cache-Control, Expires,
 * Date and Age. */
#ifndef CORE_FRESHNESS_H
#define CORE_FRESHNESS_H

#include "base/slice.h"

#include <stdint.h>

#define FRESHNESS_UNKNOWN (-1)

struct freshness {
    bool uncacheable; /* no-store or no-cache */
    bool has_max_age, has_expires;
    int64_t max_age; /* s; 0 when it is not well-formed */
    int64_t expires; /* Unix s; INT64_MIN when it is no date, which means past */
    int64_t date;    /* Unix s; INT64_MIN when absent or no date */
    int64_t age;     /* s */
};

void freshness_init (struct freshness *self);

/* Take in one header; others than the four do not count. Names are read in any case. */
void freshness_header (struct freshness *self, struct slice name, struct slice value);

/* Seconds from `now` (Unix s); FRESHNESS_UNKNOWN when the answer does not say. */
int64_t freshness_left (const struct freshness *self, int64_t now);

/* An HTTP date in one of its three forms (RFC 9110 section 5.6.7) as Unix s; false when it is none. */
bool http_date (struct slice text, int64_t *out);

#endif
