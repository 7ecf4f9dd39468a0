/* Parts of a struct wire for servers that connect to the publisher over ZMTP: to a PUB, and to where messages go. */
#ifndef LOAD_WIRE_ZMTP_H
#define LOAD_WIRE_ZMTP_H

#include "load.h"

/* `fn` gets what arrives at the other socket, of type `type`; its first argument is the load. */
void wire_zmtp_open (struct load *load, const char *type, void (*fn) (void *arg, const struct slice *frames, size_t n));

/* The server has subscribed. */
bool wire_zmtp_is_ready (const struct load *load);
void wire_zmtp_publish (struct load *load, const struct user *user, struct slice body);
void wire_zmtp_flush (struct load *load);

#endif
