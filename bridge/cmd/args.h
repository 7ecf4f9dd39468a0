/* The arguments of a tool: one row of a table each, which yields the flag, its check and its line of --help. */
#ifndef CMD_ARGS_H
#define CMD_ARGS_H

#include "base/buf.h"

enum arg_kind {
    ARG_TEXT,   /* const char *; NULL when it is not given */
    ARG_NUMBER, /* int64_t; keeps what the tool has put there when it is not given */
    ARG_SWITCH, /* bool; takes no value */
    ARG_LIST    /* struct arg_list; may be given several times */
};

#define ARG_LIST_MAX 64

struct arg_list {
    const char *items[ARG_LIST_MAX];
    size_t n;
};

struct arg_row {
    const char *name, *value; /* --name VALUE */
    enum arg_kind kind;
    bool secret;      /* overwritten where `ps` could show it */
    size_t offset;    /* in the structure of the tool */
    int64_t min, max; /* ARG_NUMBER */
    const char *help;
};

/* A table ends with a row without a name. */
const struct arg_row *args_find (const struct arg_row *rows, struct slice name);

/* Fill the tool's structure from `argv`, which is borrowed: texts point there. False with one line on stderr that
 * begins with `tool` and says what is allowed. */
NODISCARD bool args_parse (const char *tool, const struct arg_row *rows, void *fields, int argc, char **argv);

/* Append a line for each row. */
void args_help (const struct arg_row *rows, struct buf *out);

/* Overwrite the values of secrets in these words (argv[0] is the first). */
void args_hide_secrets (const struct arg_row *rows, int argc, char **argv);

/* One line on stderr: `agentbridge TOOL: ...`. False, so that a caller can return it. */
bool args_fault (const char *tool, const char *format, ...) PRINTF_LIKE (2, 3);

#endif
