#!/usr/bin/env bash
# Renews requirements.lock from pyproject.toml: newest allowed versions, or with arguments only what they say
# (`tools/renew_lock.sh --upgrade-package ruff` leaves the other versions alone).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

(($# > 0)) || set -- --upgrade
new=requirements.lock.new
trap 'rm -f "$new"' EXIT
cp requirements.lock "$new" # uv keeps the versions that it finds in the output file
# The lock must serve every registry and mirror, so it names none.
UV_PYTHON_DOWNLOADS=never .venv/bin/uv pip compile pyproject.toml --extra dev --group setup \
    --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-header --quiet \
    --output-file "$new" "$@" >/dev/null
{
    cat <<'EOT'
# Exact versions and hashes of everything in .venv, development tools included: Python 3.10 to 3.12, Linux x86_64.
# Made from pyproject.toml by `make lock`; not to be edited by hand. Installed by tools/setup_env.sh.
EOT
    grep -vE '^ *#' "$new" | grep -v '^$'
} >requirements.lock.done
mv requirements.lock.done requirements.lock
git --no-pager diff --stat -- requirements.lock
