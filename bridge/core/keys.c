#include "core/keys.h"
#include "base/log.h"
#include "core/jwk.h"
#include "core/pkey.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#define FILE_MAX_BYTES (1024 * 1024)

/* A set in the making. */
struct loader {
    struct keys *keys;
    uint32_t allowed; /* by jwt-algorithms */
    bool production;
    bool public_only; /* secrets are skipped */
    bool any_source;
    struct buf *error;
    struct buf *skipped;
};

static bool given (const char *text)
{
    return text && *text;
}

static bool out_of_memory (struct loader *self)
{
    buf_puts (self->error, "out of memory");
    return false;
}

static bool unknown_algorithm (struct loader *self, struct slice word)
{
    buf_printf (self->error, "jwt-algorithms: %.*s: must be of", (int) word.n, word.p);
    for (int i = 0; i < JWT_ALG_COUNT; i++)
        buf_printf (self->error, "%s %s", i ? "," : "", jwt_alg_name ((enum jwt_alg) i));
    return false;
}

static bool allow (struct loader *self, const char *list)
{
    self->allowed = given (list) ? 0 : (UINT32_C (1) << JWT_ALG_COUNT) - 1;
    if (!given (list))
        return true;
    do {
        size_t n = strcspn (list, ",");
        struct slice word = slice_trim (slice_of (list, n));
        int alg = jwt_alg_of (word);
        if (alg < 0)
            return unknown_algorithm (self, word);
        self->allowed |= UINT32_C (1) << alg;
        list += n;
    } while (*list++ == ',');
    return true;
}

static bool start (struct loader *self, const char *algorithms)
{
    self->keys = calloc (1, sizeof *self->keys);
    if (!self->keys)
        return out_of_memory (self);
    bool ok = allow (self, algorithms);
    self->keys->allowed = self->allowed;
    return ok;
}

/* Takes what the key holds, also on failure. */
static bool add_key (struct loader *self, struct key *key, const char *where)
{
    struct keys *keys = self->keys;
    key->algorithms &= self->allowed;
    if (!key->algorithms) {
        buf_printf (self->skipped, "%s: jwt-algorithms allows nothing that this key serves\n", where);
        key_fini (key);
        return true;
    }
    struct key *array = keys->n < KEYS_MAX ? realloc (keys->key, (keys->n + 1) * sizeof *key) : NULL;
    if (!array) {
        buf_printf (self->error, "%s: more than %d keys", where, KEYS_MAX);
        key_fini (key);
        return false;
    }
    keys->key = array;
    keys->key[keys->n++] = *key;
    keys->algorithms |= key->algorithms;
    return true;
}

/* The whole file; NULL-safe to wipe. The limit keeps /dev/zero and the like out. */
static bool read_file (struct loader *self, const char *where, const char *path, struct buf *out)
{
    buf_init (out, 0);
    errno = 0;
    FILE *file = fopen (path, "re");
    size_t got = file ? 1 : 0;
    while (got && out->n <= FILE_MAX_BYTES && buf_reserve (out, 4096)) {
        got = fread (out->p + out->n, 1, 4096, file);
        out->n += got;
    }
    bool ok = file && !ferror (file) && !out->failed && out->n <= FILE_MAX_BYTES;
    if (!ok)
        buf_printf (self->error, "%s: %s", where, errno ? strerror (errno) : "larger than 1 MiB");
    if (file)
        fclose (file);
    return ok;
}

static void wipe (struct buf *self)
{
    if (self->p)
        OPENSSL_cleanse (self->p, self->cap);
    buf_fini (self);
}

static bool refuse (struct loader *self, const char *where, const char *why)
{
    buf_printf (self->error, "%s: %s", where, why);
    return false;
}

static bool add_secret (struct loader *self, const char *where, struct slice secret)
{
    if (secret.n == 0)
        return refuse (self, where, "the secret is empty");
    /* With a public key as HMAC secret anybody could sign. */
    if (memmem (secret.p, secret.n, "-----BEGIN ", 11))
        return refuse (self, where, "looks like a PEM public key; use jwt-public-key-file");
    if (self->production && secret.n < HMAC_MIN_BYTES) {
        buf_printf (self->error, "%s: the secret has %zu bytes; production wants %d or more (openssl rand -hex 32)",
                    where, secret.n, HMAC_MIN_BYTES);
        return false;
    }
    struct key key = {.algorithms = HMAC_ALGORITHMS, .secret = malloc (secret.n), .secret_n = secret.n};
    if (!key.secret)
        return out_of_memory (self);
    memcpy (key.secret, secret.p, secret.n);
    return add_key (self, &key, where);
}

static bool add_secret_text (struct loader *self, const char *where, struct slice text)
{
    if (text.n && text.p[text.n - 1] == '\n')
        text.n -= text.n > 1 && text.p[text.n - 2] == '\r' ? 2 : 1;
    return add_secret (self, where, text);
}

static bool is_line_end (struct slice text)
{
    return slice_is (text, "\n") || slice_is (text, "\r\n");
}

