#include "token.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <time.h>

static void put_base64url (struct buf *out, const void *bytes, size_t n)
{
    char text[512];
    CHECK (n < sizeof text * 3 / 4);
    int length = EVP_EncodeBlock ((unsigned char *) text, bytes, (int) n);
    for (int i = 0; i < length && text[i] != '='; i++)
        buf_putc (out, text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]);
}

void token_write (struct buf *out, const char *user, const char *secret)
{
    static const char header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    char claims[256];
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_n = 0;
    long now = (long) time (NULL);
    size_t start = out->n;
    int n = snprintf (claims, sizeof claims, "{\"sub\":\"%s\",\"iat\":%ld,\"exp\":%ld}", user, now, now + 3600);
    put_base64url (out, header, sizeof header - 1);
    buf_putc (out, '.');
    put_base64url (out, claims, (size_t) n);
    CHECK (HMAC (EVP_sha256 (), secret, (int) strlen (secret), out->p + start, out->n - start, mac, &mac_n));
    buf_putc (out, '.');
    put_base64url (out, mac, mac_n);
}
