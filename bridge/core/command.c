#include "core/command.h"
#include "base/check.h"

static const struct {
    const char *text;
    bool to_bridge;
} commands[COMMAND_COUNT] = {
#define COMMAND(symbol, to_runtime, to_bridge) [COMMAND_##symbol] = {#symbol, to_bridge},
#include "commands.h"
#undef COMMAND
};

const char *command_text (enum command_name name)
{
    CHECK (name < COMMAND_COUNT);
    return commands[name].text;
}

enum command_name command_from_runtime (struct slice text)
{
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (commands[i].to_bridge && slice_is (text, commands[i].text))
            return (enum command_name) i;
    return COMMAND_COUNT;
}
