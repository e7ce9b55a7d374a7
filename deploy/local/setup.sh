#!/usr/bin/env bash
# Makes the virtual environment $1 from requirements.lock, with the package groups $2... of pyproject.toml.
#
# uv installs the lock in seconds where pip needs minutes; it comes out of the lock itself, checked by its hash like all
# the rest. Where uv cannot reach the packages (a machine where only pip is told of a mirror), pip does the same slowly.
set -euo pipefail
cd "$(dirname "$0")/../.."
environment=$1
shift

suitable='import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'
python=
for candidate in python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c "$suitable" 2> /dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo 'Python 3.11, 3.12 or 3.13 with its venv module is needed (Debian: apt-get install python3-venv).' >&2
    exit 1
fi

if ! [ -x "$environment/bin/uv" ]; then
    echo "Setting up $environment with $("$python" --version)"
    "$python" -m venv "$environment"
    sed -n '/^uv==/,/[^\\]$/p' requirements.lock > "$environment/uv.lock"
    "$environment/bin/pip" install --quiet --require-hashes --requirement "$environment/uv.lock"
fi
[ $# -gt 0 ] || exit 0

echo 'Installing the locked packages'
groups=()
for group in "$@"; do groups+=(--extra "$group"); done
uv=("$environment/bin/uv" pip install --quiet --python "$environment/bin/python")
if ! "${uv[@]}" --require-hashes --constraint requirements.lock --requirement pyproject.toml "${groups[@]}"; then
    echo 'uv could not install the lock; pip does it now, which takes some minutes.' >&2
    "$environment/bin/pip" install --quiet --require-hashes --requirement requirements.lock
fi
"${uv[@]}" --no-deps --no-build-isolation --editable .
