/* One line per event on stderr, JSON or text, each with a stable id (tbl/log_ids.h) and the context it inherits.
 * Never a token, never a payload. Each id has a budget of lines per second; what is over it is counted and summed up.
 * For the loop's thread only. Allocates nothing, so that it still works when memory is out. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/buf.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARN,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG
};

enum log_id {
#define LOG_ID(symbol, level, meaning) LOG_##symbol,
#include "tbl/log_ids.h"
#undef LOG_ID
    LOG_ID_COUNT
};

/* Whom a line is about; borrowed, empty slices are left out. */
struct log_ctx {
    struct slice conn; /* "conn": connection id */
    struct slice user; /* "user": user id */
    struct slice link; /* "link": runtime endpoint */
    struct slice traceparent;
};

struct log_kv {
    const char *key;
    enum {
        LOG_KV_END,
        LOG_KV_STR,
        LOG_KV_UINT,
        LOG_KV_INT,
        LOG_KV_NUM,
        LOG_KV_BOOL
    } kind;
    union {
        struct slice s;
        uint64_t u;
        int64_t i;
        double d;
        bool b;
    };
};

#define KV_S(k, v)  ((struct log_kv){.key = (k), .kind = LOG_KV_STR, .s = slice_str (v)})
#define KV_SL(k, v) ((struct log_kv){.key = (k), .kind = LOG_KV_STR, .s = (v)})
#define KV_U(k, v)  ((struct log_kv){.key = (k), .kind = LOG_KV_UINT, .u = (uint64_t) (v)})
#define KV_I(k, v)  ((struct log_kv){.key = (k), .kind = LOG_KV_INT, .i = (int64_t) (v)})
#define KV_D(k, v)  ((struct log_kv){.key = (k), .kind = LOG_KV_NUM, .d = (v)})
#define KV_B(k, v)  ((struct log_kv){.key = (k), .kind = LOG_KV_BOOL, .b = (v)})

/* LOG (OUTQ_FULL, &ctx, KV_U ("bytes", n), KV_S ("reason", "x")): `ctx` may be NULL. */
#define LOG(symbol, ctx, ...)                                                                                          \
    do {                                                                                                               \
        if (log_wants (LOG_##symbol))                                                                                  \
            log_write (LOG_##symbol, (ctx), (const struct log_kv[]){__VA_ARGS__ __VA_OPT__ (, ){.key = NULL}});        \
    } while (0)

/* False when the level is off. Cheap, so that callers on the hot path pay nothing for silent lines. */
bool log_wants (enum log_id id);

void log_write (enum log_id id, const struct log_ctx *ctx, const struct log_kv *kvs);

/* `json` false gives text; colours only when `fd` is a terminal. */
void log_configure (int fd, enum log_level level, bool json);

/* The level of a word of option log-level; LOG_LEVEL_INFO for any other. */
enum log_level log_level_of (const char *name);

/* What was logged of an id that is WARN or worse, since the start, by what the level lets through; lines that were left
 * out because they came too often count too. */
struct log_tally {
    const char *name, *level;
    uint64_t lines;
    double last; /* Unix seconds */
};

/* False when there was nothing. */
bool log_tally_of (enum log_id id, struct log_tally *tally);

/* For a reload. */
void log_set_level (enum log_level level);

/* Append the Markdown table of the reference. */
void log_reference (struct buf *out);

#endif
