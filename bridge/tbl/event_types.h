/* Event types that metrics name; every other type is counted as "other". */
EVENT_TYPE (agent_started)
EVENT_TYPE (agent_thinking)
EVENT_TYPE (tool_executing)
EVENT_TYPE (tool_completed)
EVENT_TYPE (agent_completed)
EVENT_TYPE (agent_error)
EVENT_TYPE (progress_update)
EVENT_TYPE (stream_chunk)
