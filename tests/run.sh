#!/usr/bin/env bash
# From a bare Debian or Ubuntu to the result of every test: packages, build, ctest.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tests/run.sh [--quick] [ctest flags]
Installs missing packages, builds the library, examples, benchmarks and tests, and runs every test.
  --quick   leave out the tests with the label `slow`
Other flags go to ctest, for instance:  -R conv2d   -L gradient   --repeat until-fail:5   -j 1
The exit status is ctest's, or that of the step that failed before it.
TEXT
}

flags=()
for argument in "$@"; do
  case $argument in
    -h | --help) usage; exit 0 ;;
    --quick) flags+=(--label-exclude '^slow$') ;;
    *) flags+=("$argument") ;;
  esac
done

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../scripts/stages.sh
source "$root/scripts/stages.sh"
cd "$root"

stage "Packages" scripts/setup.sh test
stage "Configure" cmake --preset release -DTENON_BUILD_TESTS=ON -DTENON_BUILD_EXAMPLES=ON -DTENON_BUILD_BENCH=ON
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
# ctest's own closing lines once more, so that the result is what a reader sees last.
if [[ -f $log ]]; then sed -n '/tests passed, .* tests failed/,${/^\[ERROR_MESSAGE\]/d;/^Errors while/d;p;}' "$log"; fi
exit "$status"
