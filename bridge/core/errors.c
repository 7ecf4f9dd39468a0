#include "core/errors.h"
#include "base/check.h"

static const struct error_info infos[ERROR_CODE_COUNT] = {
#define ERROR_CODE(symbol, status, retry, ours, message) [ERROR_##symbol] = {#symbol, message, status, retry, ours},
#include "tbl/error_codes.h"
#undef ERROR_CODE
};

const struct error_info *error_info (enum error_code code)
{
    CHECK (code < ERROR_CODE_COUNT);
    return &infos[code];
}
