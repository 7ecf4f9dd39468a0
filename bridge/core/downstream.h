/* What the runtime sends, to the clients. */
#ifndef CORE_DOWNSTREAM_H
#define CORE_DOWNSTREAM_H

#include "core/hub.h"

/* One message of the event socket: 2 or 3 frames [user_id][event][meta]. Borrows. */
void downstream_event (struct hub *hub, const struct slice *frames, size_t n);

/* One message of the command socket of `lane`: the frames without routing id. Borrows. */
void downstream_command (struct hub *hub, int lane, const struct slice *frames, size_t n);

#endif
