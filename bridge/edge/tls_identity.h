/* What the public port shows of itself in TLS: certificate chain and private key, and the rules of the handshake. */
#ifndef EDGE_TLS_IDENTITY_H
#define EDGE_TLS_IDENTITY_H

#include "base/config.h"
#include "base/file_watch.h"

#include <openssl/ssl.h>

struct tls_identity {
    SSL_CTX *context; /* owned; NULL: none */
    int64_t expires;  /* the certificate's end, Unix time */
    struct file_watch files;
};

/* Does the configuration ask for TLS? */
bool tls_is_configured (const struct config *config);

/* Read the pair that `config` names. False with a line in `error` when it cannot be used; `self` then holds no context.
 */
NODISCARD bool tls_identity_load (struct tls_identity *self, const struct config *config, struct buf *error);

/* Connections that were made with it live on. */
void tls_identity_fini (struct tls_identity *self);

#endif
