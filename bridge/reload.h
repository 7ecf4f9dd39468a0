/* Keys, certificates and options anew, under live connections. All or nothing: what is faulty leaves everything as it
 * was, with a log line and a count.
 *
 *   SIGHUP             -> reload_all    configuration, keys, certificate
 *   a key file changed -> on_look       keys
 *
 * Certificates that change by themselves are edge/tls.c's, keys by URL core/jwks.c's. */
#ifndef RELOAD_H
#define RELOAD_H

#include "base/config.h"
#include "base/file_watch.h"
#include "base/wheel.h"
#include "core/keys.h"

struct hub;
struct tls;

/* Reads the configuration again: NULL with lines in `error` when it is faulty. */
typedef struct config *reload_fn (void *arg, struct buf *error);

struct reload {
    struct hub *hub;       /* shared; NULL until reload_start */
    struct config *config; /* shared; those in force */
    struct tls *tls;       /* shared; NULL: the public port is plain */
    struct keys *keys;     /* owned; those that are configured */
    struct file_watch key_files;
    struct timer look;
    reload_fn *load_fn;
    void *load_arg;
};

/* From now on key files are looked at. Takes `keys`, which the hub uses already; `key_files` as reload_read_keys left
 * it. */
void reload_start (struct reload *self, struct hub *hub, struct config *config, struct tls *tls, struct keys *keys,
                   const struct file_watch *key_files);

/* Nothing happens when it was never started. The hub may not use the keys any more. */
void reload_stop (struct reload *self);

void reload_all (struct reload *self);

/* The token keys that `config` names, and in `files` the files that they were read from (borrows the paths); NULL with
 * a line in `error`. Keys that are not used are logged. */
NODISCARD struct keys *reload_read_keys (const struct config *config, struct file_watch *files, struct buf *error);

#endif
