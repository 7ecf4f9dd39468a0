#include "base/log.h"
#include "base/bucket.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

#define LINES_PER_S 50
#define STRING_MAX  1024 /* bytes of one text; longer ones end in "..." */
#define LINE_CAP    16384

static const struct {
    const char *name, *meaning;
    enum log_level level;
} ids[LOG_ID_COUNT] = {
#define LOG_ID(symbol, severity, text) {#symbol, text, LOG_LEVEL_##severity},
#include "tbl/log_ids.h"
#undef LOG_ID
};

static const struct {
    const char *json, *text, *colour;
} levels[] = {
    [LOG_LEVEL_ERROR] = {"error", "ERROR", "\033[31m"},
    [LOG_LEVEL_WARN] = {"warn", "WARN ", "\033[33m"},
    [LOG_LEVEL_INFO] = {"info", "INFO ", "\033[32m"},
    [LOG_LEVEL_DEBUG] = {"debug", "DEBUG", "\033[36m"},
};

static struct {
    int fd;
    enum log_level level;
    bool json, colour;
    bool torn; /* the last line went out in part: its newline is missing */
} sink = {.fd = STDERR_FILENO, .level = LOG_LEVEL_INFO, .json = true};

static struct {
    struct bucket bucket;
    uint64_t suppressed; /* since the last line that went out */
    bool started;
} budgets[LOG_ID_COUNT];

static struct {
    uint64_t lines;
    double last;
} tallies[LOG_ID_COUNT];

void log_configure (int fd, enum log_level level, bool json)
{
    sink.fd = fd;
    sink.level = level;
    sink.json = json;
    sink.colour = !json && isatty (fd) && !getenv ("NO_COLOR");
}

enum log_level log_level_of (const char *name)
{
    for (size_t i = 0; i < COUNT_OF (levels); i++)
        if (strcmp (name, levels[i].json) == 0)
            return (enum log_level) i;
    return LOG_LEVEL_INFO;
}

void log_set_level (enum log_level level)
{
    sink.level = level;
}

bool log_wants (enum log_id id)
{
    return ids[id].level <= sink.level;
}

/* --- A line in the making: what does not fit sets `full`, and its field is left out whole --- */

struct line {
    char p[LINE_CAP];
    size_t n;
    bool full;
};

/* A newline before the text ends a torn line; one after it, and the closing brace, always find room. */
#define LINE_START 1
#define LINE_ROOM  (LINE_CAP - 2)

static void put (struct line *self, const char *bytes, size_t n)
{
    if (n > LINE_ROOM - self->n)
        self->full = true;
    if (self->full)
        return;
    memcpy (self->p + self->n, bytes, n);
    self->n += n;
}

static void puts_line (struct line *self, const char *text)
{
    put (self, text, strlen (text));
}

static void PRINTF_LIKE (2, 3) put_format (struct line *self, const char *format, ...)
{
    size_t room = LINE_ROOM - self->n;
    va_list args;
    va_start (args, format);
    int n = vsnprintf (self->p + self->n, room + 1, format, args);
    va_end (args);
    if (n < 0 || (size_t) n > room)
        self->full = true;
    if (!self->full)
        self->n += (size_t) n;
}

/* Control characters (C1 too: terminals obey them) as JSON writes them. */
static void put_control (struct line *self, uint32_t cp)
{
    static const char shorts[] = "btn\0fr"; /* from 8 on */
    if (cp >= '\b' && cp <= '\r' && shorts[cp - '\b'])
        put_format (self, "\\%c", shorts[cp - '\b']);
    else
        put_format (self, "\\u%04x", cp);
}

/* Put one character of `s` and return its length in bytes. */
static size_t put_char (struct line *self, struct slice s)
{
    uint32_t cp;
    size_t n = utf8_next (s, &cp);
    if (n == 0) {
        puts_line (self, "\xEF\xBF\xBD");
        return 1;
    }
    if (cp < 0x20 || (cp >= 0x7F && cp < 0xA0))
        put_control (self, cp);
    else if (cp == '"' || cp == '\\')
        put_format (self, "\\%c", (char) cp);
    else
        put (self, s.p, n);
    return n;
}

static void put_quoted (struct line *self, struct slice s)
{
    size_t end = s.n;
    if (s.n > STRING_MAX)
        for (end = STRING_MAX; end > STRING_MAX - 3 && ((uint8_t) s.p[end] & 0xC0) == 0x80;)
            end--; /* no character is cut in two */
    put (self, "\"", 1);
    for (size_t i = 0; i < end;)
        i += put_char (self, slice_of (s.p + i, end - i));
    puts_line (self, end < s.n ? "...\"" : "\"");
}

/* Text form: words stand bare. */
static bool is_word (struct slice s)
{
    if (s.n == 0 || s.n > STRING_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7F || strchr ("\"\\=", s.p[i]))
            return false;
    return true;
}

static void put_string (struct line *self, struct slice s)
{
    if (!sink.json && is_word (s))
        put (self, s.p, s.n);
    else
        put_quoted (self, s);
}

static void put_double (struct line *self, double d)
{
    if (isfinite (d))
        put_format (self, "%.15g", d);
    else
        puts_line (self, "null");
}

