/* Where texts come from: flags, variables, the file. Each is offered to its option, the strongest source
 * wins. */
#include "base/config_table.h"

#include <czmq.h>
#include <ctype.h>
#include <errno.h>

#define VARIABLE_PREFIX "AGENTBRIDGE_"
#define FILE_MAX        (1024 * 1024) /* bytes of a configuration file */
#define LINE_BYTES_MAX  1024          /* zconfig reads beyond the end of its input when a line is longer */

/* --- Names --- */

static enum option_id find (struct slice name)
{
    enum option_id id = 0;
    while (id < OPTION_COUNT && !slice_is (name, option_rows[id].name))
        id++;
    return id;
}

static size_t least_of (size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Edits from one name to the other (Levenshtein); long names count as far. */
static size_t distance (struct slice a, struct slice b)
{
    size_t row[64];
    if (a.n >= COUNT_OF (row) || b.n >= COUNT_OF (row))
        return SIZE_MAX;
    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t above = row[j];
            row[j] = least_of (row[j] + 1, row[j - 1] + 1, corner + (a.p[i - 1] != b.p[j - 1]));
            corner = above;
        }
    }
    return row[b.n];
}

/* `source` and `detail` make the place where the name was found. */
static void fault_unknown (struct config_loader *self, struct slice name, const char *source, const char *detail)
{
    size_t best = 4; /* more edits than this is another word */
    const char *nearest = NULL;
    char shown[64];

    for (size_t i = 0; i < OPTION_COUNT; i++) {
        size_t d = distance (name, slice_str (option_rows[i].name));
        if (d < best && d < name.n) {
            best = d;
            nearest = option_rows[i].name;
        }
    }
    snprintf (shown, sizeof shown, "%.*s", (int) (name.n < sizeof shown ? name.n : sizeof shown), name.p);
    for (char *c = shown; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    config_fault (self, "option %s (%s%s) is unknown; %s%s%s", shown, source, *detail ? detail : shown,
                  nearest ? "did you mean " : "--help lists the options", nearest ? nearest : "", nearest ? "?" : "");
}

/* --- Sources --- */

/* Of two texts from one source the later one counts. */
static void offer (struct config_loader *self, enum option_id id, enum option_source source, const char *text)
{
    if (source < self->given[id].source)
        return;
    self->given[id].source = source;
    self->given[id].text = text;
}

static void offer_file (struct config_loader *self, enum option_source source, const char *path)
{
    if (source < self->file_source)
        return;
    self->file_source = source;
    self->file = path;
}

static void fault_no_value (struct config_loader *self, const char *name, const struct option_row *row)
{
    char allowed[512] = "the path of a readable file";
    struct buf text;
    buf_init (&text, sizeof allowed - 1);
    if (row) {
        option_put_allowed (&text, row);
        snprintf (allowed, sizeof allowed, "%.*s", (int) text.n, text.n ? (const char *) text.p : "");
    }
    buf_fini (&text);
    config_fault (self, "option %s (flag --%s) wants a value: %s", name, name, allowed);
}

static void take_flag (struct config_loader *self, struct slice name, const char *value)
{
    enum option_id id = find (name);
    bool is_file = slice_is (name, "config");

    if (id == OPTION_COUNT && !is_file)
        fault_unknown (self, name, "flag --", "");
    else if (!value)
        fault_no_value (self, is_file ? "config" : option_rows[id].name, is_file ? NULL : &option_rows[id]);
    else if (is_file)
        offer_file (self, SOURCE_FLAG, value);
    else
        offer (self, id, SOURCE_FLAG, value);
}

static bool is_flag (const char *arg)
{
    return strncmp (arg, "--", 2) == 0 && arg[2];
}

/* The flag at argv[i], as --NAME VALUE or --NAME=VALUE: its name, and its value or NULL. The index behind it. */
static int read_flag (int argc, char **argv, int i, struct slice *name, char **value)
{
    char *text = argv[i] + 2, *equals = strchr (text, '=');
    *name = slice_of (text, equals ? (size_t) (equals - text) : strlen (text));
    *value = equals ? equals + 1 : NULL;
    if (!equals && i + 1 < argc && !is_flag (argv[i + 1]))
        *value = argv[++i];
    return i + 1;
}

/* A stray word is not shown: with a quote forgotten it can be a part of a secret. */
void config_take_flags (struct config_loader *self, int argc, char **argv)
{
    struct slice name;
    char *value;
    for (int i = 0; i < argc;) {
        if (!is_flag (argv[i])) {
            config_fault (self, "argument %d is no option; options are --NAME VALUE or --NAME=VALUE", ++i);
            continue;
        }
        i = read_flag (argc, argv, i, &name, &value);
        take_flag (self, name, value);
    }
}

size_t config_hide_secrets (int argc, char **argv)
{
    size_t hidden = 0;
    struct slice name;
    char *value;
    for (int i = 0; i < argc;) {
        if (!is_flag (argv[i])) {
            i++;
            continue;
        }
        i = read_flag (argc, argv, i, &name, &value);
        enum option_id id = find (name);
        if (id == OPTION_COUNT || option_rows[id].kind != OPTION_KIND_SECRET || !value || !*value)
            continue;
        memset (value, '*', strlen (value));
        hidden++;
    }
    return hidden;
}

/* Kubernetes puts variables of every Service into the pod; those of one called agentbridge, or
 * agentbridge-something, have our prefix. */
static bool is_service_variable (const char *name, const char *value)
{
    if (strncmp (name, "SERVICE_", 8) == 0 || strncmp (name, "PORT", 4) == 0)
        return true;
    if (strstr (name, "_SERVICE_HOST") || strstr (name, "_SERVICE_PORT"))
        return true;
    const char *port = strstr (name, "_PORT");
    if (!port)
        return false;
    port += strlen ("_PORT");
    return (port[0] == '_' && isdigit ((unsigned char) port[1])) || (port[0] == '\0' && strstr (value, "://"));
}

/* Read by a tool, and no option: the token of `agentbridge connect`. */
static bool is_tool_variable (const char *name)
{
    return strcmp (name, "TOKEN") == 0;
}

static void take_variable (struct config_loader *self, const char *assignment)
{
    char name[128], option[128];
    size_t n = strcspn (assignment, "=");
    const char *value = assignment + n + (assignment[n] == '=');

    snprintf (name, sizeof name, "%.*s", (int) (n < sizeof name ? n : sizeof name), assignment);
    for (n = 0; name[n]; n++)
        option[n] = name[n] == '_' ? '-' : (char) tolower ((unsigned char) name[n]);
    enum option_id id = find (slice_of (option, n));
    if (slice_is (slice_of (option, n), "config"))
        offer_file (self, SOURCE_VARIABLE, value);
    else if (id < OPTION_COUNT)
        offer (self, id, SOURCE_VARIABLE, value);
    else if (!is_service_variable (name, value) && !is_tool_variable (name))
        fault_unknown (self, slice_of (option, n), "variable " VARIABLE_PREFIX, name);
}

/* Variables that others have named. */
static const struct fallback {
    enum option_id id;
    const char *name;
} fallbacks[] = {{OPTION_environment, "ENVIRONMENT"}, {OPTION_e2e_bypass_key, "E2E_OAUTH_SIMULATION_KEY"}};

const char *option_fallback (enum option_id id)
{
    for (size_t i = 0; i < COUNT_OF (fallbacks); i++)
        if (fallbacks[i].id == id)
            return fallbacks[i].name;
    return "";
}

static void take_fallback (struct config_loader *self, const char *assignment)
{
    for (size_t i = 0; i < COUNT_OF (fallbacks); i++) {
        size_t n = strlen (fallbacks[i].name);
        if (strncmp (assignment, fallbacks[i].name, n) == 0 && assignment[n] == '=' && assignment[n + 1])
            offer (self, fallbacks[i].id, SOURCE_ENVIRONMENT, assignment + n + 1);
    }
}

void config_take_variables (struct config_loader *self, char **env)
{
    const size_t n = strlen (VARIABLE_PREFIX);
    for (; env && *env; env++) {
        if (strncmp (*env, VARIABLE_PREFIX, n) == 0)
            take_variable (self, *env + n);
        else
            take_fallback (self, *env);
    }
}

/* --- The file --- */

static bool read_all (struct config_loader *self, FILE *file, struct buf *text)
{
    char chunk[4096];
    for (size_t n; (n = fread (chunk, 1, sizeof chunk, file)) > 0;)
        buf_put (text, chunk, n);
    if (ferror (file))
        config_fault (self, "option config: file %s cannot be read: %s", self->file, strerror (errno));
    else if (text->failed)
        config_fault (self, "option config: file %s is larger than %d bytes", self->file, FILE_MAX);
    else if (text->n && memchr (text->p, '\0', text->n))
        config_fault (self, "option config: file %s is not text", self->file);
    else
        return true;
    return false;
}

static char *read_file (struct config_loader *self)
{
    struct buf text;
    FILE *file = fopen (self->file, "re");
    if (!file) {
        config_fault (self, "option config: file %s cannot be read: %s", self->file, strerror (errno));
        return NULL;
    }
    buf_init (&text, FILE_MAX);
    char *content = read_all (self, file, &text) ? buf_steal_str (&text) : NULL;
    buf_fini (&text);
    fclose (file);
    return content;
}

static bool is_name_char (char c)
{
    return isalnum ((unsigned char) c) || c == '-' || c == '_' || c == '.';
}

static const char *skip_blanks (const char *p)
{
    while (*p == ' ' || *p == '\t' || *p == '\r')
        p++;
    return p;
}

static bool ends_here (const char *p)
{
    p = skip_blanks (p);
    return *p == '\0' || *p == '#';
}

/* What is wrong with a line, or NULL. zconfig would tell on stdout, and with a part of the line that may be
 * secret. */
static const char *line_fault (const char *line)
{
    const char *p = line;
    if (strlen (line) > LINE_BYTES_MAX)
        return "is longer than 1024 bytes";
    if (*line == '#' || *skip_blanks (line) == '\0')
        return NULL;
    while (is_name_char (*p))
        p++;
    const char *equals = skip_blanks (p);
    if (p == line || *equals != '=')
        return "is not NAME = \"VALUE\" (there are no sections)";
    p = skip_blanks (equals + 1);
    if (*p != '"' && *p != '\'')
        return NULL;
    const char *quote = strchr (p + 1, *p);
    return quote && ends_here (quote + 1) ? NULL : "has a broken quotation";
}

static void check_lines (struct config_loader *self, const char *text)
{
    char line[LINE_BYTES_MAX + 2];
    for (unsigned number = 1; *text; number++) {
        size_t n = strcspn (text, "\n");
        snprintf (line, sizeof line, "%.*s", (int) (n < sizeof line ? n : sizeof line), text);
        const char *fault = line_fault (line);
        if (fault)
            config_fault (self, "option config: file %s, line %u %s", self->file, number, fault);
        text += n + (text[n] == '\n');
    }
}

static void take_items (struct config_loader *self)
{
    for (zconfig_t *item = zconfig_child (self->tree); item; item = zconfig_next (item)) {
        struct slice name = slice_str (zconfig_name (item));
        enum option_id id = find (name);
        if (id < OPTION_COUNT)
            offer (self, id, SOURCE_FILE, zconfig_value (item));
        else
            fault_unknown (self, name, "file ", self->file);
    }
}

void config_take_file (struct config_loader *self)
{
    if (!self->file || !*self->file)
        return;
    bool failed = self->failed;
    self->failed = false;
    char *text = read_file (self);
    if (text)
        check_lines (self, text);
    if (text && !self->failed)
        self->tree = zconfig_str_load (text);
    if (self->tree)
        take_items (self);
    else if (!self->failed)
        config_fault (self, "option config: file %s is not ZPL (NAME = \"VALUE\" lines)", self->file);
    self->failed |= failed;
    free (text);
}
