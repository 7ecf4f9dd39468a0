"""Rows of the bridge's own tables (bridge/tbl/*.h), so that a test walks all of them and none by heart."""
import collections
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[3]

Option = collections.namedtuple("Option", "kind field name default")
Metric = collections.namedtuple("Metric", "symbol name kind labels")
ErrorCode = collections.namedtuple("ErrorCode", "code status retry ours message")


def _rows(file, pattern):
    return re.findall(pattern, (ROOT / "bridge/tbl" / file).read_text(), re.M)


def options():
    """Every option of the program."""
    return [Option(*row) for row in _rows("options.h", r'^OPTION \((\w+),\s*(\w+),\s*"([^"]+)",\s*"([^"]*)"')]


def metrics():
    """Every metric of the bridge itself, names without prefix."""
    return [Metric(*row) for row in _rows("metrics.h", r'^METRIC \((\w+),\s*"(\w+)",\s*(\w+),\s*(\w+),')]


def error_codes():
    """{code: row} of the refusals."""
    rows = _rows("error_codes.h", r'^ERROR_CODE \((\w+),\s*(\d+),\s*(\w+),\s*(\w+),\s*"([^"]+)"\)')
    return {code: ErrorCode(code, int(status), retry == "true", ours == "true", message)
            for code, status, retry, ours, message in rows}


def event_types():
    """The event types that metrics name."""
    return _rows("event_types.h", r"^EVENT_TYPE \((\w+)\)")


def conn_states():
    """The states of a connection."""
    return _rows("conn_states.h", r"^CONN_STATE \((\w+),")


def subprotocols():
    """The subprotocol tokens of the header."""
    return _rows("subprotocols.h", r'^SUBPROTOCOL \(\w+,\s*"([^"]+)"')
