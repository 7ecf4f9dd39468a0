/* Private to config*.c: the rows of tbl/options.h, and a configuration on its way from its sources to its
 * fields. */
#ifndef BASE_CONFIG_TABLE_H
#define BASE_CONFIG_TABLE_H

#include "base/config.h"

enum option_id {
#define OPTION(kind, field, name, dflt, min, max, reload, help) OPTION_##field,
#include "tbl/options.h"
#undef OPTION
    OPTION_COUNT
};

enum option_kind {
    OPTION_KIND_STR,
    OPTION_KIND_SECRET,
    OPTION_KIND_FILE,
    OPTION_KIND_CHOICE,
    OPTION_KIND_INT,
    OPTION_KIND_BOOL
};

struct option_row {
    const char *name, *dflt, *help;
    const char *choices; /* a|b|c; NULL for the other kinds */
    int64_t min, max;    /* INT: the value; texts: bytes */
    size_t offset;       /* of the field in struct config */
    enum option_kind kind;
    bool reload;
};

extern const struct option_row option_rows[OPTION_COUNT];

/* Text, secret, file and choice are strings; each of these is for its kinds only. */
char **option_text (const struct config *config, const struct option_row *row);
int64_t *option_int (const struct config *config, const struct option_row *row);
bool *option_bool (const struct config *config, const struct option_row *row);

static inline bool option_is_text (const struct option_row *row)
{
    return row->kind != OPTION_KIND_INT && row->kind != OPTION_KIND_BOOL;
}

/* AGENTBRIDGE_LISTEN for listen. */
void option_put_variable (struct buf *out, const struct option_row *row);

/* The variable without our prefix that is read as well, weaker than every other source; "" when there is none. */
const char *option_fallback (enum option_id id);

/* What may stand there: "a number from 1 to 10". */
void option_put_allowed (struct buf *out, const struct option_row *row);

/* Weakest first. */
enum option_source {
    SOURCE_DEFAULT,
    SOURCE_ENVIRONMENT, /* a variable without our prefix, see option_fallback */
    SOURCE_FILE,
    SOURCE_VARIABLE,
    SOURCE_FLAG
};

struct config_loader {
    struct config *config;
    struct buf *error;
    const char *names; /* the options that count, comma list; NULL: all */
    struct {
        const char *text; /* borrowed from the source */
        enum option_source source;
    } given[OPTION_COUNT];
    bool faulty[OPTION_COUNT];
    bool failed;
    const char *file; /* NULL when there is none */
    enum option_source file_source;
    struct _zconfig_t *tree; /* owns the texts of the file */
};

/* Gather what the sources say. */
void config_take_flags (struct config_loader *self, int argc, char **argv);
void config_take_variables (struct config_loader *self, char **env);
void config_take_file (struct config_loader *self);

/* Tell a fault that is no option's in particular. */
void config_fault (struct config_loader *self, const char *format, ...) PRINTF_LIKE (2, 3);

/* Tell a fault of an option: `option NAME: "VALUE" (SOURCE) ` goes before. Only the first one of each option
 * counts. */
void config_fault_option (struct config_loader *self, enum option_id id, const char *format, ...) PRINTF_LIKE (3, 4);

/* The rules across fields; fills in bridge_id. */
void config_check_rules (struct config_loader *self);

/* Take the next entry of a comma list off `rest`, without blanks around it. False at the end. An entry can be
 * empty. */
bool config_list_next (struct slice *rest, struct slice *word);

#endif
