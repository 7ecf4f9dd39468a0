/* The subcommands: each returns the exit code of the program. argv holds only the command's own arguments. */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include "base/config.h"
#include "cmd/args.h"

/* `agentbridge token --user U [--ttl 3600]`: print a JWT signed with the configured HMAC secret. */
int cmd_token (const struct config *config, int argc, char **argv);

/* `agentbridge verify`: judge tokens, one a line from standard input, under the configured keys. */
int cmd_verify (const struct config *config, int argc, char **argv);

/* A command with a table of arguments. */
struct tool {
    const char *name;
    const struct arg_row *rows;
    const char *usage;   /* what stands above the arguments in --help */
    const char *closing; /* and below them */
    const char *options; /* of the configuration that it reads, comma list; NULL: it reads none */
    int (*run) (const struct config *config, int argc, char **argv); /* `config` NULL when it reads none */
};

extern const struct tool tool_connect, tool_emit, tool_drain;

/* --help of a tool, on stdout; the exit code. */
int tool_help (const struct tool *tool);

#endif
