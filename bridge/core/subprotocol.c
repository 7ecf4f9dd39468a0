#include "core/subprotocol.h"
#include "base/check.h"

static const struct {
    const char *token;
    enum form form;
} subprotocols[SUBPROTOCOL_COUNT] = {
#define SUBPROTOCOL(symbol, token, form) [SUBPROTOCOL_##symbol] = {token, FORM_##form},
#include "tbl/subprotocols.h"
#undef SUBPROTOCOL
};

const char *subprotocol_token (enum subprotocol self)
{
    CHECK (self < SUBPROTOCOL_COUNT);
    return subprotocols[self].token;
}

enum form subprotocol_form (enum subprotocol self)
{
    CHECK (self < SUBPROTOCOL_COUNT);
    return subprotocols[self].form;
}

enum subprotocol subprotocol_of (struct slice token)
{
    for (int i = 0; i < SUBPROTOCOL_COUNT; i++)
        if (slice_is (token, subprotocols[i].token))
            return (enum subprotocol) i;
    return SUBPROTOCOL_NONE;
}
