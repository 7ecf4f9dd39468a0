/* W3C Trace Context: whose request this is a part of. The bridge hands `traceparent` on as it came; here is what of it
 * may stand in a log line. */
#ifndef CORE_TRACE_H
#define CORE_TRACE_H

#include "base/slice.h"

#include <stdbool.h>

#define TRACEPARENT_MAX 128 /* bytes of one that is logged; version 00 has 55, later ones may have more */

/* As section 3.2 of Trace Context wants it: version (not ff), trace-id and parent-id (not all zero), flags, in small
 * hexadecimal letters; what a later version adds is printable. */
bool traceparent_valid (struct slice text);

#endif
