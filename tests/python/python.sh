# shellcheck shell=bash
# Sourced by the tests beside it: `python` is the interpreter that has their packages. That is $TENON_PYTHON, else what
# scripts/setup_python.sh made, else the system's own, which may lack them.
python=${TENON_PYTHON:-$(dirname "${BASH_SOURCE[0]}")/../../build/python/bin/python}
if ! command -v "$python" >/dev/null; then python=python3; fi
