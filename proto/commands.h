/* The commands of the ZeroMQ link, shared by the bridge and the bindings. Normative text: proto/README.md.
 *
 *       name        to runtime / to bridge */
COMMAND (HELLO,      true,  true)
COMMAND (PING,       true,  true)
COMMAND (PONG,       true,  true)
COMMAND (CONNECT,    true,  false)
COMMAND (MESSAGE,    true,  false)
COMMAND (DISCONNECT, true,  false)
COMMAND (ABANDONED,  true,  false)
COMMAND (SEND,       false, true)
COMMAND (CLOSE,      false, true)
COMMAND (KICK,       false, true)
COMMAND (REPLAY,     true,  false)
COMMAND (EVENT,      false, true)
COMMAND (LOST,       false, true)
