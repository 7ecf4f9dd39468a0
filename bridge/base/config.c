/* From flags, variables, file and defaults to the fields:
 *
 *   config_new -> config_take_* (config_sources.c)     the strongest text of each option
 *              -> apply                                check it against its row, fill the field
 *              -> config_check_rules (config_rules.c)  what rows cannot say
 */
#include "base/config_table.h"
#include "base/utf8.h"

#include <czmq.h>
#include <errno.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHOWN_MAX 200 /* characters of a value in a fault */

#define LIMIT_STR(max)      (max)
#define LIMIT_SECRET(max)   (max)
#define LIMIT_FILE(max)     (max)
#define LIMIT_INT(max)      (max)
#define LIMIT_BOOL(max)     (max)
#define LIMIT_CHOICE(max)   0
#define CHOICES_STR(max)    NULL
#define CHOICES_SECRET(max) NULL
#define CHOICES_FILE(max)   NULL
#define CHOICES_INT(max)    NULL
#define CHOICES_BOOL(max)   NULL
#define CHOICES_CHOICE(max) (max)

const struct option_row option_rows[OPTION_COUNT] = {
#define OPTION(kind, field, name, dflt, min, max, reload, help)                                                        \
    {name,                                                                                                             \
     (dflt),                                                                                                           \
     (help),                                                                                                           \
     CHOICES_##kind (max),                                                                                             \
     (min),                                                                                                            \
     LIMIT_##kind (max),                                                                                               \
     offsetof (struct config, field),                                                                                  \
     OPTION_KIND_##kind,                                                                                               \
     (reload)},
#include "tbl/options.h"
#undef OPTION
};

static void *field_of (const struct config *config, const struct option_row *row)
{
    return (char *) (uintptr_t) config + row->offset;
}

char **option_text (const struct config *config, const struct option_row *row)
{
    return field_of (config, row);
}

int64_t *option_int (const struct config *config, const struct option_row *row)
{
    return field_of (config, row);
}

bool *option_bool (const struct config *config, const struct option_row *row)
{
    return field_of (config, row);
}

/* --- Faults --- */

/* A value from outside, fit for one line of a terminal. */
static void put_shown (struct buf *out, const char *text)
{
    struct slice s = slice_str (text);
    uint32_t cp;
    buf_putc (out, '"');
    for (size_t shown = 0; s.n && shown < SHOWN_MAX; shown++) {
        size_t n = utf8_next (s, &cp);
        if (n == 0 || cp < 0x20 || (cp >= 0x7F && cp < 0xA0))
            buf_putc (out, '?');
        else
            buf_put (out, s.p, n);
        n += n == 0;
        s = slice_of (s.p + n, s.n - n);
    }
    buf_puts (out, s.n ? "...\"" : "\"");
}

static void put_source (struct buf *out, const struct config_loader *self, const struct option_row *row,
                        enum option_source source)
{
    switch (source) {
    case SOURCE_DEFAULT:
        buf_puts (out, "default");
        break;
    case SOURCE_ENVIRONMENT:
        buf_printf (out, "variable %s", option_fallback ((enum option_id) (row - option_rows)));
        break;
    case SOURCE_FILE:
        buf_printf (out, "file %s", self->file);
        break;
    case SOURCE_VARIABLE:
        buf_puts (out, "variable ");
        option_put_variable (out, row);
        break;
    case SOURCE_FLAG:
        buf_printf (out, "flag --%s", row->name);
        break;
    }
}

static void put_message (struct buf *out, const char *format, va_list args)
{
    char text[1024];
    vsnprintf (text, sizeof text, format, args);
    buf_printf (out, "%s\n", text);
}

void config_fault (struct config_loader *self, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    put_message (self->error, format, args);
    va_end (args);
    self->failed = true;
}

