#!/usr/bin/env bash
# Locks every set of requirements, universally for Python 3.11 to 3.14. The whole set comes first and binds the smaller ones,
# so that what users install is what the tests ran with. `make lock` calls this; arguments go to uv (--upgrade). UV names the uv to use.
set -euo pipefail
cd "$(dirname "$0")/.."

lock() {
    local name=$1
    shift
    "${UV:-uv}" pip compile pyproject.toml --universal --python-version 3.11 --no-header --no-emit-index-url --no-emit-find-links \
        --quiet --output-file "requirements/$name.txt" "$@" >/dev/null
}

lock all --extra dev --no-annotate "$@"
for extra in test examples bench; do
    lock "$extra" --extra "$extra" --constraint requirements/all.txt --no-annotate
done
lock base --constraint requirements/all.txt --no-annotate

if grep -nE '://|--(find-links|(extra-)?index-url)' requirements/*.txt; then
    echo "requirements: the lines above name a registry or a link; they must not be committed." >&2
    exit 1
fi
