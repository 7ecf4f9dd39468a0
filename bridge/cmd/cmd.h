/* The subcommands: each returns the exit code of the program. argv holds only the command's own arguments. */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include "base/config.h"

/* `agentbridge token --user U [--ttl 3600]`: print a JWT signed with the configured HMAC secret. */
int cmd_token (const struct config *config, int argc, char **argv);

/* `agentbridge verify`: judge tokens, one a line from standard input, under the configured keys. */
int cmd_verify (const struct config *config, int argc, char **argv);

#endif