static void put_value (struct line *self, const struct log_kv *kv)
{
    switch (kv->kind) {
    case LOG_KV_STR:
        put_string (self, kv->s);
        break;
    case LOG_KV_UINT:
        put_format (self, "%llu", (unsigned long long) kv->u);
        break;
    case LOG_KV_INT:
        put_format (self, "%lld", (long long) kv->i);
        break;
    case LOG_KV_NUM:
        put_double (self, kv->d);
        break;
    case LOG_KV_BOOL:
        puts_line (self, kv->b ? "true" : "false");
        break;
    case LOG_KV_END:
        puts_line (self, "null");
        break;
    }
}

static void put_field (struct line *self, const struct log_kv *kv)
{
    size_t mark = self->n;
    put_format (self, sink.json ? ",\"%s\":" : " %s=", kv->key);
    put_value (self, kv);
    if (self->full) {
        self->n = mark;
        self->full = false;
    }
}

static void put_context (struct line *self, const struct log_ctx *ctx)
{
    const struct log_kv fields[] = {KV_SL ("conn", ctx->conn), KV_SL ("user", ctx->user), KV_SL ("link", ctx->link),
                                    KV_SL ("traceparent", ctx->traceparent)};
    for (size_t i = 0; i < COUNT_OF (fields); i++)
        if (fields[i].s.n)
            put_field (self, &fields[i]);
}

static void put_head (struct line *self, enum log_id id)
{
    struct timespec now;
    struct tm tm;
    char seconds[32];
    enum log_level level = ids[id].level;

    clock_gettime (CLOCK_REALTIME, &now);
    gmtime_r (&now.tv_sec, &tm);
    strftime (seconds, sizeof seconds, sink.json ? "%Y-%m-%dT%H:%M:%S" : "%H:%M:%S", &tm);
    put_format (self, sink.json ? "{\"ts\":\"%s.%03dZ\"" : "%s.%03d", seconds, (int) (now.tv_nsec / MS_NS));
    if (sink.json)
        put_format (self, ",\"level\":\"%s\",\"id\":\"%s\"", levels[level].json, ids[id].name);
    else
        put_format (self, " %s%s%s %s", sink.colour ? levels[level].colour : "", levels[level].text,
                    sink.colour ? "\033[0m" : "", ids[id].name);
}

/* --- Writing --- */

/* One write(2) per line unless the kernel takes only a part. A reader that does not read must not stop the
 * loop: what it does not take at once is dropped and counted. */
static void send_line (const char *p, size_t n)
{
    bool begun = false;
    while (n) {
        ssize_t sent = write (sink.fd, p, n);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0) {
            metric_inc (M_LOGS_SUPPRESSED, 0);
            sink.torn |= begun;
            return;
        }
        begun = true;
        p += sent;
        n -= (size_t) sent;
    }
    sink.torn = false;
}

static void write_line (enum log_id id, const struct log_ctx *ctx, const struct log_kv *kvs)
{
    static struct line line; /* too big for a stack that libraries call back on */
    line.n = LINE_START;
    line.full = false;
    line.p[0] = '\n';
    put_head (&line, id);
    if (ctx)
        put_context (&line, ctx);
    for (; kvs->key; kvs++)
        put_field (&line, kvs);
    if (sink.json)
        line.p[line.n++] = '}';
    line.p[line.n++] = '\n';
    size_t skip = sink.torn ? 0 : LINE_START;
    send_line (line.p + skip, line.n - skip);
}

/* --- Budget --- */

static bool within_budget (enum log_id id)
{
    int64_t now = clock_read ();
    if (!budgets[id].started) {
        bucket_init (&budgets[id].bucket, LINES_PER_S, now);
        budgets[id].started = true;
    }
    if (bucket_take (&budgets[id].bucket, LINES_PER_S, LINES_PER_S, now))
        return true;
    budgets[id].suppressed++;
    metric_inc (M_LOGS_SUPPRESSED, 0);
    return false;
}

static void tell_suppressed (enum log_id id)
{
    uint64_t n = budgets[id].suppressed;
    budgets[id].suppressed = 0;
    if (n && log_wants (LOG_SUPPRESSED))
        write_line (LOG_SUPPRESSED, NULL,
                    (const struct log_kv[]){KV_S ("of", ids[id].name), KV_U ("lines", n), {.key = NULL}});
}

static void keep_tally (enum log_id id)
{
    tallies[id].lines++;
    tallies[id].last = clock_wall ();
}

bool log_tally_of (enum log_id id, struct log_tally *tally)
{
    CHECK (id < LOG_ID_COUNT);
    *tally = (struct log_tally){ids[id].name, levels[ids[id].level].json, tallies[id].lines, tallies[id].last};
    return tally->lines > 0 && ids[id].level <= LOG_LEVEL_WARN;
}

void log_write (enum log_id id, const struct log_ctx *ctx, const struct log_kv *kvs)
{
    CHECK (id < LOG_ID_COUNT);
    keep_tally (id);
    if (!within_budget (id))
        return;
    int saved = errno; /* callers log first and look at errno later */
    tell_suppressed (id);
    write_line (id, ctx, kvs);
    errno = saved;
}

/* --- Reference --- */

void log_reference (struct buf *out)
{
    buf_puts (out, "| Id | Level | Meaning |\n|---|---|---|\n");
    for (size_t i = 0; i < LOG_ID_COUNT; i++) {
        buf_printf (out, "| `%s` | %s | ", ids[i].name, levels[ids[i].level].json);
        for (const char *c = ids[i].meaning; *c; c++)
            buf_printf (out, *c == '|' || *c == '_' || *c == '*' ? "\\%c" : "%c", *c);
        buf_puts (out, " |\n");
    }
}
