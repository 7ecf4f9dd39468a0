#include "edge/tls_identity.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <time.h>

static const unsigned char ALPN_HTTP_1_1[] = "\x08http/1.1";

bool tls_is_configured (const struct config *config)
{
    return config->tls_cert_file[0] != '\0';
}

/* A client that offers protocols, but not this one, gets the alert no_application_protocol: it would go on in one that
 * nobody here speaks. */
static int choose_protocol (UNUSED SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in,
                            unsigned in_n, UNUSED void *arg)
{
    int found =
        SSL_select_next_proto ((unsigned char **) out, out_n, ALPN_HTTP_1_1, sizeof ALPN_HTTP_1_1 - 1, in, in_n);
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Nobody is there to type it. */
static int no_passphrase (UNUSED char *buffer, UNUSED int n, UNUSED int writing, UNUSED void *arg)
{
    return 0;
}

/* Without SSL_MODE_AUTO_RETRY a call ends after each message that carries no data, so that a peer who sends nothing but
 * key updates has one turn of the loop at a time. A close without close_notify is an end like any other: HTTP heads and
 * WebSocket frames tell themselves where they end. */
static void set_rules (SSL_CTX *context, const struct config *config)
{
    bool only_13 = strcmp (config->tls_min_version, "1.3") == 0;
    SSL_CTX_set_min_proto_version (context, only_13 ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_options (context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode (context,
                      SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_clear_mode (context, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_read_ahead (context, 1);                          /* a record costs one read(2), not two */
    SSL_CTX_set_session_cache_mode (context, SSL_SESS_CACHE_OFF); /* tickets keep what there is to keep at the client */
    SSL_CTX_set_num_tickets (context, 1);
    SSL_CTX_set_alpn_select_cb (context, choose_protocol, NULL);
    SSL_CTX_set_default_passwd_cb (context, no_passphrase);
}

static bool refuse (const char *option, const char *file, const char *what, struct buf *error)
{
    const char *why = ERR_reason_error_string (ERR_peek_last_error ());
    buf_printf (error, "option %s: %s %s%s%s\n", option, file, what, why ? ": " : "", why ? why : "");
    return false;
}

static bool use_files (SSL_CTX *context, const struct config *config, struct buf *error)
{
    const char *cert = config->tls_cert_file, *key = config->tls_key_file;
    if (SSL_CTX_use_certificate_chain_file (context, cert) != 1)
        return refuse ("tls-cert-file", cert, "holds no certificate chain in PEM that can be used", error);
    /* A key that does not belong to the certificate fails here already. */
    if (SSL_CTX_use_PrivateKey_file (context, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key (context) != 1)
        return refuse ("tls-key-file", key, "holds no private key in PEM that fits the certificate in tls-cert-file",
                       error);
    return true;
}

static int64_t expiry_of (const SSL_CTX *context)
{
    struct tm tm;
    const X509 *leaf = SSL_CTX_get0_certificate (context);
    return leaf && ASN1_TIME_to_tm (X509_get0_notAfter (leaf), &tm) == 1 ? timegm (&tm) : 0;
}

bool tls_identity_load (struct tls_identity *self, const struct config *config, struct buf *error)
{
    *self = (struct tls_identity){0};
    file_watch_add (&self->files, config->tls_cert_file);
    file_watch_add (&self->files, config->tls_key_file);
    ERR_clear_error ();
    SSL_CTX *context = SSL_CTX_new (TLS_server_method ());
    if (context)
        set_rules (context, config);
    if (!context)
        buf_puts (error, "option tls-cert-file: out of memory\n");
    else if (use_files (context, config, error)) {
        self->expires = expiry_of (context);
        self->context = context;
    } else
        SSL_CTX_free (context);
    ERR_clear_error ();
    return self->context != NULL;
}

void tls_identity_fini (struct tls_identity *self)
{
    SSL_CTX_free (self->context);
    self->context = NULL;
}