void config_fault_option (struct config_loader *self, enum option_id id, const char *format, ...)
{
    const struct option_row *row = &option_rows[id];
    if (self->faulty[id])
        return;
    self->faulty[id] = self->failed = true;
    buf_printf (self->error, "option %s: ", row->name);
    if (row->kind == OPTION_KIND_SECRET)
        buf_puts (self->error, "***");
    else
        put_shown (self->error, self->given[id].text);
    buf_puts (self->error, " (");
    put_source (self->error, self, row, self->given[id].source);
    buf_puts (self->error, ") ");
    va_list args;
    va_start (args, format);
    put_message (self->error, format, args);
    va_end (args);
}

/* --- From text to field --- */

static void fault_allowed (struct config_loader *self, enum option_id id)
{
    struct buf text;
    buf_init (&text, 0);
    option_put_allowed (&text, &option_rows[id]);
    config_fault_option (self, id, "is not %.*s", (int) text.n, text.n ? (const char *) text.p : "");
    buf_fini (&text);
}

static bool has_control (const char *text)
{
    for (; *text; text++)
        if ((unsigned char) *text < ' ' || *text == 0x7F)
            return true;
    return false;
}

/* Stored even when faulty, so that the rules do not add that it is missing. */
static void store_text (struct config_loader *self, enum option_id id, const char *text)
{
    char **field = option_text (self->config, &option_rows[id]);
    char *copy = strdup (text);
    if (!copy) {
        config_fault (self, "memory is out");
        return;
    }
    free (*field);
    *field = copy;
}

static void apply_text (struct config_loader *self, enum option_id id, const char *text)
{
    const struct option_row *row = &option_rows[id];
    size_t n = strlen (text);
    if (n < (size_t) row->min || n > (size_t) row->max)
        fault_allowed (self, id);
    else if (row->kind != OPTION_KIND_SECRET && (has_control (text) || !utf8_valid (slice_of (text, n))))
        config_fault_option (self, id, "is not UTF-8 without control characters");
    store_text (self, id, text);
}

static int read_access (const char *path)
{
    struct stat st;
    if (access (path, R_OK) || stat (path, &st))
        return errno;
    return S_ISDIR (st.st_mode) ? EISDIR : 0;
}

static void apply_file (struct config_loader *self, enum option_id id, const char *path)
{
    apply_text (self, id, path);
    int fault = *path ? read_access (path) : 0;
    if (fault)
        config_fault_option (self, id, "is not the path of a readable file: %s", strerror (fault));
}

static void apply_choice (struct config_loader *self, enum option_id id, const char *text)
{
    size_t n = strchr (text, '|') ? 0 : strlen (text);
    const char *choices = option_rows[id].choices;
    for (const char *c = choices; n && (c = strstr (c, text)); c += n) {
        if ((c == choices || c[-1] == '|') && (c[n] == '\0' || c[n] == '|')) {
            store_text (self, id, text);
            return;
        }
    }
    fault_allowed (self, id);
}

static void apply_int (struct config_loader *self, enum option_id id, const char *text)
{
    const struct option_row *row = &option_rows[id];
    bool digits = *text && strspn (text, "0123456789") == strlen (text);
    errno = 0;
    long long value = strtoll (text, NULL, 10);
    if (!digits || errno || value < row->min || value > row->max)
        fault_allowed (self, id);
    else
        *option_int (self->config, row) = value;
}

static void apply_bool (struct config_loader *self, enum option_id id, const char *text)
{
    const char *words = config_list_has ("true,1,yes,on", slice_str (text))    ? "1"
                        : config_list_has ("false,0,no,off", slice_str (text)) ? "0"
                                                                               : NULL;
    if (words)
        *option_bool (self->config, &option_rows[id]) = *words == '1';
    else
        fault_allowed (self, id);
}

static void apply (struct config_loader *self, enum option_id id, const char *text)
{
    static void (*const applies[]) (struct config_loader *, enum option_id, const char *) = {
        [OPTION_KIND_STR] = apply_text,      [OPTION_KIND_SECRET] = apply_text, [OPTION_KIND_FILE] = apply_file,
        [OPTION_KIND_CHOICE] = apply_choice, [OPTION_KIND_INT] = apply_int,     [OPTION_KIND_BOOL] = apply_bool,
    };
    applies[option_rows[id].kind](self, id, text);
}

