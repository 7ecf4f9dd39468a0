#!/usr/bin/python3
"""Who may include whom in bridge/: includes point down only.

    main.c, bridge.c, reload.c, cmd/  ->  edge/  ->  core/  ->  base/         tbl/ and proto/ are data that all may include

libwebsockets is for edge/ws.c (server) and cmd/ws_client.c (client), libcurl for edge/jwks_fetch.c and cmd/http_call.c: the
tools are programs of their own that use the edge's libraries as the edge does. ZeroMQ is for edge/link, edge/monitor, edge/outbox and
edge/jwks_fetch, main.c and cmd/ (zsys), base/config* (zconfig).
Prints each violation and exits 1 when there is one."""
import pathlib
import re
import sys
import tempfile

LAYERS = {"base": 0, "core": 1, "edge": 2, "cmd": 3, "top": 3}
LWS = re.compile(r"libwebsockets\.h|lws[-_/].*")
ZMQ = re.compile(r"(zmq|czmq|zmq_utils|z[a-z]+)\.h")
CURL = re.compile(r"curl/.*")
UV = re.compile(r"uv(/.*|\.h)")
LWS_FILES = {"edge/ws.c", "cmd/ws_client.c"}
CURL_FILES = {"edge/jwks_fetch.c", "cmd/http_call.c"}
ZMQ_FILES = re.compile(r"edge/(actor|link|monitor|outbox|jwks_fetch)\.[ch]|main\.c|cmd/\w+\.[ch]|base/config\w*\.[ch]")
INCLUDE = re.compile(r"""^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]""", re.M)
SYSTEM_Z = {"zlib.h"}


def layer_of(path):
    """The folder in bridge/; "top" for the files in bridge/ itself."""
    first = path.split("/")[0]
    return first if "/" in path else "top"


def includes(text):
    """(line number, header) of each #include."""
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start(2)) + 1, match[2]


def library_fault(path, header):
    """Why this file may not include this library; None when it may."""
    if LWS.fullmatch(header):
        return None if path in LWS_FILES else "only edge/ws.c and cmd/ws_client.c include libwebsockets"
    if CURL.fullmatch(header):
        return None if path in CURL_FILES else "only edge/jwks_fetch.c and cmd/http_call.c include libcurl"
    if ZMQ.fullmatch(header) and header not in SYSTEM_Z:
        return None if ZMQ_FILES.fullmatch(path) else "only edge/actor, edge/link, edge/monitor, edge/outbox, edge/jwks_fetch, main.c, cmd/ and base/config* include ZeroMQ"
    if UV.fullmatch(header) and layer_of(path) in ("base", "core", "tbl"):
        return f"{layer_of(path)} knows no event loop"
    return None


def layer_fault(path, header, bridge):
    """Why this file may not include this header of ours; None when it may or the header is not ours."""
    if not (bridge / header).is_file():
        return None
    mine, theirs = layer_of(path), layer_of(header)
    if theirs == "tbl":
        return None
    if mine == "tbl":
        return "tables include nothing but tables"
    if mine not in LAYERS or theirs not in LAYERS:
        return "a folder without a place among the layers"
    return None if LAYERS[theirs] <= LAYERS[mine] else f"{mine} is below {theirs}"


def resolve(path, header, bridge):
    """A header that is named relative to its file, as seen from bridge/."""
    beside = (bridge / path).parent / header
    if not (bridge / header).is_file() and beside.is_file():
        return str(beside.resolve().relative_to(bridge.resolve()))
    return header


def check(root):
    """All violations below `root`, one line each."""
    bridge, found = root / "bridge", []
    files = sorted(p for p in bridge.rglob("*.[ch]")) + sorted((root / "proto").rglob("*.[ch]"))
    for file in files:
        ours = bridge in file.parents
        path = str(file.relative_to(bridge)) if ours else "tbl/" + file.name
        for line, header in includes(file.read_text()):
            header = resolve(path, header, bridge) if ours else header
            fault = library_fault(path, header) or layer_fault(path, header, bridge)
            if fault:
                found.append(f"{file.relative_to(root)}:{line}: includes {header}: {fault}")
    return found, len(files)


