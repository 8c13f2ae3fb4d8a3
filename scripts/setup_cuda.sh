#!/usr/bin/env bash
# A CUDA compiler from PyPI's nvidia packages, for machines without a toolkit: enough to build the CUDA module, not to run it.
# Prints the path of its nvcc as the last line.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/setup_cuda.sh [FOLDER]
Installs nvcc and the CUDA runtime's headers and static library into a virtual environment in FOLDER
(default: tenon/cuda in the user's cache). When they are there it does nothing.
The last line of its output is the path of nvcc.
Exit status: 0 there, 1 could not be installed, 2 wrong usage.
TEXT
}

case ${1:-} in
  -h | --help) usage; exit 0 ;;
  -*) usage >&2; exit 2 ;;
esac
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/tenon/cuda}
packages=("nvidia-cuda-nvcc>=13,<14" "nvidia-cuda-runtime>=13,<14" "nvidia-cuda-crt>=13,<14" "nvidia-nvvm>=13,<14"
  "nvidia-cuda-cccl>=13,<14")

nvcc_in() { find "$1" -path '*/bin/nvcc' -type f 2>/dev/null | head -n 1; }

nvcc=$(nvcc_in "$folder")
if [[ -z $nvcc ]]; then
  echo "Installing a CUDA compiler into $folder" >&2
  python3 -m venv "$folder" >&2 || { echo "[setup_cuda] python3 -m venv failed (package python3-venv)" >&2; exit 1; }
  "$folder/bin/python" -m pip install --quiet "${packages[@]}" >&2 ||
    { echo "[setup_cuda] pip could not install: ${packages[*]}" >&2; exit 1; }
  nvcc=$(nvcc_in "$folder")
fi
[[ -n $nvcc ]] || { echo "[setup_cuda] the packages have no nvcc in $folder" >&2; exit 1; }
# nvcc looks for its libraries in lib64, the packages have them in lib.
root=$(dirname "$(dirname "$nvcc")")
[[ -e $root/lib64 || ! -d $root/lib ]] || ln -s lib "$root/lib64"
chmod +x "$root"/bin/* "$root"/nvvm/bin/* 2>/dev/null || true
"$nvcc" --version >&2
echo "$nvcc"
