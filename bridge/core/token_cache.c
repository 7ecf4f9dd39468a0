#include "core/token_cache.h"
#include "base/metrics.h"

#include <openssl/err.h>

static void release (struct token_cache *self, struct token_place *place)
{
    if (!place->payload)
        return;
    free (place->payload);
    place->payload = NULL;
    self->kept--;
}

static void release_past (struct token_cache *self, struct token_place *place, int64_t now)
{
    if (now >= place->until)
        release (self, place);
}

static struct token_place *place_of (struct token_cache *self, const struct token_hash *hash)
{
    return &self->places[(hash->bytes[0] | (size_t) hash->bytes[1] << 8) % TOKEN_CACHE_PLACES];
}

void token_cache_init (struct token_cache *self)
{
    memset (self, 0, sizeof *self);
}

void token_cache_fini (struct token_cache *self)
{
    token_cache_clear (self);
    EVP_MD_CTX_free (self->digest);
    self->digest = NULL;
}

void token_cache_clear (struct token_cache *self)
{
    for (size_t i = 0; i < TOKEN_CACHE_PLACES; i++)
        release (self, &self->places[i]);
}

/* To look the digest up costs more than to compute it. */
static EVP_MD_CTX *digest (struct token_cache *self)
{
    if (self->digest)
        return self->digest;
    EVP_MD *md = EVP_MD_fetch (NULL, "SHA256", NULL);
    EVP_MD_CTX *context = md ? EVP_MD_CTX_new () : NULL;
    if (context && EVP_DigestInit_ex2 (context, md, NULL))
        self->digest = context;
    else
        EVP_MD_CTX_free (context);
    EVP_MD_free (md); /* the context has a reference of its own */
    return self->digest;
}

bool token_cache_hash (struct token_cache *self, struct slice token, struct token_hash *hash)
{
    if (!self || token.n > TOKEN_CACHE_TOKEN_BYTES)
        return false;
    EVP_MD_CTX *context = digest (self);
    bool ok = context && EVP_DigestInit_ex2 (context, NULL, NULL) && EVP_DigestUpdate (context, token.p, token.n) &&
              EVP_DigestFinal_ex (context, hash->bytes, NULL);
    if (!ok)
        ERR_clear_error (); /* what is left there would confuse TLS on this thread */
    return ok;
}

struct slice token_cache_find (struct token_cache *self, const struct token_hash *hash, int64_t now)
{
    struct token_place *place = place_of (self, hash);
    release_past (self, place, now);
    if (!place->payload || memcmp (&place->hash, hash, sizeof *hash) != 0)
        return slice_of (NULL, 0);
    metric_inc (M_TOKEN_CACHE_HITS, 0);
    return slice_of (place->payload, place->n);
}

void token_cache_keep (struct token_cache *self, const struct token_hash *hash, char *payload, size_t n, int64_t now)
{
    struct token_place *place = place_of (self, hash);
    if (n > TOKEN_CACHE_PAYLOAD_BYTES) {
        free (payload);
        return;
    }
    release (self, place);
    *place = (struct token_place){.hash = *hash, .payload = payload, .n = n, .until = now + TOKEN_CACHE_TTL};
    self->kept++;
}

void token_cache_expire (struct token_cache *self, int64_t now)
{
    for (size_t i = 0; i < TOKEN_CACHE_EXPIRE_BATCH && self->kept; i++) {
        release_past (self, &self->places[self->next], now);
        self->next = (self->next + 1) % TOKEN_CACHE_PLACES;
    }
}
