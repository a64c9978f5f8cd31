#!/usr/bin/env bash
# Every static check, each by name; says at the end which of them failed.
#
#   tools/lint.sh             all of them
#   tools/lint.sh NAME...     some: ruff mypy typing bandit format tidy analyzer
#
# Needs the environment of `make lint` ($VENV, .venv by default) and a build in the checkout;
# the C checks need clang-format-14, clang-tidy-14 and gcc (tools/setup-system.sh ci).
set -uo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
mapfile -t c_sources < <(find csrc -name '*.c' | sort)
mapfile -t c_files < <(find csrc tests benchmarks examples -name '*.[ch]' | sort)

c_flags() {
    "$bin/python" - <<'END'
import sys, sysconfig

sys.path.insert(0, "tools")
import cbuild

builder = cbuild.Builder(cbuild.ROOT / "build" / "c")
builder.generate()
python = [f"-isystem{sysconfig.get_path('include')}"]
packages = cbuild.pkg_config("--cflags", *cbuild.LIBRARIES)
print(*cbuild.flags_for((), werror=False), "-Icsrc", f"-isystem{builder.generated}", *packages, *python)
END
}

check_ruff() {
    "$bin/ruff" check --quiet . && "$bin/ruff" format --quiet --check --diff .
}

check_mypy() { "$bin/mypy"; }

# What users may and may not write, and the stubs against the built modules.
check_typing() { "$bin/python" -m pytest -q tests/typing; }

check_bandit() { "$bin/bandit" --quiet --configfile pyproject.toml --recursive pyproc setup.py tools; }

check_format() { clang-format-14 --dry-run -Werror "${c_files[@]}"; }

# clang-tidy says how many warnings it hid in system headers; only real ones are shown.
check_tidy() {
    local flags
    flags=$(c_flags) || return 1
    # shellcheck disable=SC2086 # the flags are words
    printf '%s\0' "${c_sources[@]}" | xargs -0 -n 4 -P "$(nproc)" sh -c '
        flags=$1; shift
        clang-tidy-14 --quiet "$@" -- $flags 2>/dev/null' tidy "$flags"
}

check_analyzer() {
    local flags
    flags=$(c_flags) || return 1
    printf '%s\0' "${c_sources[@]}" | xargs -0 -n 1 -P "$(nproc)" sh -c '
        gcc $1 -Wno-all -Wno-extra -Wno-conversion -fanalyzer -fdiagnostics-path-format=none \
            -Werror -c -o /dev/null "$2"' analyzer "$flags"
}

[ $# -gt 0 ] || set -- ruff mypy typing bandit format tidy analyzer
failed=()
for name in "$@"; do
    began=$SECONDS
    if "check_$name"; then
        echo "lint: $name passed ($((SECONDS - began)) s)"
    else
        echo "lint: $name FAILED ($((SECONDS - began)) s)"
        failed+=("$name")
    fi
done
[ ${#failed[@]} -eq 0 ] || { echo "lint: failed: ${failed[*]}" >&2; exit 1; }
