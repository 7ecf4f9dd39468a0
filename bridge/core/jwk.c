#include "core/jwk.h"
#include "core/base64url.h"
#include "core/pkey.h"

static const char *const broken = "a member is missing or is no base64url";

/* A member in base64url, decoded; freed with slice_free(). False when it is missing, empty or malformed. */
static bool get_bytes (const json_t *jwk, const char *name, struct slice *bytes)
{
    const json_t *value = json_object_get (jwk, name);
    *bytes = slice_of (NULL, 0);
    if (json_is_string (value))
        bytes->p = base64url_decode (slice_str (json_string_value (value)), &bytes->n);
    return bytes->p && bytes->n > 0;
}

static void slice_free (struct slice bytes)
{
    free ((char *) bytes.p);
}

static const char *judge (struct key *key)
{
    return key->pkey ? pkey_judge (key->pkey, &key->algorithms) : "the public key is not valid";
}

static const char *read_rsa (struct key *key, const json_t *jwk)
{
    struct slice n, e = {0};
    bool ok = get_bytes (jwk, "n", &n) && get_bytes (jwk, "e", &e);
    if (ok)
        key->pkey = pkey_new_rsa (n, e);
    slice_free (n);
    slice_free (e);
    return ok ? judge (key) : broken;
}

static const char *read_ec (struct key *key, const json_t *jwk)
{
    const char *crv = json_string_value (json_object_get (jwk, "crv"));
    struct slice x, y = {0};
    bool ok = get_bytes (jwk, "x", &x) && get_bytes (jwk, "y", &y) && crv;
    if (ok)
        key->pkey = pkey_new_ec (crv, x, y);
    slice_free (x);
    slice_free (y);
    return ok ? judge (key) : broken;
}

static const char *read_okp (struct key *key, const json_t *jwk)
{
    const char *crv = json_string_value (json_object_get (jwk, "crv"));
    if (!crv || strcmp (crv, "Ed25519") != 0)
        return "crv of an OKP key must be Ed25519";
    struct slice x;
    bool ok = get_bytes (jwk, "x", &x);
    if (ok)
        key->pkey = pkey_new_ed25519 (x);
    slice_free (x);
    return ok ? judge (key) : broken;
}

static const char *read_oct (struct key *key, const json_t *jwk)
{
    struct slice k;
    bool ok = get_bytes (jwk, "k", &k);
    key->secret = (uint8_t *) k.p;
    key->secret_n = k.n;
    key->algorithms = HMAC_ALGORITHMS;
    if (!ok)
        return broken;
    return k.n < HMAC_MIN_BYTES ? "an oct key must have 32 bytes or more" : NULL;
}

static const char *read_kty (struct key *key, const json_t *jwk)
{
    static const struct {
        const char *kty;
        const char *(*read) (struct key *, const json_t *);
    } kinds[] = {{"RSA", read_rsa}, {"EC", read_ec}, {"OKP", read_okp}, {"oct", read_oct}};

    const char *kty = json_string_value (json_object_get (jwk, "kty"));
    for (size_t i = 0; kty && i < COUNT_OF (kinds); i++)
        if (strcmp (kinds[i].kty, kty) == 0)
            return kinds[i].read (key, jwk);
    return "kty must be RSA, EC, OKP or oct";
}

/* RFC 7518: all of them stand in private keys only. A private key here is a leak, not a key to trust. */
static bool is_private (const json_t *jwk)
{
    static const char *const members[] = {"d", "p", "q", "dp", "dq", "qi", "oth"};
    for (size_t i = 0; i < COUNT_OF (members); i++)
        if (json_object_get (jwk, members[i]))
            return true;
    return false;
}

static bool may_verify (const json_t *key_ops)
{
    size_t i;
    const json_t *op;
    json_array_foreach (key_ops, i, op)
    {
        if (json_is_string (op) && strcmp (json_string_value (op), "verify") == 0)
            return true;
    }
    return false;
}

static const char *judge_purpose (const json_t *jwk)
{
    const json_t *use = json_object_get (jwk, "use");
    const json_t *key_ops = json_object_get (jwk, "key_ops");
    if (!json_is_object (jwk))
        return "not an object";
    if (is_private (jwk))
        return "private key";
    if (use && (!json_is_string (use) || strcmp (json_string_value (use), "sig") != 0))
        return "use is not sig";
    return key_ops && !may_verify (key_ops) ? "key_ops has no verify" : NULL;
}

static const char *narrow (struct key *key, const json_t *alg)
{
    if (!alg)
        return NULL;
    int found = jwt_alg_of (slice_str (json_string_value (alg)));
    key->algorithms &= found < 0 ? 0 : UINT32_C (1) << found;
    return key->algorithms ? NULL : "alg is unknown or does not fit the key";
}

static const char *copy_kid (struct key *key, const json_t *kid)
{
    if (!kid)
        return NULL;
    if (!json_is_string (kid))
        return "kid is not a string";
    key->kid = strdup (json_string_value (kid));
    return key->kid ? NULL : "out of memory";
}

const char *jwk_read (struct key *key, const json_t *jwk)
{
    *key = (struct key){0};
    const char *why = judge_purpose (jwk);
    if (!why)
        why = read_kty (key, jwk);
    if (!why)
        why = narrow (key, json_object_get (jwk, "alg"));
    if (!why)
        why = copy_kid (key, json_object_get (jwk, "kid"));
    return why;
}
