#!/usr/bin/env bash
# track_tensorboard.sh TRACKED_RUN: TensorBoard's own reader finds in the event file what the run's log says. Exit status 77
# (skipped) where Python lacks the package; with TENON_REQUIRE_PYTHON=1 that is a failure.
set -euo pipefail
tracked_run=$1
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=python.sh
source "$folder/python.sh"
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
run=$("$tracked_run" "$runs")
"$python" "$folder/track_tensorboard.py" "$run"
