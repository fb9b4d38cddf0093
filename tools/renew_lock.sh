#!/usr/bin/env bash
# Renews the locks from pyproject.toml: newest allowed versions, or with arguments only what they say
# (`tools/renew_lock.sh --upgrade-package ruff` leaves the other versions alone).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

(($# > 0)) || set -- --upgrade
new=$(mktemp)
trap 'rm -f "$new"' EXIT

renew() { # LOCK, ENVIRONMENT, EXTRA OPTIONS
    local lock=$1 environment=$2
    shift 2
    [[ ! -f $lock ]] || cp "$lock" "$new" # uv keeps the versions that it finds in the output file
    # The lock must serve every registry and mirror, so it names none.
    UV_PYTHON_DOWNLOADS=never .venv/bin/uv pip compile \
        --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-header --quiet \
        --output-file "$new" "$@" >/dev/null
    {
        echo "# Exact versions and hashes of everything in $environment: Python 3.10 to 3.12, Linux x86_64."
        echo '# Made from pyproject.toml by `make lock`; not to be edited by hand.'
        grep -vE '^ *#' "$new" | grep -v '^$'
    } >"$lock.done"
    mv "$lock.done" "$lock"
    : >"$new"
}

development=(pyproject.toml --extra dev --group setup)
renew requirements.lock .venv "${development[@]}" --extra onedl --extra all "$@"
renew requirements-openmmlab.lock .venv-openmmlab "${development[@]}" --extra openmmlab "$@"
renew docs/requirements.lock 'the environment of `make docs`' --group docs "$@"
git --no-pager diff --stat -- '*.lock'
