/* The table as people read it: --help, check-config, the reference, and what a fault says is allowed. */
#include "base/config_table.h"

#include <ctype.h>

#define HELP_COLUMN 34 /* where the text of --help begins */
#define HELP_WIDTH  100

void option_put_variable (struct buf *out, const struct option_row *row)
{
    buf_puts (out, "AGENTBRIDGE_");
    for (const char *c = row->name; *c; c++)
        buf_putc (out, *c == '-' ? '_' : (char) toupper ((unsigned char) *c));
}

static void put_choices (struct buf *out, const char *choices)
{
    for (; *choices; choices++) {
        if (*choices == '|')
            buf_puts (out, ", ");
        else
            buf_putc (out, *choices);
    }
}

void option_put_allowed (struct buf *out, const struct option_row *row)
{
    switch (row->kind) {
    case OPTION_KIND_STR:
    case OPTION_KIND_SECRET:
        buf_printf (out, "a text of %lld to %lld bytes", (long long) row->min, (long long) row->max);
        break;
    case OPTION_KIND_FILE:
        buf_puts (out, "the path of a readable file");
        break;
    case OPTION_KIND_CHOICE:
        buf_puts (out, "one of ");
        put_choices (out, row->choices);
        break;
    case OPTION_KIND_INT:
        buf_printf (out, "a number from %lld to %lld", (long long) row->min, (long long) row->max);
        break;
    case OPTION_KIND_BOOL:
        buf_puts (out, "true or false");
        break;
    }
}

/* --- check-config --- */

/* ZPL knows two kinds of quotation marks and no escapes. */
static void put_zpl (struct buf *out, const char *name, const char *value)
{
    const char *quote = strchr (value, '"') ? "'" : "\"";
    if (*quote == '\'' && strchr (value, '\''))
        buf_printf (out, "# %s cannot be written in ZPL, as it holds both kinds of quotation marks\n", name);
    else
        buf_printf (out, "%s = %s%s%s\n", name, quote, value, quote);
}

/* The value as a text, secrets as ***; `number` has room for an INT. */
static const char *shown (const struct config *self, const struct option_row *row, char number[32])
{
    if (row->kind == OPTION_KIND_SECRET)
        return **option_text (self, row) ? "***" : "";
    if (row->kind == OPTION_KIND_BOOL)
        return *option_bool (self, row) ? "true" : "false";
    if (row->kind != OPTION_KIND_INT)
        return *option_text (self, row);
    snprintf (number, 32, "%lld", (long long) *option_int (self, row));
    return number;
}

void config_each (const struct config *self, config_row_fn *fn, void *arg)
{
    char number[32];
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const char *value = shown (self, &option_rows[i], number);
        fn (arg, option_rows[i].name, value, strcmp (value, option_rows[i].dflt) != 0);
    }
}

size_t config_count (void)
{
    return OPTION_COUNT;
}

static void print_row (void *arg, const char *name, const char *value, UNUSED bool changed)
{
    put_zpl (arg, name, value);
}

void config_print (const struct config *self, struct buf *out)
{
    config_each (self, print_row, out);
}

/* --- --help --- */

static void put_blanks (struct buf *out, size_t n)
{
    while (n--)
        buf_putc (out, ' ');
}

/* Words from HELP_COLUMN on, as many to a line as go. */
static void put_wrapped (struct buf *out, struct slice text)
{
    size_t column = HELP_COLUMN;
    while (text.n) {
        const char *blank = memchr (text.p, ' ', text.n);
        size_t n = blank ? (size_t) (blank - text.p) : text.n, skip = blank ? n + 1 : n;
        if (column > HELP_COLUMN && column + 1 + n > HELP_WIDTH) {
            buf_putc (out, '\n');
            put_blanks (out, HELP_COLUMN);
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            buf_putc (out, ' ');
            column++;
        }
        buf_put (out, text.p, n);
        column += n;
        text = slice_of (text.p + skip, text.n - skip);
    }
    buf_putc (out, '\n');
}

