/* The keys that tokens are checked with. An immutable set: built whole, then used, then replaced whole.
 * Every key is bound to the algorithms that it may serve when it is loaded, never by what a token says. */
#ifndef CORE_KEYS_H
#define CORE_KEYS_H

#include "base/buf.h"
#include "base/config.h"
#include "core/key.h"

#define KEYS_MAX 256 /* a token without kid may have to be tried with all of them */

struct keys {
    struct key *key; /* owned array */
    size_t n;
    uint32_t algorithms; /* union of those that are served and allowed */
    uint32_t allowed;    /* by jwt-algorithms, whether a key serves them or not */
};

/* Where the keys come from; "" or NULL means not given. Texts are borrowed. */
struct keys_sources {
    const char *secret; /* HMAC secret itself */
    const char *secret_file;
    const char *previous_secret_file; /* a second one, for rotation; the file may be empty */
    const char *public_key_file;      /* PEM, one or more public keys (or certificates) */
    const char *jwks_file;
    const char *algorithms; /* comma list that narrows; "" = all that the keys serve. `none` is refused */
    bool production;        /* an HMAC secret must have 32 bytes or more */
};

/* Read everything. NULL when a source cannot be used; then `error` has one line naming option, file and fault.
 * Keys of a JWKS that cannot be used (unknown kty, weak, `use` not sig, key_ops without verify, private) are skipped:
 * one line each in `skipped`. No source at all gives an empty set. RSA 2048 to 8192 bits with odd e > 1. */
NODISCARD struct keys *keys_load (const struct keys_sources *sources, struct buf *error, struct buf *skipped);

/* A log line for each of those. */
void keys_log_skipped (const struct buf *skipped);

/* The sources that a configuration names. */
struct keys_sources keys_sources_of (const struct config *config);

/* The same for one JWKS text (RFC 7517); for the fuzzer. */
NODISCARD struct keys *keys_parse_jwks (struct slice text, const char *algorithms, struct buf *error,
                                        struct buf *skipped);

/* The same for a set that was fetched, with all algorithms. Secrets in it are skipped: whoever may read the set could
 * sign. Any thread. */
NODISCARD struct keys *keys_parse_fetched (struct slice text, struct buf *error, struct buf *skipped);

/* A new set of all keys of both, with the algorithms that `local` allows; the keys of `fetched` that are left without
 * any stay away. NULL when memory is out. */
NODISCARD struct keys *keys_union (const struct keys *local, const struct keys *fetched);

/* Has one of the keys this kid? */
bool keys_have_kid (const struct keys *self, const char *kid);

void keys_destroy (struct keys **self_p);

#endif
