#!/usr/bin/env bash
# test_references.sh BINARY: bridge/OPTIONS.md, METRICS.md and LOGS.md say what the program says, and a stale file is
# found. Exits 1 otherwise.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BINARY=$(realpath "$1")
COPY=$(mktemp -d)
trap 'rm -rf "$COPY"' EXIT
failed=0

fail () {
    echo "FAILED: $*"
    failed=1
}

# The body is the table alone, to the last byte; `reference` needs no configuration.
body_equals () {
    local body
    body=$(sed -n '/^|/,$p' "$ROOT/bridge/$2"; echo .)
    [[ $body == "$(env -i "$BINARY" reference "$1"; echo .)" ]] || fail "bridge/$2 is stale: run bridge/references $BINARY"
    [[ $body == '| '* ]] || fail "bridge/$2 holds no table"
    head -1 "$ROOT/bridge/$2" | grep -q '^# ' || fail "bridge/$2 has no heading"
}

body_equals options OPTIONS.md
body_equals metrics METRICS.md
body_equals logs LOGS.md
"$ROOT/bridge/references" --check "$BINARY" || fail "bridge/references --check"

# In a copy: a changed, a shortened and a missing file are found; a rewrite heals all of them.
cp "$ROOT"/bridge/references "$ROOT"/bridge/*.md "$COPY"
# shellcheck disable=SC2016
for damage in 's/|$/!|/' '$d' '1d'; do
    for file in OPTIONS METRICS LOGS; do
        sed -i "$damage" "$COPY/$file.md"
        status=0
        "$COPY/references" --check "$BINARY" >"$COPY/diff" || status=$?
        ((status == 1)) || fail "$file.md with $damage: exit code $status"
        grep -q "^--- bridge/$file.md" "$COPY/diff" || fail "$file.md with $damage: no diff"
        "$COPY/references" "$BINARY"
        cmp "$COPY/$file.md" "$ROOT/bridge/$file.md" || fail "$file.md with $damage is not healed"
    done
done
rm "$COPY/LOGS.md"
"$COPY/references" --check "$BINARY" >/dev/null 2>&1 && fail "a missing file is not found"
status=0
"$COPY/references" "$COPY/no-such-program" 2>/dev/null || status=$?
((status == 2)) || fail "without a program: exit code $status"

((failed)) || echo "3 references are up to date"
exit $failed