static void put_help_line (struct buf *out, const char *name, const char *argument, const struct buf *text)
{
    size_t start = out->n;
    buf_printf (out, "  --%s %s", name, argument);
    size_t used = out->n - start;
    if (used + 2 > HELP_COLUMN) {
        buf_putc (out, '\n');
        used = 0;
    }
    put_blanks (out, HELP_COLUMN - used);
    put_wrapped (out, buf_slice (text));
}

/* Help, and in brackets what is allowed and the default, where the help does not say. */
static void put_help_text (struct buf *out, const struct option_row *row)
{
    bool choice = row->kind == OPTION_KIND_CHOICE, number = row->kind == OPTION_KIND_INT;
    bool dflt = row->kind != OPTION_KIND_SECRET && *row->dflt;
    buf_puts (out, row->help);
    if (!dflt)
        return;
    buf_puts (out, " (");
    if (choice)
        put_choices (out, row->choices);
    if (number)
        buf_printf (out, "%lld to %lld", (long long) row->min, (long long) row->max);
    buf_printf (out, "%sdefault: %s)", choice || number ? "; " : "", row->dflt);
}

void config_help (struct buf *out)
{
    static const char *const arguments[] = {
        [OPTION_KIND_STR] = "TEXT",    [OPTION_KIND_SECRET] = "TEXT", [OPTION_KIND_FILE] = "FILE",
        [OPTION_KIND_CHOICE] = "WORD", [OPTION_KIND_INT] = "N",       [OPTION_KIND_BOOL] = "BOOL",
    };
    struct buf text;
    buf_init (&text, 0);
    buf_puts (&text, "File with options, one NAME = \"VALUE\" a line (ZPL)");
    put_help_line (out, "config", "FILE", &text);
    for (const struct option_row *row = option_rows; row < option_rows + OPTION_COUNT; row++) {
        buf_reset (&text);
        put_help_text (&text, row);
        put_help_line (out, row->name, arguments[row->kind], &text);
    }
    buf_fini (&text);
}

/* --- Reference --- */

static void put_escaped (struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '<')
            buf_puts (out, "&lt;");
        else if (strchr ("|*_", *text))
            buf_printf (out, "\\%c", *text);
        else
            buf_putc (out, *text);
    }
}

/* In a code span only the bar, which ends a cell, is escaped. */
static void put_code (struct buf *out, const char *text)
{
    buf_putc (out, '`');
    for (; *text; text++)
        buf_printf (out, *text == '|' ? "\\%c" : "%c", *text);
    buf_putc (out, '`');
}

static void put_reference_row (struct buf *out, const struct option_row *row)
{
    struct buf allowed;
    buf_printf (out, "| `%s` | `", row->name);
    option_put_variable (out, row);
    buf_puts (out, "` | ");
    if (*row->dflt && row->kind != OPTION_KIND_SECRET)
        put_code (out, row->dflt);
    else
        buf_puts (out, "none");
    buf_puts (out, " | ");
    buf_init (&allowed, 0);
    option_put_allowed (&allowed, row);
    buf_putc (&allowed, '\0');
    if (!allowed.failed)
        put_escaped (out, (const char *) allowed.p);
    buf_fini (&allowed);
    buf_printf (out, " | %s | ", row->reload ? "yes" : "no");
    put_escaped (out, row->help);
    buf_puts (out, " |\n");
}

void config_reference (struct buf *out)
{
    buf_puts (out, "| Option | Variable | Default | Allowed | Reload | Meaning |\n|---|---|---|---|---|---|\n"
                   "| `config` | `AGENTBRIDGE_CONFIG` | none | the path of a readable file | no | "
                   "File with options, one `NAME = \"VALUE\"` a line (ZPL) |\n");
    for (size_t i = 0; i < OPTION_COUNT; i++)
        put_reference_row (out, &option_rows[i]);
}
