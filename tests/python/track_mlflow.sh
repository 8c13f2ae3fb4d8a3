#!/usr/bin/env bash
# track_mlflow.sh MLFLOW_RUN [TENON]: an MLflow server on the loopback address gives back, through MLflow's own client, what
# a run's log says. Exit status 77 (skipped) where Python lacks the package; with TENON_REQUIRE_PYTHON=1 that is a failure.
set -euo pipefail
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# What scripts/setup_python.sh made, if it did.
python=$folder/../../build/python/bin/python
if [[ -n ${TENON_PYTHON:-} ]]; then python=$TENON_PYTHON; fi
if [[ ! -x $python ]]; then python=python3; fi
exec "$python" "$folder/track_mlflow.py" "$@"
