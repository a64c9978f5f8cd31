#!/usr/bin/env bash
# Finds CPython interpreters of 3.11 or newer that start.
#
#   tools/find-python.sh         prints the best one: $PYTHON, else python3.13 .. python3.11, else python3
#   tools/find-python.sh --all   prints "VERSION PATH" of every one on this machine, a minor version once
#
# pyenv's shims may name versions that are switched off, so each candidate is started
# and asked who it is, instead of being believed by its name.
set -euo pipefail

# Prints "VERSION PATH" of a candidate that will do; fails otherwise.
ask() {
    "$1" -c '
import sys
if sys.version_info < (3, 11) or sys.implementation.name != "cpython":
    sys.exit(1)
if not sys.flags.isolated and getattr(sys, "_is_gil_enabled", lambda: True)() is False:
    sys.exit(1)
base = sys._base_executable if sys.prefix != sys.base_prefix else sys.executable
print("%d.%d" % sys.version_info[:2], base)
' 2>/dev/null </dev/null
}

if [ "${1:-}" != "--all" ]; then
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" && ask "$PYTHON" >/dev/null && exit 0
        echo "find-python: PYTHON=$PYTHON is not a CPython of 3.11 or newer that starts" >&2
        exit 1
    fi
    for name in python3.13 python3.12 python3.11 python3; do
        command -v "$name" >/dev/null || continue
        if found=$(ask "$name"); then
            echo "${found#* }"
            exit 0
        fi
    done
    echo "find-python: no Python 3.11 or newer was found; install one with: apt-get install python3" >&2
    exit 1
fi

pyenv_root=${PYENV_ROOT:-${HOME:-}/.pyenv}
for candidate in "$pyenv_root"/versions/*/bin/python3.?? /usr/local/bin/python3.?? /usr/bin/python3.??; do
    [ -x "$candidate" ] || continue
    ask "$candidate" || true
done | sort -k 1,1 -t ' ' -V -s -u
