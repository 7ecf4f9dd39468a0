/* The sources of the configuration (base/config.c, config_sources.c, config_rules.c): a file, flags, variables. What is
 * taken can be printed and read back, and says the same then; what is not taken is told in whole lines.
 *
 * The first byte says what follows: a file, or flags or variables with a NUL between them. */
#include "base/config.h"
#include "input.h"

#include <sys/mman.h>
#include <unistd.h>

#define WORDS_MAX 64

static int file_of (struct slice content, char path[64])
{
    int fd = memfd_create ("config", MFD_CLOEXEC);
    CHECK (fd >= 0 && (content.n == 0 || write (fd, content.p, content.n) == (ssize_t) content.n));
    snprintf (path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

static const size_t n_options = 0
#define OPTION(kind, field, name, dflt, min, max, reload, help) +1
#include "tbl/options.h"
#undef OPTION
    ;

/* Can every option be written as a line of ZPL? Not with both kinds of quotation marks, with a line end, or when it is
 * longer than a line may be. */
static bool is_writable (struct slice text)
{
    struct slice line;
    size_t lines = 0;
    if (memmem (text.p, text.n, "cannot be written", 17))
        return false;
    for (; slice_cut (&text, '\n', &line); lines++)
        if (line.n > 1024)
            return false;
    return lines == n_options;
}

/* The configuration as check-config prints it, read back and printed again. */
static void check_print (const struct config *config)
{
    char path[64], *no_variables[] = {NULL}, *flags[] = {"--config", path, "--environment", "test"};
    struct buf first, second, error;
    buf_init (&first, 0);
    buf_init (&second, 0);
    buf_init (&error, 0);
    config_print (config, &first);
    CHECK (!first.failed);
    int fd = file_of (buf_slice (&first), path);
    /* Secrets come back as ***, which is too short for production. */
    struct config *again = config_new ((int) COUNT_OF (flags), flags, no_variables, &error);
    if (is_writable (buf_slice (&first))) {
        CHECK (again);
        free (again->environment);
        again->environment = strdup (config->environment);
        config_print (again, &second);
        CHECK (slice_eq (buf_slice (&first), buf_slice (&second)));
    }
    config_destroy (&again);
    close (fd);
    buf_fini (&first);
    buf_fini (&second);
    buf_fini (&error);
}

static void try_config (int argc, char **argv, char **env)
{
    struct buf error;
    buf_init (&error, 0);
    struct config *config = config_new (argc, argv, env, &error);
    CHECK ((config == NULL) == (error.n > 0));
    CHECK (config || error.p[error.n - 1] == '\n');
    if (config)
        check_print (config);
    config_destroy (&config);
    buf_fini (&error);
}

/* Cut at each NUL; owned. */
static int split (struct slice rest, char *words[WORDS_MAX + 1])
{
    int n = 0;
    struct slice part;
    while (n < WORDS_MAX && rest.n) {
        if (!slice_cut (&rest, '\0', &part)) {
            part = rest;
            rest = slice_of (NULL, 0);
        }
        words[n++] = text_of (part);
    }
    words[n] = NULL;
    return n;
}

static void try_file (struct slice content)
{
    char path[64], *env[] = {NULL}, *flags[] = {"--jwt-secret", "0123456789abcdef0123456789abcdef", "--config", path};
    int fd = file_of (content, path);
    try_config ((int) COUNT_OF (flags), flags, env);
    try_config (2, flags + 2, env);
    close (fd);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    struct slice rest = slice_of (data, size);
    char *words[WORDS_MAX + 1], *env[] = {"AGENTBRIDGE_JWT_SECRET=0123456789abcdef0123456789abcdef", NULL};
    uint8_t what = input_byte (&rest) % 3;
    if (what == 0) {
        try_file (rest);
        return 0;
    }
    int n = split (rest, words);
    if (what == 1)
        try_config (n, words, env);
    else
        try_config (0, words, words);
    for (int i = 0; i < n; i++)
        free (words[i]);
    return 0;
}
