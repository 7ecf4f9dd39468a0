/* Why an event from the runtime was not taken. Label of agentbridge_events_dropped_total. */
DROP_REASON (MALFORMED,     "malformed")         /* not one msgpack map, trailing bytes, a count beyond the end */
DROP_REASON (TOO_DEEP,      "too_deep")          /* nested deeper than 64 */
DROP_REASON (TOO_BIG,       "too_big")           /* over max-event-bytes */
DROP_REASON (NO_TYPE,       "no_type")           /* no string `type` */
DROP_REASON (DUPLICATE_KEY, "duplicate_key")     /* a routing field twice */
DROP_REASON (BAD_USER,      "bad_user")          /* frame 0 is no valid user id */
DROP_REASON (ISOLATION,     "isolation")         /* another user's id or connection in it */
DROP_REASON (BAD_FRAMES,    "bad_frames")        /* not two or three frames, or meta unreadable */
DROP_REASON (NO_CONNECTION, "no_connection")     /* narrowed to a connection that has gone */
DROP_REASON (REPEAT,        "repeat")            /* publisher and seq have come already */
DROP_REASON (SECOND_END,    "second_end")        /* its run has ended already */
DROP_REASON (NO_MEMORY,     "no_memory")
