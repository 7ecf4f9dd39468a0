#include "cmd/ws_url.h"

#include <errno.h>
#include <jansson.h>
#include <unistd.h>

/* --- the URL ------------------------------------------------------------------------------------------------- */

static bool take_prefix (const char **text, const char *prefix)
{
    size_t n = strlen (prefix);
    if (strncasecmp (*text, prefix, n) != 0)
        return false;
    *text += n;
    return true;
}

static bool is_port (struct slice s)
{
    unsigned value = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.n > 5 || s.p[i] < '0' || s.p[i] > '9')
            return false;
        value = value * 10 + (unsigned) (s.p[i] - '0');
    }
    return value >= 1 && value <= 65535;
}

static bool is_visible (const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text > '~')
            return false;
    return true;
}

/* HOST, HOST:PORT, [IPV6] or [IPV6]:PORT. */
static bool split_authority (struct ws_url *self, struct slice authority)
{
    bool v6 = authority.n && authority.p[0] == '[';
    const char *end = v6 ? memchr (authority.p, ']', authority.n) : memchr (authority.p, ':', authority.n);
    const char *first = authority.p + v6;
    if (v6 && !end)
        return false;
    struct slice host = slice_of (first, end ? (size_t) (end - first) : authority.n);
    struct slice rest = slice_of (host.p + host.n + v6, authority.n - host.n - (v6 ? 2 : 0));
    if (host.n == 0 || host.n >= sizeof self->host || memchr (host.p, '@', host.n) || (rest.n && rest.p[0] != ':'))
        return false;
    slice_copy (self->host, host);
    self->host[host.n] = '\0';
    snprintf (self->authority, sizeof self->authority, "%.*s", (int) authority.n, authority.p);
    if (rest.n == 0)
        return true;
    rest = slice_of (rest.p + 1, rest.n - 1);
    if (!is_port (rest))
        return false;
    slice_copy (self->port, rest);
    self->port[rest.n] = '\0';
    return true;
}

const char *ws_url_parse (struct ws_url *self, const char *text)
{
    *self = (struct ws_url){.tls = false};
    if (take_prefix (&text, "wss://"))
        self->tls = true;
    else if (!take_prefix (&text, "ws://"))
        return "does not begin with ws:// or wss://";
    if (!is_visible (text))
        return "holds other than visible ASCII characters; write them percent-encoded";
    if (strchr (text, '#'))
        return "has a fragment (#), which a WebSocket's may not have";
    snprintf (self->port, sizeof self->port, "%s", self->tls ? "443" : "80");
    size_t n = strcspn (text, "/?");
    self->path = text + n;
    self->slash = *self->path == '/' ? "" : "/";
    return split_authority (self, slice_of (text, n)) ? NULL : "has no HOST or HOST:PORT (without a user)";
}

/* --- the cursor ---------------------------------------------------------------------------------------------- */

bool cursor_set (struct cursor *self, const char *epoch, uint64_t offset)
{
    if (!self->epoch || strcmp (self->epoch, epoch) != 0) {
        char *copy = strdup (epoch);
        if (!copy)
            return false;
        free (self->epoch);
        self->epoch = copy;
    }
    self->offset = offset;
    return true;
}

void cursor_fini (struct cursor *self)
{
    free (self->epoch);
    self->epoch = NULL;
}

static void put_encoded (struct buf *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char) *text;
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || strchr ("-._~", c);
        buf_printf (out, plain ? "%c" : "%%%02X", c);
    }
}

void cursor_put_path (const struct cursor *self, const char *path, struct buf *out)
{
    buf_puts (out, path);
    if (!self->epoch)
        return;
    buf_puts (out, strchr (path, '?') ? "&epoch=" : "?epoch=");
    put_encoded (out, self->epoch);
    buf_printf (out, "&offset=%llu", (unsigned long long) self->offset);
}

const char *cursor_load (struct cursor *self, const char *file)
{
    json_error_t fault;
    const char *epoch;
    json_int_t offset;
    FILE *in = fopen (file, "re");
    if (!in)
        return errno == ENOENT ? NULL : strerror (errno);
    json_t *root = json_loadf (in, 0, &fault);
    fclose (in);
    bool good = json_unpack (root, "{s:s, s:I}", "epoch", &epoch, "offset", &offset) == 0 && offset >= 0;
    const char *why = !good ? "is no cursor ({\"epoch\":…,\"offset\":N}); remove it"
                      : !cursor_set (self, epoch, (uint64_t) offset) ? "memory is out"
                                                                     : NULL;
    json_decref (root);
    return why;
}

/* Beside the file first, so that whoever reads it sees the one or the other whole. */
bool cursor_save (const struct cursor *self, const char *file)
{
    char *beside = NULL;
    json_t *root = json_pack ("{s:s, s:I}", "epoch", self->epoch, "offset", (json_int_t) self->offset);
    bool ok = root && asprintf (&beside, "%s.new", file) > 0;
    ok = ok && json_dump_file (root, beside, JSON_COMPACT) == 0 && rename (beside, file) == 0;
    int fault = errno;
    free (beside);
    json_decref (root);
    errno = fault;
    return ok;
}
