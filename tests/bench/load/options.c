#include "options.h"
#include "loop.h"
#include "scenario.h"

#include <getopt.h>

enum kind {
    TEXT,
    NUMBER,
    FLAG
};

struct row {
    enum kind kind;
    const char *name;
    size_t at;
    const char *help;
};

static const struct row rows[] = {
#define ROW(row_kind, row_name, preset, row_help) {row_kind, #row_name, offsetof (struct options, row_name), row_help},
    OPTIONS (ROW)
#undef ROW
};

static const struct options presets = {
#define ROW(kind, name, preset, help) .name = preset,
    OPTIONS (ROW)
#undef ROW
};

/* events_port is --events-port. */
static const char *flag_of (const struct row *row)
{
    static char names[COUNT_OF (rows)][32];
    char *name = names[row - rows];
    for (size_t i = 0; row->name[i]; i++)
        name[i] = row->name[i] == '_' ? '-' : row->name[i];
    return name;
}

static void print_preset (const struct row *row)
{
    const char *field = (const char *) &presets + row->at;
    if (row->kind == NUMBER)
        printf (" [%ld]", *(const long *) field);
    else if (row->kind == TEXT && **(const char *const *) field)
        printf (" [%s]", *(const char *const *) field);
}

static void print_help (void)
{
    printf (
        "usage: bench_load SCENARIO [--OPTION VALUE]...\n\n"
        "Plays many WebSocket clients and the program behind a server, measures, and checks count, order, addressee\n"
        "and every byte of what arrives. Prints one line of JSON. The exit code is 0 only when nothing was wrong, and "
        "3\n"
        "when the server has nothing that the scenario could measure.\n\n"
        "Scenarios:\n");
    for (const struct scenario *s = scenarios; s->name; s++)
        printf ("  %-16s %s\n", s->name, s->help);
    printf ("\nOptions:\n");
    for (size_t i = 0; i < COUNT_OF (rows); i++) {
        printf ("  --%-16s %s", flag_of (&rows[i]), rows[i].help);
        print_preset (&rows[i]);
        printf ("\n");
    }
}

static void set (struct options *self, const struct row *row, const char *value)
{
    char *end = NULL;
    void *field = (char *) self + row->at;
    if (row->kind == TEXT)
        *(const char **) field = value;
    else
        *(long *) field = row->kind == FLAG ? 1 : strtol (value, &end, 10);
    if (end && (end == value || *end || *(long *) field < 0)) {
        fprintf (stderr, "bench_load: --%s wants a number, not %s\n", flag_of (row), value);
        exit (2);
    }
}

void options_read (struct options *self, int argc, char **argv)
{
    struct option longs[COUNT_OF (rows) + 2] = {{"help", no_argument, NULL, 'h'}};
    for (size_t i = 0; i < COUNT_OF (rows); i++)
        longs[i + 1] = (struct option){flag_of (&rows[i]), rows[i].kind == FLAG ? no_argument : required_argument, NULL,
                                       (int) (i + 256)};
    *self = presets;
    for (int c; (c = getopt_long (argc, argv, "h", longs, NULL)) != -1;) {
        if (c == '?')
            exit (2);
        if (c == 'h') {
            print_help ();
            exit (0);
        }
        set (self, &rows[c - 256], optarg);
    }
    if (optind != argc - 1) {
        fprintf (stderr, "bench_load: one scenario is wanted; see --help\n");
        exit (2);
    }
    self->scenario = argv[optind];
}
