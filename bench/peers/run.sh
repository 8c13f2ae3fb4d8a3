#!/usr/bin/env bash
# Tenon's training step beside PyTorch's, in one table.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: bench/peers/run.sh --python PYTHON --data-folder DIR [flags of compare.py]
Builds step_bench and runs it in turn with PyTorch, at least five rounds. PYTHON is an interpreter that has PyTorch and
NumPy, for example of a virtual environment:
  python3 -m venv peers && peers/bin/pip install torch numpy
Flags: --models cnn,mlp  --threads 1,2  --rounds N  --steps N  --provider LIST  --preload LIBRARY  --json
TEXT
}

for argument in "$@"; do
  case $argument in
    -h | --help) usage; exit 0 ;;
  esac
done

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
(
  cd "$root"
  if [[ ! -f build/release/CMakeCache.txt ]]; then cmake --preset release >&2; fi
  cmake --build build/release --target step_bench >&2
)
exec python3 "$root/bench/peers/compare.py" "$@"
