#!/usr/bin/env bash
# track_mlflow.sh MLFLOW_RUN [TENON]: an MLflow server on the loopback address gives back, through MLflow's own client, what
# a run's log says. Exit status 77 (skipped) where Python lacks the package; with TENON_REQUIRE_PYTHON=1 that is a failure.
set -euo pipefail
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=python.sh
source "$folder/python.sh"
exec "$python" "$folder/track_mlflow.py" "$@"
