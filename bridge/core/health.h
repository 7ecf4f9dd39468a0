/* What probes and people ask: is it alive, is it ready, and if not, why? */
#ifndef CORE_HEALTH_H
#define CORE_HEALTH_H

#include "core/hub.h"

/* "healthy", "degraded" (serving without the runtime) or "unhealthy". */
const char *health_status (const struct hub *hub);

/* Append the document of /ws/health; the HTTP status to answer it with. */
int health_write (const struct hub *hub, struct buf *out);

/* Append the document of /readyz, with the reasons when it is not ready; the HTTP status to answer it with. */
int health_write_ready (const struct hub *hub, struct buf *out);

#endif
