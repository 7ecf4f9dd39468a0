/* Checked state machines: a table says which moves are allowed; an illegal move changes nothing. */
#ifndef BASE_SM_H
#define BASE_SM_H

#include "base/check.h"

#include <stdbool.h>
#include <stdint.h>

struct sm_state {
    const char *name;
    uint32_t next; /* bit 1 << state for each state that may follow */
};

static inline bool sm_allowed (const struct sm_state *table, unsigned from, unsigned to)
{
    return table[from].next >> to & 1;
}

#endif
