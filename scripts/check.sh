#!/bin/sh
# Every check that is not a test: format, lint, types, static analysis, proofs.
# Prints one line a step, shows the output of those that fail, and fails if any did.
#
# Usage: sh scripts/check.sh [STEP...]   (through `make check`; names of steps choose them, e.g. ARGS="mypy slither")
set -u
cd "$(dirname "$0")/.." || exit 1

chosen=" $* "
failed=
log=.cache/check
mkdir -p "$log"
export FOUNDRY_DISABLE_NIGHTLY_WARNING=1
forge=$(.venv/bin/python -c 'from busbar import tools; print(tools.forge_binary())') || exit 1

# step NAME COMMAND...
step() {
    name=$1
    shift
    case "$chosen" in "  " | *" $name "*) ;; *) return 0 ;; esac
    began=$(date +%s)
    if "$@" > "$log/$name.log" 2>&1; then verdict=PASS; else verdict=FAIL; fi
    note=
    [ ! -f "$log/$name.note" ] || note=$(cat "$log/$name.note")
    rm -f "$log/$name.note"
    printf '%s  %-16s %4ss  %s\n' "$verdict" "$name" "$(($(date +%s) - began))" "$note"
    if [ "$verdict" = FAIL ]; then
        failed="$failed $name"
        sed 's/^/      /' "$log/$name.log"
    fi
}

solidity_files() { find contracts tests/solidity tests/halmos -name '.*' -prune -o -name '*.sol' -print 2> /dev/null; }

prettier() {
    [ -n "$(solidity_files)" ] || { echo "no Solidity files" > "$log/prettier.note" && return 0; }
    solidity_files | tr '\n' '\0' | xargs -0 node_modules/.bin/prettier --check
}

solhint() {
    [ -n "$(solidity_files)" ] || { echo "no Solidity files" > "$log/solhint.note" && return 0; }
    # Proofs are called check_what__so, which is halmos's way and not solhint's.
    solidity_files | grep -v '^tests/halmos/' | tr '\n' '\0' |
        xargs -0 node_modules/.bin/solhint --disc --noPoster --max-warnings 0
}

# What halmos asks forge for: the same here, so that its own build finds everything in the compiler's cache.
halmos_wants="--ast --extra-output storageLayout metadata"

# From nothing, so that no contract deleted long ago is analysed; what has not changed comes from the compiler's cache.
# shellcheck disable=SC2086
forge_build() { rm -rf .cache/forge/out && "$forge" build --force --build-info $halmos_wants; }

# Slither reads what forge built, so the sources are compiled once for both analysers.
slither() {
    PATH="$(dirname "$forge"):$PATH" \
        .venv-check/bin/slither . --ignore-compile --foundry-out-directory .cache/forge/out --config-file slither.config.json
}

halmos() {
    if ! find tests/halmos -name '*.t.sol' 2> /dev/null | grep -q .; then
        echo "0 proofs: there is no tests/halmos/*.t.sol" > "$log/halmos.note"
        return 1
    fi
    PATH="$(dirname "$forge"):$PWD/.venv-check/bin:$PATH" .venv-check/bin/halmos --forge-build-out .cache/forge/out \
        --no-status || return 1
    grep -E '^Symbolic test result' "$log/halmos.log" |
        awk '{ gsub(";", ""); passed += $4 } END { print passed + 0 " proofs" }' > "$log/halmos.note"
    ! grep -q '^0 proofs' "$log/halmos.note"
}

# The dapp's own tools, from its folder; its generated files are as the tools that wrote them left them.
in_dapp() { (cd dapp && "../node_modules/.bin/$@"); }

step ruff-format .venv/bin/ruff format --check --quiet .
step ruff .venv/bin/ruff check --quiet .
step mypy .venv/bin/mypy --strict --no-error-summary busbar scripts bench
step prettier prettier
step solhint solhint
step dapp-types in_dapp tsc --noEmit
step dapp-lint in_dapp eslint --max-warnings 0 .
step dapp-format in_dapp prettier --check --log-level warn --ignore-path .prettierignore .
step forge-build forge_build
step slither slither
step halmos halmos

if [ -n "$failed" ]; then
    echo "check: failed:$failed"
    exit 1
fi
echo "check: all passed"
