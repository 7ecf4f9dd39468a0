/* Where a client connects to, and where it comes back to: the URL, and the cursor that goes into it (proto/README.md,
 * "Offsets, history, epoch"). */
#ifndef CMD_WS_URL_H
#define CMD_WS_URL_H

#include "base/buf.h"

struct ws_url {
    bool tls;
    char host[256]; /* without the brackets of IPv6 */
    char port[6];
    char authority[272]; /* HOST or HOST:PORT as it stands there */
    const char *slash;   /* "/" when `path` does not begin with one, else "" */
    const char *path;    /* borrowed from the text: path and query */
};

/* ws://HOST[:PORT][/PATH][?QUERY], or wss://. NULL when it is good; else what is wrong with it. */
NODISCARD const char *ws_url_parse (struct ws_url *self, const char *text);

struct cursor {
    char *epoch; /* owned; NULL: there is no cursor */
    uint64_t offset;
};

/* False when memory is out. */
NODISCARD bool cursor_set (struct cursor *self, const char *epoch, uint64_t offset);
void cursor_fini (struct cursor *self);

/* Append `path` (or a whole URL) with the cursor, if there is one, in its query. */
void cursor_put_path (const struct cursor *self, const char *path, struct buf *out);

/* Read it from a file; one that is not there holds none. NULL when that went well; else why not. */
NODISCARD const char *cursor_load (struct cursor *self, const char *file);

/* Put it in the place of what the file holds. False with errno. */
NODISCARD bool cursor_save (const struct cursor *self, const char *file);

#endif
