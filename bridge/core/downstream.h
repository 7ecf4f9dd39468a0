/* What the runtime sends, to the clients. */
#ifndef CORE_DOWNSTREAM_H
#define CORE_DOWNSTREAM_H

#include "core/hub.h"

/* One message of the event socket: 2 or 3 frames [user_id][event][meta]. Borrows. */
void downstream_event (struct hub *hub, const struct slice *frames, size_t n);

/* One message of the command socket of `lane`: the frames without routing id. Borrows. */
void downstream_command (struct hub *hub, int lane, const struct slice *frames, size_t n);

/* An event that the bridge makes itself, as if the runtime had sent it. Borrows. False when memory is out. The user may
 * be gone afterwards. */
NODISCARD bool downstream_own (struct hub *hub, struct user *user, const struct event *event);

/* Have the publishers deliver here. Once, after hub_init. */
void downstream_attach (struct hub *hub);

#endif
