#!/usr/bin/env bash
# Everything that a machine with a GPU should do with a build of this tree: tests, tables, times. No network is needed.
set -uo pipefail

usage() {
  cat <<'TEXT'
Usage: bench/gpu.sh OUT_DIR [STAGE...] [--build DIR] [--data-folder DIR] [--device cuda[:N]] [--dry-run]
Runs the stages, all or those named, each within its limit; one that fails or is refused is reported, and the next begins.
  environment  device, driver, and whether the programs find their shared libraries (30 s)
  tests        every row against the reference, whole trainings against the CPU's bits (480 s)
  steps        step times of both models in fp32, tf32 and bf16, hand-written kernels and the libraries' (480 s)
  epochs       12 epochs of the CNN in every precision, wall time and accuracy (480 s)
  kernels      kernel tables: cpu against cuda, cuda.tenon against cuda.cudnn (480 s)
  profile      the plan's steps one by one, TENON_VERBOSE=time (120 s)
  sanitizer    compute-sanitizer's memcheck, racecheck, initcheck and synccheck on a sample of the tests (480 s)
OUT_DIR gets results.md, results.json (a line a stage) and one text file a stage.
  --build DIR        a build folder, perhaps from another machine (default: build/release)
  --data-folder DIR  MNIST's four files (default: what TENON_MNIST says)
  --dry-run          walks through every stage and runs nothing
Exit status: 0 every stage that could run succeeded, 1 one failed, 2 wrong usage.
TEXT
}

all=(environment tests steps epochs kernels profile sanitizer)
out="" build="" data="${TENON_MNIST:-}" device=cuda dry_run=no stages=()
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --dry-run) dry_run=yes ;;
    --build | --data-folder | --device)
      (($# > 1)) || { echo "[gpu] $1 expects a value" >&2; exit 2; }
      case $1 in --build) build=$2 ;; --data-folder) data=$2 ;; *) device=$2 ;; esac
      shift
      ;;
    -*) echo "[gpu] unknown flag $1" >&2; usage >&2; exit 2 ;;
    *)
      if [[ -z $out ]]; then out=$1; else
        [[ " ${all[*]} " == *" $1 "* ]] || { echo "[gpu] no stage '$1' among: ${all[*]}" >&2; exit 2; }
        stages+=("$1")
      fi
      ;;
  esac
  shift
done
[[ -n $out ]] || { usage >&2; exit 2; }
((${#stages[@]})) || stages=("${all[@]}")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${build:-$root/build/release}
mkdir -p "$out"
results=$out/results.md
failed=0

# attempt LIMIT COMMAND...: one command of a stage; its output goes to the stage's file, its end to both results.
attempt() {
  local limit=$1 begin=$SECONDS status=0 text
  shift
  text="${*//$build\//}" # no path of this machine in what is kept
  text="${text//$data/MNIST}"
  if [[ $dry_run == yes ]]; then
    printf 'would run: %s\n' "$text" | tee -a "$file"
    return 0
  fi
  printf '$ %s\n' "$text" >>"$file"
  timeout "$limit" "$@" >>"$file" 2>&1 || status=$?
  local said="status $status"
  ((status == 124)) && said="ran past $limit s"
  printf -- '- `%s`: %s, %d s\n' "$text" "$said" $((SECONDS - begin)) >>"$results"
  printf '{"stage": "%s", "command": "%s", "status": %d, "seconds": %d}\n' "$stage" "${text//\"/\\\"}" "$status" \
    $((SECONDS - begin)) >>"$out/results.json"
  ((status == 0)) || failed=1
  return "$status"
}
# refused WHAT WHY: something that is not to be had here; not a failure.
refused() {
  printf 'left out: %s: %s\n' "$1" "$2" | tee -a "$file"
  printf -- '- left out: %s: %s\n' "$1" "$2" >>"$results"
  printf '{"stage": "%s", "refused": "%s", "why": "%s"}\n' "$stage" "$1" "$2" >>"$out/results.json"
}
# tool NAME: true where it can be run; a dry run walks both ways.
tool() {
  if [[ $dry_run == yes ]]; then
    refused "$1" "not on this machine (the other branch of the dry run follows)"
    return 0
  fi
  command -v "$1" >/dev/null 2>&1 || { refused "$1" "not on this machine"; return 1; }
}
with_data() { [[ -z $data ]] || printf -- '--data-folder\n%s\n' "$data"; }

stage_environment() {
  tool nvidia-smi && attempt 20 nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,memory.total --format=csv
  local program missing
  for program in cuda_test kernels_bench step_bench mnist_cnn; do
    [[ $dry_run == yes || -x $build/bin/$program ]] || { refused "$program" "not in the build folder"; failed=1; continue; }
    missing=$(ldd "$build/bin/$program" 2>/dev/null | awk '/not found/ {print $1}' | paste -sd' ')
    [[ -z $missing ]] || { refused "$program" "shared libraries are missing: $missing"; failed=1; }
  done
  attempt 30 "$build/bin/mnist_cnn" --device "$device" --epochs 0 --outputs "$out/outputs" "${folder[@]}"
}
stage_tests() {
  attempt 120 "$build/bin/cuda_test" '[train],[resident],[program]'
  attempt 240 "$build/bin/cuda_test" '[rows]'
  attempt 120 "$build/bin/cuda_test" '[.libraries]'
}
stage_steps() {
  local model precision round
  for round in 1 2 3 4 5; do
    for model in cnn mlp; do
      for precision in fp32 tf32 bf16; do
        attempt 30 "$build/bin/step_bench" --model $model --precision $precision --device "$device" --json "${folder[@]}"
      done
      attempt 30 "$build/bin/step_bench" --model $model --precision tf32 --provider cuda.cudnn --device "$device" --json \
        "${folder[@]}"
    done
  done
}
stage_epochs() {
  local precision
  for precision in bf16 tf32 fp32; do
    attempt 160 "$build/bin/mnist_cnn" --device "$device" --precision $precision --epochs 12 --quiet --outputs \
      "$out/outputs" "${folder[@]}"
  done
}
stage_kernels() {
  local precision
  for precision in fp32 tf32 bf16; do
    attempt 80 "$build/bin/kernels_bench" --compare cuda.tenon,cuda.cudnn --precision $precision --rounds 5
  done
  attempt 200 "$build/bin/kernels_bench" --compare cpu,cuda --rounds 5 --filter mnist
}
stage_profile() {
  local precision
  for precision in fp32 tf32 bf16; do
    attempt 40 env TENON_VERBOSE=time "$build/bin/step_bench" --precision $precision --device "$device" "${folder[@]}"
  done
}
stage_sanitizer() {
  local check
  tool compute-sanitizer || return
  for check in memcheck racecheck initcheck synccheck; do
    attempt 120 env TENON_TEST_CASES=1 TENON_TEST_SMALL=1 compute-sanitizer --tool $check --error-exitcode 9 \
      "$build/bin/cuda_test" '[rows][tenon]'
  done
}

mapfile -t folder < <(with_data)
printf '# A GPU, %s\n' "$(date -I)" >"$results"
: >"$out/results.json"
for stage in "${stages[@]}"; do
  file=$out/$stage.txt
  : >"$file"
  printf '== %s\n' "$stage"
  printf '\n## %s\n\n' "$stage" >>"$results"
  "stage_$stage" || true
done
exit "$failed"
