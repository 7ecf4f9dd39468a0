/* Parts of a struct wire for servers that the publisher connects to, and whose messages may span what carries them. */
#ifndef LOAD_WIRE_TCP_H
#define LOAD_WIRE_TCP_H

#include "load.h"

/* Connect load->publisher; what it gets goes to the wire's publisher_take. */
void wire_tcp_open (struct load *load);

/* publisher_take has set `subscribed`. */
bool wire_tcp_is_ready (const struct load *load);
void wire_tcp_flush (struct load *load);

/* Give client_take what the frame completes. */
void wire_tcp_frame (struct client *client, struct slice payload);

#endif
