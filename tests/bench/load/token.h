/* A JWT (RFC 7519) with HS256. */
#ifndef LOAD_TOKEN_H
#define LOAD_TOKEN_H

#include "loop.h"

/* Append a token for `user`, good for an hour, signed with `secret`. */
void token_write (struct buf *out, const char *user, const char *secret);

#endif
