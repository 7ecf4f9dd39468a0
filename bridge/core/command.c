#include "core/command.h"
#include "base/check.h"
#include "base/log.h"
#include "base/metrics.h"

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

const char *command_drop_text (unsigned reason)
{
    static const char *const labels[] = {
#define COMMAND_DROP(symbol) [COMMAND_DROP_##symbol] = #symbol,
#include "tbl/labels.h"
    };
    CHECK (reason < COUNT_OF (labels));
    return labels[reason];
}

void command_not_sent (const struct command *command, unsigned reason)
{
    struct log_ctx ctx = {.conn = command->connection_id, .user = command->user_id};
    metric_inc (M_COMMANDS_DROPPED, reason);
    LOG (COMMAND_NOT_SENT, &ctx, KV_S ("command", command_text (command->name)),
         KV_S ("why", command_drop_text (reason)));
}
