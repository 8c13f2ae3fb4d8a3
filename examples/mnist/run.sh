#!/usr/bin/env bash
# From a bare Debian or Ubuntu to a trained model: packages, build, training.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: examples/mnist/run.sh [cnn|mlp] [flags of the program]
Installs missing packages, builds, and trains on MNIST: a convolutional network (cnn, the default) or a
multi-layer perceptron (mlp). May be called from any folder; relative paths are those of the caller.

Flags are passed on to build/release/bin/mnist_cnn or mnist_mlp, whose --help has them all:
  --data-folder DIR     the four MNIST files, in DIR or DIR/mnist; without it TENON_MNIST, ./data, the user's
                        cache, a download, and at last generated digits (announced) are tried
  --download            fetch the files first
  --epochs N  --batch-size N  --learning-rate X  --seed N
  --device auto|cpu|cuda[:N]  --provider LIST  --precision P  --threads N
  --outputs DIR         where the weights go (default: outputs)
  --load FILE           start from saved weights; with --epochs 0 only evaluate
Exit status: the program's (0 ok, 2 usage, 3 bad data, 4 bad checkpoint, 5 I/O, 6 numeric, 7 memory, 8 device),
or that of the step that failed before it.
TEXT
}

model=cnn
case ${1:-} in
  cnn | mlp) model=$1; shift ;;
  -* | "") ;;
  *) printf '[run.sh] expected cnn or mlp, found: %s\n\n' "$1" >&2; usage >&2; exit 2 ;;
esac

outputs=outputs
names_data=no
previous=""
for argument in "$@"; do
  case $argument in
    -h | --help) usage; exit 0 ;;
    --outputs=*) outputs=${argument#*=} ;;
    --data-folder | --data-folder=* | --download) names_data=yes ;;
  esac
  if [[ $previous == --outputs ]]; then outputs=$argument; fi
  previous=$argument
done

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../../scripts/stages.sh
source "$root/scripts/stages.sh"

configure() (
  cd "$root" || exit
  # A build folder that has tests in it keeps them; one made for training alone needs no test packages.
  if [[ -f build/release/CMakeCache.txt ]]; then
    cmake --preset release
  else
    cmake --preset release -DTENON_BUILD_TESTS=OFF -DTENON_BUILD_BENCH=OFF -DTENON_BUILD_EXAMPLES=ON
  fi
)

# The program in the background and a wait for it, so that a SIGTERM for this script reaches it. An interrupt from the
# terminal reaches both by itself: the script ignores it and the program, which as a background job would ignore it too,
# gets the default action back.
train() {
  local child status
  (trap - INT; exec "$root/build/release/bin/mnist_$model" "$@") <&0 &
  child=$!
  trap 'kill -TERM "$child" 2>/dev/null || true' TERM
  trap '' INT
  while :; do
    status=0
    wait "$child" || status=$?
    # A SIGTERM ends the wait early, while the program may still be saving its weights.
    kill -0 "$child" 2>/dev/null || break
  done
  trap - TERM INT
  return "$status"
}

stage "Packages" "$root/scripts/setup.sh" train
stage "Configure" configure
stage "Build" cmake --build "$root/build/release" --target mnist --parallel "$(cores)"

# A copy of the files beside the checkout, where nothing else was named.
if [[ $names_data == no && -z ${TENON_MNIST:-} && ! -d data && -d $root/../shared/mnist ]]; then
  TENON_MNIST=$(cd "$root/../shared/mnist" && pwd)
  export TENON_MNIST
fi
stage "Train mnist_$model" train "$@"
elapsed
printf 'Outputs: %s\n' "$(cd "$outputs" 2>/dev/null && pwd || echo "$outputs")"
