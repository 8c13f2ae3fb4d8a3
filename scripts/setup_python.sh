#!/usr/bin/env bash
# Python packages that tests read Tenon's files with, in a virtual environment of the tree's own.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/setup_python.sh [FOLDER]
Installs TensorBoard from PyPI into a virtual environment in FOLDER (default: build/python). When it is there it does
nothing. Where it cannot be installed, the tests that need it skip, and this script says so; with TENON_REQUIRE_PYTHON=1 it
fails.
Exit status: 0 there or not needed, 1 could not be installed, 2 wrong usage.
TEXT
}

case ${1:-} in
  -h | --help) usage; exit 0 ;;
  -*) usage >&2; exit 2 ;;
esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:-$root/build/python}
packages=("tensorboard>=2.16,<3")

there() {
  "$folder/bin/python" - 2>/dev/null <<'PYTHON'
import tensorboard.backend.event_processing.event_accumulator
from importlib.metadata import version
print("Python packages: tensorboard", version("tensorboard"))
PYTHON
}
give_up() {
  printf '[setup_python] %s\n' "$1" >&2
  if [[ ${TENON_REQUIRE_PYTHON:-} == 1 ]]; then exit 1; fi
  echo "Going on without: the tests that need ${packages[*]} will skip"
  exit 0
}

if there; then exit 0; fi
echo "Installing ${packages[*]} into $folder"
# An environment left half made is made anew.
python3 -m venv --clear "$folder" || give_up "python3 -m venv failed (package python3-venv)"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --retries 2 --timeout 20 --only-binary :all: \
  "${packages[@]}" || give_up "pip could not install: ${packages[*]} (is there a network?)"
there || give_up "tensorboard was installed, but cannot be imported"
