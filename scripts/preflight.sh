#!/bin/sh
# Refuses, in one line that says what to do, a machine on which set-up could not end well.
# Prints the path of the Python that set-up will use; everything else goes to standard error.
#
# Usage: sh scripts/preflight.sh   (PYTHON=/path/to/python chooses the interpreter)
set -u

refuse() {
    echo "busbar: $*" >&2
    exit 1
}

case "$(uname -s)-$(uname -m)" in
    Linux-x86_64 | Darwin-x86_64 | Darwin-arm64) ;;
    *) refuse "$(uname -s) on $(uname -m) is not supported: use Linux on x86-64, or macOS." ;;
esac

command -v git > /dev/null 2>&1 || refuse "git is missing: apt-get install git (macOS: xcode-select --install)."
command -v node > /dev/null 2>&1 ||
    refuse "Node is missing: install Node 22.12 or later, or 20.19 (apt-get install nodejs npm; macOS: brew install node@22)."
command -v npm > /dev/null 2>&1 || refuse "npm is missing: apt-get install npm (macOS: brew install node@22)."
# shellcheck disable=SC2016
node -e 'const [a, b] = process.versions.node.split(".").map(Number);
         process.exit((a === 20 && b >= 19) || (a === 22 && b >= 12) || a > 22 ? 0 : 1)' 2> /dev/null ||
    refuse "Node $(node --version 2> /dev/null) does not fit: install Node 22.12 or later, or 20.19 or later of 20."

# Run each candidate: a version manager's shim may be on PATH and still refuse to start.
fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
found=
without_venv=
for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    [ -n "$candidate" ] || continue
    "$candidate" -c "$fits" > /dev/null 2>&1 || continue
    if "$candidate" -c 'import ensurepip, venv' > /dev/null 2>&1; then
        found=$candidate
        break
    fi
    without_venv=${without_venv:-$candidate}
done
if [ -z "$found" ]; then
    [ -z "$without_venv" ] ||
        refuse "$without_venv cannot make virtual environments: apt-get install python3-venv, then run make again."
    refuse "no Python 3.11, 3.12 or 3.13 that starts: apt-get install python3 python3-venv (macOS: brew install python@3.13), or set PYTHON=/path/to/python3.12."
fi
[ -z "${PYTHON:-}" ] || [ "$found" = "$PYTHON" ] ||
    refuse "PYTHON=$PYTHON is not a Python 3.11, 3.12 or 3.13 with the venv module: choose another, or unset PYTHON."

# The interpreter behind a shim, so that a later `cd` or version switch does not change what was chosen.
"$found" -c 'import sys; print(sys.executable)'
