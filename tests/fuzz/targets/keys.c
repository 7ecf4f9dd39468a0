/* Keys of every source (core/keys.c, jwk.c, pkey.c): JSON Web Key Sets, PEM files, secret files, lists of algorithms. A
 * set that is taken holds only keys that serve something, and what is told of the others is text in lines.
 *
 * The first byte says what follows: a key set, a PEM file, a secret file, or a list of algorithms (a piece) and a key
 * set. */
#include "base/utf8.h"
#include "core/keys.h"
#include "input.h"

#include <openssl/err.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALL_ALGORITHMS ((UINT32_C (1) << JWT_ALG_COUNT) - 1)
#define RSA_ALGORITHMS                                                                                                 \
    (UINT32_C (1) << JWT_RS256 | UINT32_C (1) << JWT_RS384 | UINT32_C (1) << JWT_RS512 | UINT32_C (1) << JWT_PS256 |   \
     UINT32_C (1) << JWT_PS384 | UINT32_C (1) << JWT_PS512)

/* HMAC and the others never share a key; RSA keys are of a decent size. */
static void check_key (const struct key *key)
{
    CHECK (key->algorithms && !(key->algorithms & ~ALL_ALGORITHMS));
    CHECK ((key->pkey == NULL) == (key->secret != NULL));
    if (key->secret)
        CHECK (key->secret_n && !(key->algorithms & ~HMAC_ALGORITHMS));
    else
        CHECK (!(key->algorithms & HMAC_ALGORITHMS));
    if (key->algorithms & RSA_ALGORITHMS)
        CHECK (EVP_PKEY_get_bits (key->pkey) >= 2048 && EVP_PKEY_get_bits (key->pkey) <= 8192);
}

/* What an operator reads. */
static void check_text (const struct buf *text)
{
    CHECK (utf8_valid (buf_slice (text)));
    for (size_t i = 0; i < text->n; i++)
        CHECK (text->p[i] == '\n' || (text->p[i] >= ' ' && text->p[i] != 127));
}

/* Takes all of them. */
static void check_keys (struct keys *keys, struct buf *error, struct buf *skipped)
{
    uint32_t algorithms = 0;
    CHECK ((keys == NULL) == (error->n > 0));
    CHECK (ERR_peek_error () == 0);
    check_text (skipped);
    for (size_t i = 0; keys && i < keys->n; i++) {
        check_key (&keys->key[i]);
        algorithms |= keys->key[i].algorithms;
    }
    CHECK (!keys || keys->algorithms == algorithms);
    keys_destroy (&keys);
    buf_fini (error);
    buf_fini (skipped);
}

static void try_jwks (const char *algorithms, struct slice text)
{
    struct buf error, skipped;
    buf_init (&error, 0);
    buf_init (&skipped, 0);
    struct slice exact = piece_of (text);
    struct keys *keys = keys_parse_jwks (exact, algorithms, &error, &skipped);
    piece_free (exact);
    check_keys (keys, &error, &skipped);
}

static void try_file (bool pem, struct slice content)
{
    struct buf error, skipped;
    char path[64];
    int fd = memfd_create ("keys", MFD_CLOEXEC);
    CHECK (fd >= 0 && write (fd, content.p, content.n) == (ssize_t) content.n);
    snprintf (path, sizeof path, "/proc/self/fd/%d", fd);
    buf_init (&error, 0);
    buf_init (&skipped, 0);
    struct keys_sources sources = {.public_key_file = pem ? path : NULL, .secret_file = pem ? NULL : path};
    check_keys (keys_load (&sources, &error, &skipped), &error, &skipped);
    close (fd);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    struct slice rest = slice_of (data, size);
    switch (input_byte (&rest) & 3) {
    case 0:
        try_jwks ("", rest);
        break;
    case 1:
        try_file (true, rest);
        break;
    case 2:
        try_file (false, rest);
        break;
    default: {
        struct slice piece = input_piece (&rest);
        char *algorithms = text_of (piece);
        try_jwks (algorithms, rest);
        free (algorithms);
        piece_free (piece);
    }
    }
    return 0;
}
