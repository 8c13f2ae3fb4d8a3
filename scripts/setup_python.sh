#!/usr/bin/env bash
# Python packages that tests read Tenon's files with, in a virtual environment of the tree's own.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/setup_python.sh [FOLDER]
Installs TensorBoard, the parts of MLflow that its server needs, Hugging Face's safetensors and html5lib from PyPI
into a virtual environment in FOLDER (default: build/python). When it is there it does nothing. What the network fails
to give is asked for again after a pause, three times in all. Where it cannot be installed, the tests that need it
skip, and this script says so; with TENON_REQUIRE_PYTHON=1 it fails, and so do those tests (`.ci/run` sets it).
Exit status: 0 there or not needed, 1 could not be installed, 2 wrong usage.
TEXT
}

case ${1:-} in
  -h | --help) usage; exit 0 ;;
  -*) usage >&2; exit 2 ;;
esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:-$root/build/python}
packages=("tensorboard>=2.16,<3" "mlflow-skinny>=3,<4" safetensors html5lib)
# mlflow asks for scikit-learn, pyarrow, matplotlib and more, 1 GB that its tracking server does without: what that one
# does need is named here, and mlflow itself is installed without what it asks for, in the version of mlflow-skinny.
packages+=(mlflow-tracing Flask Flask-CORS alembic graphene "sqlalchemy<3" pandas numpy huey cryptography aiohttp)

there() {
  "$folder/bin/python" - 2>/dev/null <<'PYTHON'
import tensorboard.backend.event_processing.event_accumulator
import flask, html5lib, mlflow.store.db.utils, safetensors.numpy, sqlalchemy
from importlib.metadata import version
names = ("tensorboard", "mlflow", "safetensors", "html5lib")
print("Python packages:", ", ".join(f"{name} {version(name)}" for name in names))
PYTHON
}
give_up() {
  printf '[setup_python] %s\n' "$1" >&2
  if [[ ${TENON_REQUIRE_PYTHON:-} == 1 ]]; then exit 1; fi
  echo "Going on without: the tests that need ${packages[*]} will skip"
  exit 0
}
# install WHAT...: asks pip three times, 10 and 30 s apart; what has been downloaded stays in pip's cache.
install() {
  local pause
  for pause in 10 30 0; do
    if "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 20 \
      --only-binary :all: "$@"; then return 0; fi
    if ((pause)); then
      printf '[setup_python] pip failed; once more in %d s\n' "$pause" >&2
      sleep "$pause"
    fi
  done
  give_up "pip could not install: $* (is there a network?)"
}

if there; then exit 0; fi
echo "Installing ${packages[*]} into $folder"
# An environment left half made is made anew.
python3 -m venv --clear "$folder" || give_up "python3 -m venv failed (package python3-venv)"
install "${packages[@]}"
version=$("$folder/bin/python" -c 'from importlib.metadata import version; print(version("mlflow-skinny"))')
install --no-deps "mlflow==$version"
there || give_up "the packages were installed, but cannot be imported"
