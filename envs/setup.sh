#!/usr/bin/env bash
# Makes .venv from requirements.lock and sees to what pip cannot bring (python3-venv, bedtools).
# Called by `make env`; safe to run again: it does only what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "env: $*" >&2; }
fail() { echo "env: ERROR: $*" >&2; exit 1; }

# Debian packages, where we may install them; otherwise one line that says what to do.
need_package() { # need_package <package> <why>
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing the Debian package $1 ($2)"
        { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$1"; } \
            >/dev/null || fail "apt-get could not install $1. Install it by hand, then run the same command again."
    else
        fail "$1 is missing ($2). Install it (Debian/Ubuntu: sudo apt-get install $1; conda: conda install -c bioconda $1), then run the same command again."
    fi
}

python=${PYTHON:-}
if [ -z "$python" ]; then
    for candidate in python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
fi
[ -n "$python" ] || fail "Python 3.11 or newer is needed and was not found. Install it, or name one: make env PYTHON=/path/to/python3.12"

command -v bedtools >/dev/null || need_package bedtools "genome intervals; it is not on PyPI"
"$python" -c 'import venv, ensurepip' 2>/dev/null || need_package python3-venv "virtual environments"

[ -x .venv/bin/python ] || { say "making .venv with $("$python" --version)"; "$python" -m venv .venv; }
say "installing the pinned packages of requirements.lock (a few minutes the first time)"
.venv/bin/python -m pip install --disable-pip-version-check -r requirements.lock -e workflow/lib

# The first Tomtom call of memelite and the first shuffle compile for a minute or two: do it here, once,
# where it is announced, and let numba keep the result beside the installed packages.
say "compiling numba functions once"
.venv/bin/python envs/warm_numba.py
touch .venv/.complete
say "ready: .venv ($(.venv/bin/python --version), torch $(.venv/bin/python -c 'import torch; print(torch.__version__)'), $(bedtools --version))"