/* No rotation is going on: the file is empty. */
static bool add_previous_text (struct loader *self, const char *where, struct slice text)
{
    return text.n == 0 || is_line_end (text) || add_secret_text (self, where, text);
}

static EVP_PKEY *certificate_pkey (const unsigned char *der, long n)
{
    X509 *cert = d2i_X509 (NULL, &der, n);
    EVP_PKEY *pkey = cert ? X509_get_pubkey (cert) : NULL;
    X509_free (cert);
    return pkey;
}

static const char *read_pem_block (struct key *key, const char *name, const unsigned char *der, long n)
{
    if (strstr (name, "PRIVATE KEY"))
        return "holds a private key; give the public key only";
    if (strcmp (name, PEM_STRING_PUBLIC) == 0)
        key->pkey = d2i_PUBKEY (NULL, &der, n);
    else if (strcmp (name, PEM_STRING_RSA_PUBLIC) == 0)
        key->pkey = d2i_PublicKey (EVP_PKEY_RSA, NULL, &der, n);
    else if (strcmp (name, PEM_STRING_X509) == 0)
        key->pkey = certificate_pkey (der, n);
    else
        return "holds a PEM block that is neither PUBLIC KEY nor CERTIFICATE";
    return key->pkey ? pkey_judge (key->pkey, &key->algorithms) : "holds a PEM block that cannot be read";
}

/* One block; *more is false behind the last. */
static bool add_pem_block (struct loader *self, const char *where, BIO *bio, bool *more)
{
    char *name = NULL, *header = NULL;
    unsigned char *der = NULL;
    long n = 0;
    struct key key = {0};
    ERR_clear_error ();
    *more = PEM_read_bio (bio, &name, &header, &der, &n) == 1;
    bool at_end = !*more && ERR_GET_REASON (ERR_peek_last_error ()) == PEM_R_NO_START_LINE;
    const char *why = "holds a PEM block that cannot be read";
    if (*more)
        why = read_pem_block (&key, name, der, n);
    OPENSSL_free (name);
    OPENSSL_free (header);
    OPENSSL_clear_free (der, (size_t) n);
    if (at_end)
        return true;
    if (!why)
        return add_key (self, &key, where);
    key_fini (&key);
    return refuse (self, where, why);
}

static bool add_pem (struct loader *self, const char *where, struct slice text)
{
    BIO *bio = BIO_new_mem_buf (text.p ? text.p : "", (int) text.n);
    if (!bio)
        return out_of_memory (self);
    size_t blocks = 0;
    bool more, ok;
    do {
        ok = add_pem_block (self, where, bio, &more);
        blocks += more;
    } while (ok && more);
    BIO_free (bio);
    return ok && blocks == 0 ? refuse (self, where, "no PEM public key in it") : ok;
}

/* Names a key for the operator; a kid comes from outside, so it is shown only when it is harmless. */
static void skip_jwk (struct loader *self, const char *where, size_t index, const json_t *jwk, const char *why)
{
    const char *kid = json_string_value (json_object_get (jwk, "kid"));
    buf_printf (self->skipped, "%s: key %zu", where, index + 1);
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_.:@";
    if (kid && *kid && strlen (kid) <= 128 && strspn (kid, plain) == strlen (kid))
        buf_printf (self->skipped, " (kid %s)", kid);
    buf_printf (self->skipped, ": %s\n", why);
}

static bool add_jwk_list (struct loader *self, const char *where, const json_t *list)
{
    size_t i;
    const json_t *jwk;
    if (!json_is_array (list))
        return refuse (self, where, "not a JSON Web Key Set: no array `keys`");
    json_array_foreach (list, i, jwk)
    {
        struct key key;
        const char *why = jwk_read (&key, jwk);
        if (!why && self->public_only && key.secret)
            why = "a secret does not belong where others can read it";
        if (why) {
            key_fini (&key);
            skip_jwk (self, where, i, jwk, why);
        } else if (!add_key (self, &key, where)) {
            return false;
        }
    }
    return true;
}

static bool add_jwks (struct loader *self, const char *where, struct slice text)
{
    json_error_t fault;
    json_t *root = json_loadb (text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES, &fault);
    bool ok = root != NULL;
    if (ok && memchr (text.p, '\0', text.n)) /* jansson steps over one behind a number or literal */
        ok = refuse (self, where, "not text: there is a NUL in it");
    ok = ok && add_jwk_list (self, where, json_object_get (root, "keys"));
    if (!root) /* jansson's own text quotes the file, which may hold a secret */
        buf_printf (self->error, "%s: no valid JSON at line %d, column %d", where, fault.line, fault.column);
    json_decref (root);
    return ok;
}

typedef bool add_fn (struct loader *self, const char *where, struct slice text);

static bool add_file (struct loader *self, const char *option, const char *path, add_fn *add)
{
    if (!given (path))
        return true;
    self->any_source = true;
    struct buf where, text;
    buf_init (&where, 0);
    buf_printf (&where, "%s: %s", option, path);
    char *name = buf_steal_str (&where);
    if (!name)
        return out_of_memory (self);
    bool ok = read_file (self, name, path, &text) && add (self, name, buf_slice (&text));
    wipe (&text);
    free (name);
    return ok;
}

