#include "core/mint.h"
#include "base/clock.h"
#include "base/config.h"
#include "core/ident.h"
#include "core/jwt.h"

const struct key *mint_key (const struct keys *keys)
{
    for (size_t i = 0; keys && i < keys->n; i++)
        if (keys->key[i].secret && keys->key[i].algorithms & UINT32_C (1) << JWT_HS256)
            return &keys->key[i];
    return NULL;
}

/* Later members replace earlier ones, so that the user claim wins whatever its name. */
static json_t *make_claims (const struct config *config, struct slice user, int64_t ttl_s)
{
    char jti[33];
    int64_t now = (int64_t) clock_wall ();
    ident_hex (jti, 16);
    json_t *claims =
        json_pack ("{s:I, s:I, s:s}", "iat", (json_int_t) now, "exp", (json_int_t) (now + ttl_s), "jti", jti);
    int failed = !claims;
    if (*config->jwt_issuer)
        failed |= json_object_set_new (claims, "iss", json_string (config->jwt_issuer));
    if (*config->jwt_audience)
        failed |= json_object_set_new (claims, "aud", json_string (config->jwt_audience));
    failed |= json_object_set_new (claims, config->jwt_user_claim, json_stringn (user.p, user.n));
    if (!failed)
        return claims;
    json_decref (claims);
    return NULL;
}

char *mint_token (const struct config *config, const struct key *key, struct slice user, int64_t ttl_s)
{
    json_t *claims = make_claims (config, user, ttl_s);
    char *token = claims ? jwt_sign_hs256 (claims, slice_of (key->secret, key->secret_n)) : NULL;
    json_decref (claims);
    return token;
}
