/* The states of a connection and the moves that are allowed (contract: proto/README.md, "Connection").
 *
 *   connecting -> accepted -> authenticated -> services_ready -> processing_ready <-> processing <-> idle
 *                                  |                 |                  \              |             /
 *                                  +---- degraded <--+-------------------+-------------+------------+
 *                                           |
 *                                      reconnecting          any live state -> closing -> closed
 *                                                            any early state -> failed -> closed
 *
 *          symbol             next states */
CONN_STATE (connecting,       TO (accepted) TO (failed) TO (closed))
CONN_STATE (accepted,         TO (authenticated) TO (failed) TO (closed))
CONN_STATE (authenticated,    TO (services_ready) TO (degraded) TO (failed) TO (closed))
CONN_STATE (services_ready,   TO (processing_ready) TO (degraded) TO (failed) TO (closed))
CONN_STATE (processing_ready, TO (processing) TO (idle) TO (degraded) TO (closing) TO (failed) TO (closed))
CONN_STATE (processing,       TO (idle) TO (processing_ready) TO (degraded) TO (closing) TO (failed) TO (closed))
CONN_STATE (idle,             TO (processing) TO (processing_ready) TO (degraded) TO (closing) TO (failed) TO (closed))
CONN_STATE (degraded,         TO (processing_ready) TO (processing) TO (idle) TO (reconnecting) TO (closing) TO (failed) TO (closed))
CONN_STATE (reconnecting,     TO (services_ready) TO (processing_ready) TO (degraded) TO (failed) TO (closed))
CONN_STATE (closing,          TO (closed))
CONN_STATE (failed,           TO (closed))
CONN_STATE (closed,           )
