#include "core/key.h"

#include <openssl/crypto.h>

static const char *const alg_names[JWT_ALG_COUNT] = {
    [JWT_HS256] = "HS256", [JWT_HS384] = "HS384", [JWT_HS512] = "HS512", [JWT_RS256] = "RS256", [JWT_RS384] = "RS384",
    [JWT_RS512] = "RS512", [JWT_PS256] = "PS256", [JWT_PS384] = "PS384", [JWT_PS512] = "PS512", [JWT_ES256] = "ES256",
    [JWT_ES384] = "ES384", [JWT_ES512] = "ES512", [JWT_EdDSA] = "EdDSA",
};

int jwt_alg_of (struct slice name)
{
    for (int i = 0; i < JWT_ALG_COUNT; i++)
        if (slice_is (name, alg_names[i]))
            return i;
    return -1;
}

const char *jwt_alg_name (enum jwt_alg alg)
{
    CHECK (alg < JWT_ALG_COUNT);
    return alg_names[alg];
}

void key_fini (struct key *key)
{
    if (key->secret)
        OPENSSL_cleanse (key->secret, key->secret_n);
    free (key->secret);
    free (key->kid);
    EVP_PKEY_free (key->pkey);
    *key = (struct key){0};
}
