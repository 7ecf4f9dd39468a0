/* Identifiers that the bridge makes. */
#ifndef CORE_IDENT_H
#define CORE_IDENT_H

#include "base/slice.h"

#include <stdint.h>

#define USER_ID_MAX 128 /* bytes */
#define CONN_ID_LEN 27  /* "ws_" and 24 hex digits: 96 random bits */

/* Write a new connection id, NUL-terminated, into `out` of CONN_ID_LEN + 1 bytes. */
void ident_new_connection (char *out);

/* Could this be a connection id: ^ws_[0-9a-f]{12,32}$ ? */
bool ident_is_connection (struct slice id);

/* Could this be a user id: 1 to 128 bytes, UTF-8, no control characters (U+0000 to U+001F, U+007F to U+009F)? */
bool ident_is_user (struct slice id);

/* The same id, or the empty one when it is too long for a user's. */
static inline struct slice ident_fits_user (struct slice id)
{
    return id.n <= USER_ID_MAX ? id : slice_of (NULL, 0);
}

#define EPOCH_LEN 16

/* Write an epoch, opaque to clients, NUL-terminated, into EPOCH_LEN + 1 bytes: the same for the same arguments in this
 * process, another one for all others and in every other process. */
void ident_epoch (char *out, struct slice user, uint64_t incarnation, uint64_t losses);

/* Write `n` random bytes as 2n lower-case hex digits and a NUL. */
void ident_hex (char *out, size_t n);

#endif
