# Shared by bridge/quickstart and tests/run; sourced, not run. Wants TOP, the top of the clone.
# shellcheck shell=bash

export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
export PYTHON=/usr/bin/python3 # Debian's, with Debian's packages; another one may stand first in PATH

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
else
    bold='' red='' green='' plain=''
fi

step () { printf '%s==> %s%s\n' "$bold" "$*" "$plain"; }
good () { printf '%s%s%s\n' "$green" "$*" "$plain"; }
bad () { printf '%s%s%s\n' "$red" "$*" "$plain" >&2; }
die () { bad "$*"; exit 1; }

# logged NAME COMMAND...: run it with its output in build/NAME.log; on failure show the log's end.
logged () {
    local log=$TOP/build/$1.log status=0
    shift
    mkdir -p "$TOP/build"
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if ((status)); then
        bad "'$1' failed ($status); the end of ${log#"$TOP"/}:"
        tail -n 40 "$log" >&2
    fi
    return "$status"
}

sudo=()
if ((EUID != 0)); then
    sudo=(sudo)
    [[ -t 0 ]] || sudo=(sudo -n) # nobody there to type a password
fi
can_install () { ((EUID == 0)) || command -v sudo >/dev/null; }

installed () { [[ $(dpkg-query -W -f '${Status}' "$1" 2>/dev/null) == 'install ok installed' ]]; }
known () { apt-cache show --no-all-versions "$1" >/dev/null 2>&1; }

packages_refreshed=false
refresh_package_lists () {
    $packages_refreshed || logged apt-update "${sudo[@]}" apt-get update || return
    packages_refreshed=true
}

# wanted PURPOSE...: the packages of these purposes, one per line, alternatives still joined with |.
wanted () {
    local purpose words
    while read -r purpose words; do
        [[ " $* " == *" $purpose "* ]] && tr ' ' '\n' <<<"$words"
    done < <(grep -v '^#' "$TOP/.ci/packages") | sort -u
}

one_installed () {
    local name names
    IFS='|' read -ra names <<<"$1"
    for name in "${names[@]}"; do
        installed "$name" && return 0
    done
    return 1
}

first_known () {
    local name names
    IFS='|' read -ra names <<<"$1"
    for name in "${names[@]}"; do
        known "$name" && { echo "$name"; return 0; }
    done
    echo "${names[0]}" # apt-get says what is wrong with it
}

# need_packages PURPOSE...: install what is missing.
need_packages () {
    local entry missing=() names=()
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        die "This script works on Debian and Ubuntu. Elsewhere install what .ci/packages lists and build with CMake."
    fi
    for entry in $(wanted "$@"); do
        one_installed "$entry" || missing+=("$entry")
    done
    ((${#missing[@]})) || return 0
    can_install || die "Missing packages, and neither root nor sudo to install them: ${missing[*]}"
    step "Installing ${#missing[@]} packages: ${missing[*]}"
    refresh_package_lists || die "apt-get update failed; missing packages: ${missing[*]}"
    for entry in "${missing[@]}"; do
        names+=("$(first_known "$entry")")
    done
    logged apt-install "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends "${names[@]}" || die "The packages could not be installed."
}

# build_preset PRESET TESTS(ON|OFF): configure and build into build/PRESET.
build_preset () {
    logged "configure-$1" cmake -S "$TOP" --preset "$1" -DBUILD_TESTING="$2" &&
        logged "build-$1" cmake --build "$TOP/build/$1" --parallel "$(nproc)"
}

# Is there a clang that makes fuzzers? Its run-time library is a package of its own.
can_fuzz () {
    command -v clang >/dev/null &&
        clang -fsanitize=fuzzer,address,undefined -x c -o /dev/null - >/dev/null 2>&1 <<'TEXT'
int LLVMFuzzerTestOneInput (const char *data, unsigned long size);
int LLVMFuzzerTestOneInput (const char *data, unsigned long size)
{
    return data && size ? 0 : 0;
}
TEXT
}
