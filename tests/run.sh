#!/usr/bin/env bash
# From a bare Debian or Ubuntu to the result of every test: packages, build, ctest.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tests/run.sh [--quick] [--cuda] [ctest flags]
Installs missing packages, builds the library, examples, benchmarks and tests, and runs every test.
  --quick   leave out the tests with the label `slow`
  --cuda    build the CUDA module too: where there is no CUDA compiler, one is installed from PyPI's nvidia packages.
            Without the flag the module is built where a compiler is found; its kernels are tested by emulation either way
Other flags go to ctest, for instance:  -R conv2d   -L gradient   --repeat until-fail:5   -j 1
The exit status is ctest's, or that of the step that failed before it.
TEXT
}

flags=()
cuda=auto
for argument in "$@"; do
  case $argument in
    -h | --help) usage; exit 0 ;;
    --cuda) cuda=yes ;;
    --quick) flags+=(--label-exclude '^slow$') ;;
    *) flags+=("$argument") ;;
  esac
done

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../scripts/stages.sh
source "$root/scripts/stages.sh"
cd "$root"

stage "Packages" scripts/setup.sh test
stage "Python packages" scripts/setup_python.sh
configure=(-DTENON_BUILD_TESTS=ON -DTENON_BUILD_EXAMPLES=ON -DTENON_BUILD_BENCH=ON)
if [[ $cuda == yes ]]; then
  configure+=(-DTENON_CUDA=ON)
  if ! command -v nvcc >/dev/null 2>&1; then
    stage "CUDA compiler" scripts/setup_cuda.sh
    configure+=("-DCMAKE_CUDA_COMPILER=$(scripts/setup_cuda.sh 2>/dev/null | tail -n 1)")
  fi
fi
stage "Configure" cmake --preset release "${configure[@]}"
stage "Build" cmake --build build/release --parallel "$(cores)"

# Tests that share the cores must not spin while they wait for their threads.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
export CTEST_PARALLEL_LEVEL="${CTEST_PARALLEL_LEVEL:-$(cores)}"
log=build/release/Testing/run.log
mkdir -p "${log%/*}"
rm -f "$log"
printf '\n== Tests\n'
started=$SECONDS
status=0
ctest --test-dir build/release --output-on-failure --no-tests=error --output-log "$log" ${flags[@]+"${flags[@]}"} || status=$?
stage_names+=("Tests")
stage_seconds+=($((SECONDS - started)))
elapsed
[[ -e build/release/lib/tenon/tenon_cuda.so ]] ||
  echo "Not built: the CUDA module, for want of a CUDA compiler (tests/run.sh --cuda installs one). Its kernels ran in emulation."
# ctest's own closing lines once more, so that the result is what a reader sees last.
if [[ -f $log ]]; then sed -n '/tests passed, .* tests failed/,${/^\[ERROR_MESSAGE\]/d;/^Errors while/d;p;}' "$log"; fi
exit "$status"
