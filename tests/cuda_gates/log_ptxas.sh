#!/usr/bin/env bash
# A compiler's launcher: runs the command, and keeps what ptxas -v said beside the object, as OBJECT.ptxas. The rest of the
# messages goes where it went. Who sets it as CUDA_COMPILER_LAUNCHER also gives -Xptxas=-v.
set -uo pipefail

object=
previous=
for argument in "$@"; do
  if [[ $previous == -o ]]; then object=$argument; fi
  previous=$argument
done
if [[ -z $object ]]; then exec "$@"; fi

all=$(mktemp)
trap 'rm -f "$all"' EXIT
status=0
"$@" 2>"$all" || status=$?
# A kernel's figures follow its name; a message of something else may say "info", too, and stays a message.
report='^ptxas info|^    [0-9]+ bytes stack frame|^    [0-9]+ bytes spill'
if ((status == 0)); then grep -E "$report" "$all" >"$object.ptxas" || true; fi
grep -vE "$report" "$all" >&2 || true
exit "$status"
