/* Keys by URL: when the set is fetched, what counts meanwhile, and what its failures mean. The fetch itself is the
 * edge's.
 *
 *   on_refresh, jwks_review -> begin_fetch -> port.fetch   (edge/jwks_fetch.c, in a thread of its own)
 *                                             jwks_done <-
 *   good    the new set is in force; fetched again at four fifths of its life
 *   failed  the old set counts on; fetched again after a back-off
 */
#ifndef CORE_JWKS_H
#define CORE_JWKS_H

#include "base/metrics.h"
#include "core/hub.h"

#define JWKS_ETAG_MAX    256 /* bytes with the NUL; a longer one is not used */
#define JWKS_DIGEST_SIZE 32  /* SHA-256 */

struct jwks;

/* By what a set is known again, so that it need not be judged again: hundreds of keys take tens of milliseconds. */
struct jwks_mark {
    char etag[JWKS_ETAG_MAX];               /* "" when the server named none */
    unsigned char digest[JWKS_DIGEST_SIZE]; /* of the body */
};

/* What a fetch brought. */
struct jwks_answer {
    enum jwks_result result;
    struct keys *keys;     /* when result is ok; NULL: byte for byte the set at hand. The reader takes it */
    int64_t fresh_s;       /* as the headers say; FRESHNESS_UNKNOWN */
    struct jwks_mark mark; /* of the set that is the newest now */
    char why[256];         /* of a failure, for the log */
    struct buf skipped;    /* keys that are not used, a line each */
};

/* The edge. One fetch at a time; each that was begun ends in one jwks_done(). */
struct jwks_port {
    void *self;
    /* `at_hand`: of the set that is held, NULL when there is none; borrowed. False: it cannot be begun. */
    bool (*fetch) (void *self, const struct jwks_mark *at_hand);
};

/* Shares `hub`, whose keys it sets, and the hub's wheel. NULL when memory is out. */
NODISCARD struct jwks *jwks_new (struct hub *hub, const struct jwks_port *port);
void jwks_destroy (struct jwks **self_p);

/* The first fetch. */
void jwks_start (struct jwks *self);

/* The keys that are configured beside the URL (shared). From now on tokens are checked with these and the fetched. */
void jwks_set_local (struct jwks *self, const struct keys *local);

/* A fetch has ended. Takes the keys from the answer. */
void jwks_done (struct jwks *self, struct jwks_answer *answer);

/* A token was refused: is that the last word? When it names a kid that no key has, the set is fetched, if that was not
 * done for this reason within jwks-kid-refresh-s. While the set is being fetched, cannot be fetched or is not there,
 * the refusal becomes AUTH_KEYS_UNAVAILABLE. `self` NULL: there is no jwks-url. */
void jwks_review (struct jwks *self, struct jwt_result *result);

/* Why its keys cannot be had (static text); NULL when they can, or when `self` is NULL. */
const char *jwks_fault (const struct jwks *self);

#endif
