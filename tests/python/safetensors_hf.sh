#!/usr/bin/env bash
# safetensors_hf.sh REWRITE_SAFETENSORS: a file of Hugging Face's library goes through Tenon and is opened by that library
# again. Exit status 77 (skipped) where Python lacks the package; with TENON_REQUIRE_PYTHON=1 that is a failure.
set -euo pipefail
rewrite=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
script=$here/safetensors_hf.py
# shellcheck source-path=SCRIPTDIR source=python.sh
source "$here/python.sh"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" "$script" write "$folder/theirs.safetensors"
"$rewrite" "$folder/theirs.safetensors" "$folder/ours.safetensors"
"$python" "$script" read "$folder/ours.safetensors"