static bool add_sources (struct loader *self, const struct keys_sources *sources)
{
    self->any_source = given (sources->secret);
    return (!given (sources->secret) || add_secret (self, "jwt-secret", slice_str (sources->secret))) &&
           add_file (self, "jwt-secret-file", sources->secret_file, add_secret_text) &&
           add_file (self, "jwt-secret-previous-file", sources->previous_secret_file, add_previous_text) &&
           add_file (self, "jwt-public-key-file", sources->public_key_file, add_pem) &&
           add_file (self, "jwks-file", sources->jwks_file, add_jwks);
}

/* Sources without one usable key are a fault: every token would be refused. */
static bool finish (struct loader *self, const struct keys_sources *sources)
{
    if (!self->any_source || self->keys->n)
        return true;
    if (given (sources->algorithms))
        buf_printf (self->error, "jwt-algorithms: %s: none of the keys can be used with these", sources->algorithms);
    else
        buf_printf (self->error, "jwks-file: %s: no usable key in it", sources->jwks_file);
    return false;
}

struct keys *keys_load (const struct keys_sources *sources, struct buf *error, struct buf *skipped)
{
    struct loader self = {.production = sources->production, .error = error, .skipped = skipped};
    if (!start (&self, sources->algorithms) || !add_sources (&self, sources) || !finish (&self, sources))
        keys_destroy (&self.keys);
    ERR_clear_error (); /* what is left there would confuse TLS */
    return self.keys;
}

void keys_log_skipped (const struct buf *skipped)
{
    struct slice rest = buf_slice (skipped), line;
    while (slice_cut (&rest, '\n', &line))
        LOG (KEY_SKIPPED, NULL, KV_SL ("why", line));
}

struct keys_sources keys_sources_of (const struct config *config)
{
    return (struct keys_sources){.secret = config->jwt_secret,
                                 .secret_file = config->jwt_secret_file,
                                 .previous_secret_file = config->jwt_secret_previous_file,
                                 .public_key_file = config->jwt_public_key_file,
                                 .jwks_file = config->jwks_file,
                                 .algorithms = config->jwt_algorithms,
                                 .production = config_is_production (config)};
}

struct keys *keys_parse_jwks (struct slice text, const char *algorithms, struct buf *error, struct buf *skipped)
{
    struct loader self = {.error = error, .skipped = skipped};
    if (!start (&self, algorithms) || !add_jwks (&self, "jwks", text))
        keys_destroy (&self.keys);
    ERR_clear_error ();
    return self.keys;
}

struct keys *keys_parse_fetched (struct slice text, struct buf *error, struct buf *skipped)
{
    struct loader self = {.error = error, .skipped = skipped, .public_only = true};
    if (!start (&self, "") || !add_jwks (&self, "jwks-url", text))
        keys_destroy (&self.keys);
    ERR_clear_error ();
    return self.keys;
}

/* Shares the key itself, which is counted, and copies the rest. */
static bool copy_key (struct key *to, const struct key *from)
{
    *to = (struct key){.algorithms = from->algorithms, .secret_n = from->secret_n};
    to->kid = from->kid ? strdup (from->kid) : NULL;
    to->secret = from->secret ? malloc (from->secret_n) : NULL;
    if (to->secret)
        memcpy (to->secret, from->secret, from->secret_n);
    if (from->pkey && EVP_PKEY_up_ref (from->pkey))
        to->pkey = from->pkey;
    return !from->kid == !to->kid && !from->secret == !to->secret && from->pkey == to->pkey;
}

static bool copy_all (struct keys *to, const struct keys *from)
{
    for (size_t i = 0; i < from->n; i++) {
        if (!(from->key[i].algorithms & to->allowed))
            continue;
        struct key *key = &to->key[to->n++];
        if (!copy_key (key, &from->key[i]))
            return false;
        key->algorithms &= to->allowed;
        to->algorithms |= key->algorithms;
    }
    return true;
}

struct keys *keys_union (const struct keys *local, const struct keys *fetched)
{
    struct keys *self = calloc (1, sizeof *self);
    if (!self)
        return NULL;
    self->allowed = local->allowed;
    self->key = calloc (local->n + fetched->n + 1, sizeof *self->key);
    if (!self->key || !copy_all (self, local) || !copy_all (self, fetched))
        keys_destroy (&self);
    return self;
}

bool keys_have_kid (const struct keys *self, const char *kid)
{
    for (size_t i = 0; i < self->n; i++)
        if (self->key[i].kid && strcmp (self->key[i].kid, kid) == 0)
            return true;
    return false;
}

void keys_destroy (struct keys **self_p)
{
    struct keys *self = *self_p;
    *self_p = NULL;
    if (!self)
        return;
    for (size_t i = 0; i < self->n; i++)
        key_fini (&self->key[i]);
    free (self->key);
    free (self);
}
