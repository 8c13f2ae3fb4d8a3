#!/usr/bin/env bash
# Tenon beside its peers: installs them in a virtual environment, builds the programs, measures all in one run.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: bench/peers/run.sh [--data-folder DIR] [--venv DIR] [--only PEER,...] [flags of compare.py]
Makes the virtual environment (~/.cache/tenon/peers) or uses the one that is there, installs in it what the chosen peers
lack, builds Tenon's benchmarks and runs everything in turn, at least five rounds. A peer that cannot be installed is
named and left out.
  --only      torch, keras-tf, keras-jax, onnxruntime, onednn (default: all)
  --models    cnn, mlp (training), cnn-infer-500, cnn-infer-1 (prediction; any batch) (default: these four)
  --kernels   instead: oneDNN kernel by kernel (package libdnnl-dev, and a newer one that is installed from PyPI)
  --precisions fp32,tf32,bf16  with --kernels (default: what the processor has)
  --keep      with --kernels: rows in --out that this run does not measure stay in its files
  --match REGEX  only configurations of the peers whose words match: '^(?!.*bf16)' leaves out bf16
  --rounds N  --threads 1,2  --isa native,avx2  --steps N  --warmup N  --warmup-tenon N  --drop X  --preload LIBRARY  --provider LIST
  --out DIR   peers.md, peers.json and peers.svg go here (default: build/peers)
  --readme F  put the table of the fastest into the Markdown file F
  --no-install  take the virtual environment as it is
All flags of compare.py: python3 bench/peers/compare.py --help
TEXT
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=${XDG_CACHE_HOME:-$HOME/.cache}/tenon/peers
only=torch,keras-tf,keras-jax,onnxruntime,onednn
install=yes kernels=no
flags=()
say() { printf '[peers] %s\n' "$1" >&2; }
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --venv | --only)
      if (($# < 2)); then say "$1 expects a value"; exit 2; fi
      if [[ $1 == --venv ]]; then venv=$2; else only=$2; fi
      shift 2 ;;
    --venv=*) venv=${1#*=}; shift ;;
    --only=*) only=${1#*=}; shift ;;
    --no-install) install=no; shift ;;
    --kernels) kernels=yes; flags+=("$1"); shift ;;
    *) flags+=("$1"); shift ;;
  esac
done
python=$venv/bin/python

# try MODULE PACKAGE...: installs the first package that can be had, unless the module is there already.
try() {
  local module=$1 package
  shift
  if "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)' "$module"; then return; fi
  for package in "$@"; do
    say "installing $package"
    if "$python" -m pip install --quiet --disable-pip-version-check "$package" >&2; then return; fi
  done
  say "cannot install $*: the peers that need it are left out"
}

if [[ $install == yes ]]; then
  if [[ ! -x $python ]]; then
    say "making the virtual environment $venv"
    python3 -m venv "$venv" || say "cannot make it (package python3-venv?): every peer in it is left out"
  fi
  if [[ -x $python && $kernels == yes ]]; then
    if [[ ,$only, == *,onednn,* && ! -f $venv/include/dnnl.hpp ]]; then
      # oneDNN 3 on GNU OpenMP, as Tenon; the package onednn wants SYCL and TBB.
      say "installing onednn-cpu-gomp"
      "$python" -m pip install --quiet --disable-pip-version-check onednn-cpu-gomp onednn-devel-cpu-gomp >&2 ||
        say "cannot install it: its oneDNN is left out"
    fi
  elif [[ -x $python ]]; then
    try numpy numpy
    case ,$only, in *,torch,*) try torch torch ;; esac
    case ,$only, in *,keras-tf,*) try tensorflow tensorflow-cpu tensorflow ;; esac
    case ,$only, in *,keras-jax,*) try jax jax ;; esac
    case ,$only, in *,keras-*) try keras keras ;; esac
    case ,$only, in *,onnxruntime,*) try onnxruntime onnxruntime; try onnx onnx ;; esac
  fi
fi

(
  cd "$root"
  if [[ ! -f build/release/CMakeCache.txt ]]; then cmake --preset release >&2; fi
  targets=(step_bench infer_bench)
  if [[ $kernels == yes ]]; then
    targets=(kernels_bench)
    # The libraries may have been installed since the last time.
    newer=
    if [[ -f $venv/include/dnnl.hpp && -f $venv/lib/libdnnl.so ]]; then newer=$venv; fi
    cmake --preset release -DTENON_ONEDNN_PYPI="$newer" >/dev/null
    for program in onednn_kernels onednn_kernels_pypi; do
      if cmake --build build/release --target help | grep -q "^$program:"; then targets+=("$program"); fi
    done
  fi
  cmake --build build/release --target "${targets[@]}" >&2
)
exec python3 "$root/bench/peers/compare.py" --python "$python" --only "$only" "${flags[@]}"
