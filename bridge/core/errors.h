/* The error codes of refused connections (tbl/error_codes.h). */
#ifndef CORE_ERRORS_H
#define CORE_ERRORS_H

#include <stdbool.h>

enum error_code {
#define ERROR_CODE(symbol, status, retry, ours, message) ERROR_##symbol,
#include "tbl/error_codes.h"
#undef ERROR_CODE
    ERROR_CODE_COUNT,
    ERROR_NONE = ERROR_CODE_COUNT
};

struct error_info {
    const char *code;    /* error_code on the wire */
    const char *message; /* error_message on the wire */
    int http_status;
    bool retry; /* retry_allowed on the wire */
    bool ours;  /* connection_error and 1013 rather than authentication_error and 1008 */
};

/* Never NULL; aborts on ERROR_NONE. */
const struct error_info *error_info (enum error_code code);

#endif
