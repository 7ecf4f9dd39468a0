/* Which media type a client would rather have: its Accept header (RFC 9110 section 12.5.1). */
#ifndef CORE_ACCEPT_H
#define CORE_ACCEPT_H

#include "base/slice.h"

/* How an entry of the list names a type; what is more exact counts, whatever its quality. */
enum accept_match {
    ACCEPT_NONE,
    ACCEPT_ANY,    /* by an asterisk for both halves, or for the second */
    ACCEPT_TYPE,   /* by name */
    ACCEPT_VERSION /* by name and version */
};

struct accept {
    enum accept_match match;
    unsigned quality; /* thousandths; 0: not wanted */
};

/* How much `list` wants the type `major`/`minor` of this version. Entries that name another version, or whose quality
 * is malformed, do not count; parameters other than `version` and `q` are not looked at. */
struct accept accept_read (struct slice list, const char *major, const char *minor, const char *version);

#endif