static bool counts (const struct config_loader *self, enum option_id id)
{
    return !self->names || config_list_has (self->names, slice_str (option_rows[id].name));
}

/* Defaults first: a faulty text leaves its option with a value that the rules can look at. */
static void apply_all (struct config_loader *self)
{
    for (enum option_id id = 0; id < OPTION_COUNT; id++)
        apply (self, id, option_rows[id].dflt);
    for (enum option_id id = 0; id < OPTION_COUNT; id++)
        if (self->given[id].source != SOURCE_DEFAULT && counts (self, id))
            apply (self, id, self->given[id].text);
}

/* --- Life --- */

struct config *config_new (int argc, char **argv, char **env, struct buf *error)
{
    return config_new_part (NULL, argc, argv, env, error);
}

struct config *config_new_part (const char *names, int argc, char **argv, char **env, struct buf *error)
{
    struct config_loader loader = {.config = calloc (1, sizeof (struct config)), .error = error, .names = names};
    if (!loader.config) {
        config_fault (&loader, "memory is out");
        return NULL;
    }
    for (size_t i = 0; i < OPTION_COUNT; i++)
        loader.given[i].text = option_rows[i].dflt;
    config_take_flags (&loader, argc, argv);
    config_take_variables (&loader, env);
    config_take_file (&loader);
    apply_all (&loader);
    config_check_rules (&loader);
    zconfig_destroy (&loader.tree);
    if (loader.failed)
        config_destroy (&loader.config);
    return loader.config;
}

void config_destroy (struct config **self_p)
{
    struct config *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (option_is_text (&option_rows[i]))
            free (*option_text (self, &option_rows[i]));
    free (self);
    *self_p = NULL;
}

/* --- Reload --- */

static bool same (const struct config *a, const struct config *b, const struct option_row *row)
{
    if (option_is_text (row))
        return strcmp (*option_text (a, row), *option_text (b, row)) == 0;
    if (row->kind == OPTION_KIND_INT)
        return *option_int (a, row) == *option_int (b, row);
    return *option_bool (a, row) == *option_bool (b, row);
}

/* Texts change places, so that each is still owned once. */
static void take_over (struct config *self, struct config *next, const struct option_row *row)
{
    if (option_is_text (row)) {
        char *old = *option_text (self, row);
        *option_text (self, row) = *option_text (next, row);
        *option_text (next, row) = old;
    } else if (row->kind == OPTION_KIND_INT)
        *option_int (self, row) = *option_int (next, row);
    else
        *option_bool (self, row) = *option_bool (next, row);
}

bool config_may_reload (const struct config *self, const struct config *next, struct buf *error)
{
    if (strcmp (self->environment, next->environment) == 0)
        return true;
    buf_printf (error, "option environment: \"%s\" wants a restart; \"%s\" is in force\n", next->environment,
                self->environment);
    return false;
}

void config_reload (struct config *self, struct config *next, struct buf *changed)
{
    bool any = false;
    for (const struct option_row *row = option_rows; row < option_rows + OPTION_COUNT; row++) {
        if (row->reload)
            take_over (self, next, row);
        else if (changed && !same (self, next, row)) {
            buf_printf (changed, "%s%s", any ? "," : "", row->name);
            any = true;
        }
    }
}

/* --- Lists --- */

bool config_list_next (struct slice *rest, struct slice *word)
{
    if (!rest->p)
        return false;
    if (!slice_cut (rest, ',', word)) {
        *word = *rest;
        *rest = slice_of (NULL, 0);
    }
    *word = slice_trim (*word);
    return true;
}

bool config_list_has (const char *list, struct slice word)
{
    struct slice rest = slice_str (list), entry;
    while (slice_next_item (&rest, &entry))
        if (slice_eq (entry, word))
            return true;
    return false;
}
