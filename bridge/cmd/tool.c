#include "cmd/cmd.h"

/* Names of options as flags, in lines of the text around them. */
static void put_options (struct buf *out, const char *list)
{
    struct slice rest = slice_str (list), name;
    buf_puts (out, "\nOptions of the configuration that count here, as flag, variable or in --config FILE:");
    while (slice_next_item (&rest, &name))
        buf_printf (out, " --%.*s", (int) name.n, name.p);
    buf_putc (out, '\n');
}

int tool_help (const struct tool *tool)
{
    struct buf out;
    buf_init (&out, 0);
    buf_puts (&out, tool->usage);
    args_help (tool->rows, &out);
    if (tool->options)
        put_options (&out, tool->options);
    buf_puts (&out, tool->closing);
    bool ok = !out.failed && fwrite (out.p, 1, out.n, stdout) == out.n && fflush (stdout) == 0;
    buf_fini (&out);
    return ok ? 0 : 1;
}
