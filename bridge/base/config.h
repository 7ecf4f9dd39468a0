/* The configuration: one field per row of tbl/options.h.
 * Precedence: flag, then variable, then file, then default. */
#ifndef BASE_CONFIG_H
#define BASE_CONFIG_H

#include "base/buf.h"
#include "base/check.h"

#include <stdint.h>

struct config {
/* Texts are owned and never NULL; "" means not set. CHOICE holds the chosen word. */
#define OPTION_FIELD_STR(field)                                 char *field;
#define OPTION_FIELD_SECRET(field)                              char *field;
#define OPTION_FIELD_FILE(field)                                char *field;
#define OPTION_FIELD_CHOICE(field)                              char *field;
#define OPTION_FIELD_INT(field)                                 int64_t field;
#define OPTION_FIELD_BOOL(field)                                bool field;
#define OPTION(kind, field, name, dflt, min, max, reload, help) OPTION_FIELD_##kind (field)
#include "tbl/options.h"
#undef OPTION
};

/* Read flags (argv[0] is the first flag, not the program), variables (`env`, NULL-terminated NAME=VALUE) and the
 * file named by --config or AGENTBRIDGE_CONFIG.
 * NULL when anything is wrong; then `error` holds one line per fault: option, value, what is allowed. */
NODISCARD struct config *config_new (int argc, char **argv, char **env, struct buf *error);

/* The same for a program that wants only the options of the comma list `names`: what is said of the others does not
 * count, so that no fault there stops it, and no token key need be there. */
NODISCARD struct config *config_new_part (const char *names, int argc, char **argv, char **env, struct buf *error);

void config_destroy (struct config **self_p);

/* What config_print shows of each option: `value` with secrets as ***; does it differ from the default? */
typedef void config_row_fn (void *arg, const char *name, const char *value, bool changed);
void config_each (const struct config *self, config_row_fn *fn, void *arg);
size_t config_count (void); /* of options */

/* Append the configuration in force as a ZPL file that can be read back; secrets as ***. */
void config_print (const struct config *self, struct buf *out);

/* Append the option lines of --help. */
void config_help (struct buf *out);

/* Append the Markdown table of the reference. */
void config_reference (struct buf *out);

/* May a running bridge go on with `next`? Not with another environment, by whose rules `next` was judged: what tests
 * may do would come into production that way. False then, with a line in `error`. */
NODISCARD bool config_may_reload (const struct config *self, const struct config *next, struct buf *error);

/* Take from `next` the values of the options that may be reloaded (moves the texts). `changed` (may be NULL) gets the
 * names of options that differ but want a restart, comma-separated. */
void config_reload (struct config *self, struct config *next, struct buf *changed);

/* Overwrite the values of secrets in these flags (argv[0] is the first), which `ps` shows. How many there were. */
size_t config_hide_secrets (int argc, char **argv);

/* Everything that only tests may do asks here; bypass, tokens of our own and short secrets among it. */
bool config_is_production (const struct config *self);

/* Does jwks-url name this machine's loopback? */
bool config_jwks_is_local (const struct config *self);

/* Is this one of the comma-separated words of `list`? Blanks around a word do not count. */
bool config_list_has (const char *list, struct slice word);

#endif
