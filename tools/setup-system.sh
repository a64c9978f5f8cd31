#!/usr/bin/env bash
# Makes sure that Debian's packages for one of these are there, and is quick when they are:
#
#   tools/setup-system.sh build   what `make demo` and `make test` need (the default)
#   tools/setup-system.sh ci      also the linters, sanitizers, fuzzers and checkers of .ci/run
#
# Installs by apt-get as root or through sudo; otherwise says what to install and fails.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
need() { # need PACKAGE COMMAND...: the package is needed when the command fails
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || packages+=("$package")
}

has() { command -v "$1"; }

need gcc has gcc
need libc6-dev test -e /usr/include/stdio.h
need make has make
need pkg-config has pkg-config
need protobuf-c-compiler has protoc-c
need libuv1-dev pkg-config --exists libuv
need libseccomp-dev pkg-config --exists libseccomp
need libprotobuf-c-dev pkg-config --exists libprotobuf-c

# The interpreter that the virtual environment is made from; Debian ships its headers and
# its venv module as packages of their own, other interpreters bring both along.
python_parts() {
    local python=$1 version
    version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    need "$version-venv" "$python" -c 'import ensurepip, venv'
    need "$version-dev" "$python" -c '
import pathlib, sysconfig
assert pathlib.Path(sysconfig.get_path("include"), "Python.h").exists()'
}
if python=$(tools/find-python.sh 2>/dev/null); then
    python_parts "$python"
elif [ -z "${PYTHON:-}" ]; then
    packages+=(python3 python3-venv python3-dev)
else
    tools/find-python.sh # says why $PYTHON will not do
fi

if [ "${1:-build}" = ci ]; then
    need clang-14 has clang-14
    need clang-format-14 has clang-format-14
    need clang-tidy-14 has clang-tidy-14
    need libclang-rt-14-dev sh -c 'ls /usr/lib/llvm-14/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a'
    need git has git
    need chromium has chromium
    need systemd has systemd-analyze
    need apparmor test -x /usr/sbin/apparmor_parser
    need python3 test -x /usr/bin/python3
    if [ -x /usr/bin/python3 ]; then
        python_parts /usr/bin/python3
    else
        packages+=(python3-venv python3-dev)
    fi
fi

[ ${#packages[@]} -gt 0 ] || exit 0
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)

root=()
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        root=(sudo)
    else
        root=(none)
    fi
fi
if [ "${root[*]:-}" = none ] || ! command -v apt-get >/dev/null; then
    echo "pyproc needs these Debian packages (or your system's like of them); install them with:" >&2
    echo "    apt-get install ${packages[*]}" >&2
    exit 1
fi
echo "installing ${packages[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "${packages[@]}" >"$log" 2>&1
}
# The package lists may be missing or old; they are fetched only when the first try says so.
if ! install; then
    "${root[@]}" apt-get update >>"$log" 2>&1 || true
    install || { tail -n 30 "$log" >&2; exit 1; }
fi
