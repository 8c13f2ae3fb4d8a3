#!/usr/bin/env bash
# safetensors_hf.sh REWRITE_SAFETENSORS: a file of Hugging Face's library goes through Tenon and is opened by that library
# again. Exit status 77 (skipped) where Python lacks the package.
set -euo pipefail
rewrite=$1
script=$(dirname "${BASH_SOURCE[0]}")/safetensors_hf.py
python=${TENON_PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" "$script" write "$folder/theirs.safetensors"
"$rewrite" "$folder/theirs.safetensors" "$folder/ours.safetensors"
"$python" "$script" read "$folder/ours.safetensors"
