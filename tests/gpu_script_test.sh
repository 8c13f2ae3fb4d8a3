#!/usr/bin/env bash
# bench/gpu.sh without a GPU: a dry run walks every stage, and wrong usage is told.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "gpu_script_test: $1" >&2; exit 1; }

"$root/bench/gpu.sh" "$work/all" --dry-run --data-folder /data >"$work/log" || fail "the dry run failed"
for stage in environment tests steps epochs kernels profile sanitizer; do
  grep -q "^== $stage$" "$work/log" || fail "stage $stage was not walked"
  [[ -s $work/all/$stage.txt ]] || fail "stage $stage left no file"
  grep -q 'would run: ' "$work/all/$stage.txt" || fail "stage $stage would run nothing"
done
for tool in nvidia-smi compute-sanitizer; do
  grep -q "left out: $tool" "$work/all/results.md" || fail "the refusal of $tool is not in the results"
done
! grep -rq "$root" "$work/all" || fail "a path of this machine is in the results"
"$root/bench/gpu.sh" "$work/one" tests --dry-run >"$work/log" || fail "a single stage failed"
[[ $(grep -c '^== ' "$work/log") == 1 ]] || fail "one stage was asked for"

status=0
"$root/bench/gpu.sh" "$work/bad" nothing --dry-run >/dev/null 2>"$work/error" || status=$?
[[ $status == 2 ]] && grep -q "no stage 'nothing'" "$work/error" || fail "an unknown stage is not told"
status=0
"$root/bench/gpu.sh" >/dev/null 2>&1 || status=$?
[[ $status == 2 ]] || fail "a missing folder is not told"
# A build folder without programs: reported, and the status says so.
status=0
"$root/bench/gpu.sh" "$work/empty" environment --build "$work" >/dev/null 2>&1 || status=$?
[[ $status == 1 ]] || fail "missing programs are not a failure"
grep -q 'left out: cuda_test: not in the build folder' "$work/empty/results.md" || fail "missing programs are not told"
echo "bench/gpu.sh walks every stage"