# What the checker has to find: {file: [(text, is it a violation)]}, one include a line.
SAMPLES = {
    "bridge/base/a.c": [('"base/a.h"', 0), ('"tbl/t.h"', 0), ('"words.h"', 0), ("<zlib.h>", 0), ('"core/a.h"', 1), ('"edge/a.h"', 1),
                        ('"cmd/cmd.h"', 1), ('"bridge.h"', 1), ("<czmq.h>", 1), ("<uv.h>", 1), ('"../core/a.h"', 1)],
    "bridge/base/config_x.c": [("<czmq.h>", 0), ('"base/a.h"', 0), ("<libwebsockets.h>", 1)],
    "bridge/core/a.c": [('"core/a.h"', 0), ('"base/a.h"', 0), ("<openssl/evp.h>", 0), ('"edge/a.h"', 1), ('"cmd/cmd.h"', 1),
                        ('"bridge.h"', 1), ("<libwebsockets.h>", 1), ("<uv.h>", 1), ("<zmq.h>", 1), ("<czmq.h>", 1), ("<zsock.h>", 1)],
    "bridge/edge/ws.c": [("<libwebsockets.h>", 0), ("<uv.h>", 0), ('"core/a.h"', 0), ("<zmq.h>", 1), ('"bridge.h"', 1)],
    "bridge/edge/ws.h": [("<libwebsockets.h>", 1)],
    "bridge/edge/link.c": [("<czmq.h>", 0), ("<zmq.h>", 0), ('"edge/a.h"', 0), ('"cmd/cmd.h"', 1), ("<libwebsockets.h>", 1)],
    "bridge/edge/monitor.c": [("<zmq.h>", 0), ("<curl/curl.h>", 1)],
    "bridge/edge/jwks_fetch.c": [("<czmq.h>", 0), ("<curl/curl.h>", 0), ("<libwebsockets.h>", 1)],
    "bridge/edge/jwks_fetch.h": [("<curl/curl.h>", 1)],
    "bridge/edge/admin.c": [("<zmq.h>", 1), ("<libwebsockets.h>", 1)],
    "bridge/cmd/x.c": [('"cmd/cmd.h"', 0), ('"edge/a.h"', 0), ('"bridge.h"', 0), ("<czmq.h>", 0), ("<libwebsockets.h>", 1), ("<curl/curl.h>", 1)],
    "bridge/cmd/ws_client.c": [("<libwebsockets.h>", 0), ("<uv.h>", 0), ("<curl/curl.h>", 1)],
    "bridge/cmd/ws_client.h": [("<libwebsockets.h>", 1)],
    "bridge/cmd/http_call.c": [("<curl/curl.h>", 0), ("<libwebsockets.h>", 1)],
    "bridge/main.c": [("<czmq.h>", 0), ('"bridge.h"', 0), ('"cmd/cmd.h"', 0), ("<libwebsockets.h>", 1)],
    "bridge/tbl/t.h": [('"tbl/labels.h"', 0), ('"base/a.h"', 1)],
    "bridge/new/x.c": [('"base/a.h"', 1)],
    "proto/words.h": [('"base/a.h"', 1)],
}
TARGETS = ["base/a.h", "core/a.h", "edge/a.h", "cmd/cmd.h", "bridge.h", "tbl/labels.h"]


def self_test():
    """Each violation of a made-up tree is found, and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for target in TARGETS:
            (root / "bridge" / target).parent.mkdir(parents=True, exist_ok=True)
            (root / "bridge" / target).write_text("")
        for file, rows in SAMPLES.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text("".join(f"# include {header}\n" for header, _ in rows))
        wanted = {f"{file}:{line}" for file, rows in SAMPLES.items() for line, (_, bad) in enumerate(rows, 1) if bad}
        found = {line.split(": ")[0] for line in check(root)[0]}
    faults = [f"not found: {place}" for place in sorted(wanted - found)]
    return faults + [f"found without reason: {place}" for place in sorted(found - wanted)]


def main():
    """The checker itself, then the tree."""
    faults = [f"self-test: {fault}" for fault in self_test()]
    found, count = check(pathlib.Path(__file__).resolve().parents[2])
    for line in faults + found:
        print(line)
    print(f"{count} files, {len(found)} violations")
    return 1 if faults or found or count < 50 else 0


if __name__ == "__main__":
    sys.exit(main())
