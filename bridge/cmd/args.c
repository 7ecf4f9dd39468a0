#include "cmd/args.h"

#include <errno.h>
#include <stdarg.h>

#define HELP_COLUMN 28

const struct arg_row *args_find (const struct arg_row *rows, struct slice name)
{
    for (const struct arg_row *row = rows; row && row->name; row++)
        if (slice_is (name, row->name))
            return row;
    return NULL;
}

bool args_fault (const char *tool, const char *format, ...)
{
    va_list list;
    fprintf (stderr, "agentbridge %s: ", tool);
    va_start (list, format);
    vfprintf (stderr, format, list);
    va_end (list);
    fputc ('\n', stderr);
    return false;
}

static void *field_of (const struct arg_row *row, void *fields)
{
    return (char *) fields + row->offset;
}

static bool take_number (const char *tool, const struct arg_row *row, int64_t *field, const char *value)
{
    bool digits = *value && strspn (value, "0123456789") == strlen (value);
    errno = 0;
    long long number = strtoll (value, NULL, 10);
    if (!digits || errno || number < row->min || number > row->max)
        return args_fault (tool, "--%s: \"%.100s\" is not a number from %lld to %lld", row->name, value,
                           (long long) row->min, (long long) row->max);
    *field = number;
    return true;
}

static bool take_item (const char *tool, const struct arg_row *row, struct arg_list *list, const char *value)
{
    if (list->n == ARG_LIST_MAX)
        return args_fault (tool, "--%s: given more than %d times", row->name, ARG_LIST_MAX);
    list->items[list->n++] = value;
    return true;
}

static bool take_value (const char *tool, const struct arg_row *row, void *fields, const char *value)
{
    void *field = field_of (row, fields);
    switch (row->kind) {
    case ARG_TEXT:
        *(const char **) field = value;
        return true;
    case ARG_NUMBER:
        return take_number (tool, row, field, value);
    case ARG_LIST:
        return take_item (tool, row, field, value);
    case ARG_SWITCH:
        break;
    }
    return args_fault (tool, "--%s takes no value", row->name);
}

/* The flag at argv[i], as --NAME VALUE or --NAME=VALUE. A stray word is not shown: it can be a part of a secret. The
 * index behind it; 0 when it is faulty. */
static int take_flag (const char *tool, const struct arg_row *rows, void *fields, int argc, char **argv, int i)
{
    if (strncmp (argv[i], "--", 2) != 0 || !argv[i][2]) {
        args_fault (tool, "argument %d is no option; see agentbridge %s --help", i + 1, tool);
        return 0;
    }
    char *name = argv[i] + 2, *equals = strchr (name, '=');
    size_t n = equals ? (size_t) (equals - name) : strlen (name);
    const struct arg_row *row = args_find (rows, slice_of (name, n));
    if (!row) {
        args_fault (tool, "--%.*s is unknown; see agentbridge %s --help", (int) (n < 64 ? n : 64), name, tool);
        return 0;
    }
    if (row->kind == ARG_SWITCH && !equals) {
        *(bool *) field_of (row, fields) = true;
        return i + 1;
    }
    if (!equals && i + 1 == argc) {
        args_fault (tool, "--%s wants a value: %s", row->name, row->help);
        return 0;
    }
    if (!take_value (tool, row, fields, equals ? equals + 1 : argv[i + 1]))
        return 0;
    return i + (equals ? 1 : 2);
}

bool args_parse (const char *tool, const struct arg_row *rows, void *fields, int argc, char **argv)
{
    int i = 0;
    while (i < argc && (i = take_flag (tool, rows, fields, argc, argv, i)))
        ;
    return i >= argc;
}

void args_help (const struct arg_row *rows, struct buf *out)
{
    for (const struct arg_row *row = rows; row->name; row++) {
        size_t start = out->n;
        buf_printf (out, "  --%s%s%s", row->name, row->value ? " " : "", row->value ? row->value : "");
        do
            buf_putc (out, ' ');
        while (!out->failed && out->n - start < HELP_COLUMN);
        buf_printf (out, "%s\n", row->help);
    }
}

void args_hide_secrets (const struct arg_row *rows, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (strncmp (argv[i], "--", 2) != 0)
            continue;
        char *name = argv[i] + 2, *equals = strchr (name, '=');
        const struct arg_row *row =
            args_find (rows, slice_of (name, equals ? (size_t) (equals - name) : strlen (name)));
        char *value = equals ? equals + 1 : row && row->kind != ARG_SWITCH && i + 1 < argc ? argv[++i] : NULL;
        if (row && row->secret && value)
            memset (value, '*', strlen (value));
    }
}
