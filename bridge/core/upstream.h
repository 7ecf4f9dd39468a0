/* Client frame to runtime. */
#ifndef CORE_UPSTREAM_H
#define CORE_UPSTREAM_H

#include "core/conn.h"

/* A piece of a message has arrived; `final` with the last one. Borrows `bytes`. */
void upstream_chunk (struct conn *conn, enum ws_opcode opcode, struct slice bytes, bool final);

/* The connection is ready: handle what came before, in order. */
void upstream_release_early (struct conn *conn);

#endif
