/* Commands between bridge and runtime: five frames behind the routing id (proto/README.md, "Commands"). */
#ifndef CORE_COMMAND_H
#define CORE_COMMAND_H

#include "base/slice.h"

#include <stdint.h>

enum command_name {
#define COMMAND(symbol, to_runtime, to_bridge) COMMAND_##symbol,
#include "commands.h"
#undef COMMAND
    COMMAND_COUNT
};

#define COMMAND_FRAMES 5

/* Slices are borrowed. Headers are one msgpack map, or empty. */
struct command {
    enum command_name name;
    struct slice connection_id;
    struct slice user_id;
    struct slice headers;
    struct slice body;
};

const char *command_text (enum command_name name);

/* COMMAND_COUNT when there is no such command that a runtime may send. */
enum command_name command_from_runtime (struct slice text);

/* The label of why a command was dropped (COMMAND_DROP_...). */
const char *command_drop_text (unsigned reason);

/* Count and log a command that could not be handed over. */
void command_not_sent (const struct command *command, unsigned reason);

#endif
