#!/usr/bin/env bash
# Everything that a machine with a GPU should do with a build of this tree: predictions, step times beside PyTorch and JAX, whole
# trainings, kernels, tests. No network is needed there, and no package but Python with PyTorch and JAX. --pack makes what it needs.
set -uo pipefail

usage() {
  cat <<'TEXT'
Usage: bench/gpu.sh OUT_DIR [STAGE...] [--build DIR] [--data-folder DIR] [--device cuda[:N]] [--python PROGRAM]
                    [--minutes N] [--dry-run]
       bench/gpu.sh --pack FILE [--build DIR] [--data-folder DIR]
Runs the stages, all or those named, each within its limit; one that fails or is refused is reported, and the next begins.
The most telling come first:
  environment  device, driver, Python's packages, and whether the programs find their shared libraries (40 s)
  predictions  what the GPU costs and can do by itself, beside what was predicted of it (240 s)
  correct      whole trainings against the CPU's bits (180 s)
  steps-cnn    step times of the CNN in every precision, beside every form of PyTorch and JAX, in turn (480 s)
  epochs       12 epochs of the CNN: seconds, accuracy, time to 99 %; ten seeds of Tenon, three of the others (480 s)
  steps-mlp    step times of the MLP (480 s)
  kernels      every kernel beside cuDNN's, a product of 4096 beside cuBLAS', the CPU's beside CUDA's (480 s)
  tests        every row against the reference (480 s)
  profile      the kernels of a step one by one: Nsight Compute's times and what they wait for, else TENON_VERBOSE=time (160 s)
  sanitizer    compute-sanitizer's memcheck, racecheck, initcheck and synccheck on a sample of the tests (480 s)
OUT_DIR gets results.md, results.json, log.txt, steps-cnn.json, steps-mlp.json, predictions.jsonl, epochs.jsonl, kernels.jsonl.
results.md begins with the goals: what is required, what would be a moonshot, what was reached.
  --build DIR        a build folder, or an unpacked pack (default: the pack that this script lies in, else build/release)
  --data-folder DIR  MNIST's four files (default: the pack's, else what TENON_MNIST says)
  --python PROGRAM   the Python that has PyTorch and JAX (default: python3)
  --minutes N        what is not begun by then is left out (default: 30)
  --peers-device D   where PyTorch and JAX run (default: as --device)
  --tiny             sizes that say nothing, to try everything out where there is no GPU
  --dry-run          walks through every stage and runs nothing
  --pack FILE        a .tar.gz of programs, scripts and data for a machine that has none of the packages they were built with: builds
                     the preset `carry`, unless --build names a folder, and checks what every program is linked with
Exit status: 0 every stage that could run succeeded, 1 one failed, 2 wrong usage.
TEXT
}

all=(environment predictions correct steps-cnn epochs steps-mlp kernels tests profile sanitizer)
out="" build="" data="" device=cuda peers_device="" python=python3 minutes=30 pack="" tiny=no dry_run=no stages=()
while (($#)); do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --dry-run) dry_run=yes ;;
    --tiny) tiny=yes ;;
    --build | --data-folder | --device | --peers-device | --python | --minutes | --pack)
      (($# > 1)) || { echo "[gpu] $1 expects a value" >&2; exit 2; }
      case $1 in
        --build) build=$2 ;; --data-folder) data=$2 ;; --device) device=$2 ;; --peers-device) peers_device=$2 ;;
        --python) python=$2 ;; --minutes) minutes=$2 ;; --pack) pack=$2 ;;
      esac
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
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[[ $minutes =~ ^[0-9]+$ ]] || { echo "[gpu] --minutes expects a number, found '$minutes'" >&2; exit 2; }
if [[ -n $pack ]]; then
  exec "$root/bench/gpu_pack.sh" "$pack" "$build" "${data:-${TENON_MNIST:-}}"
fi
[[ -n $out ]] || { usage >&2; exit 2; }
((${#stages[@]})) || stages=("${all[@]}")
if [[ -z $build ]]; then
  build=$root/build/release
  [[ -x $root/bin/step_bench ]] && build=$root
fi
[[ -n $data ]] || { if [[ -d $root/data ]]; then data=$root/data; else data=${TENON_MNIST:-}; fi; }
peers_device=${peers_device:-$device}
peers=$root/bench/peers
mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$out"/{results.md,results.json,log.txt,predictions.jsonl,epochs.jsonl,kernels.jsonl,steps-cnn.json,steps-mlp.json}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
log=$out/log.txt
failed=0
export PYTHONUNBUFFERED=1  # what a program said before its time was over is kept

# cuDNN and cuBLAS, where Python's packages have them.
find_libraries() {
  "$python" - <<'PYTHON' 2>/dev/null
import glob, importlib.util, os
spec = importlib.util.find_spec("nvidia")
for base in spec.submodule_search_locations if spec else []:
    for name in ("libcudnn.so.*", "libcublas.so.*"):
        for path in sorted(glob.glob(os.path.join(base, "**", "lib", name), recursive=True))[:1]:
            print(os.path.dirname(path))
PYTHON
}
if [[ $dry_run == no ]]; then
  paths=$(find_libraries | paste -sd:)
  [[ -z $paths ]] || export LD_LIBRARY_PATH=$paths${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi

note() { printf '{"stage": "%s", %s}\n' "$stage" "$1" >>"$work/stages.jsonl"; }
quoted() { local t=${1//\\/\\\\}; t=${t//\"/\\\"}; printf '"%s"' "${t//$'\n'/ }"; }

# attempt LIMIT COMMAND...: one command of a stage, within its own limit and what is left of the time for all; its output goes to
# the log, its lines of JSON also to the file $keep, its end to the results.
attempt() {
  local limit=$1 begin=$SECONDS status=0 text left=$((60 * minutes - SECONDS))
  shift
  text="$*"
  text="${text//$build\//}" # no path of this machine in what is kept
  text="${text//$root\//}"
  [[ -z $data ]] || text="${text//$data/MNIST}"
  text="${text//$work/WORK}"
  text="${text//$out/OUT}"
  if [[ $dry_run == yes ]]; then
    printf 'would run: %s\n' "$text" | tee -a "$log"
    return 0
  fi
  if ((left < 5)); then
    refused "$text" "no time is left"
    return 1
  fi
  ((limit > left)) && limit=$left
  printf '$ %s\n' "$text" >>"$log"
  timeout -k 10 "$limit" "$@" >"$work/output" 2>&1 || status=$?
  cat "$work/output" >>"$log"
  [[ -z ${keep:-} ]] || grep '^{' "$work/output" >>"$keep"
  local said="status $status"
  ((status == 124 || status == 137)) && said="ran past $limit s"
  note "\"command\": $(quoted "$text"), \"said\": \"$said\", \"status\": $status, \"seconds\": $((SECONDS - begin))"
  ((status == 0)) || failed=1
  return "$status"
}
# refused WHAT WHY: something that is not to be had here; not a failure.
refused() {
  printf 'left out: %s: %s\n' "$1" "$2" | tee -a "$log"
  note "\"refused\": $(quoted "$1"), \"why\": $(quoted "$2")"
}
# tool NAME: true where it can be run; a dry run walks both ways.
tool() {
  if [[ $dry_run == yes ]]; then
    refused "$1" "not on this machine (the other branch of the dry run follows)"
    return 0
  fi
  command -v "$1" >/dev/null 2>&1 || { refused "$1" "not on this machine"; return 1; }
}
# module NAME: the same of a module of Python.
module() {
  if [[ $dry_run == yes ]]; then
    refused "$1" "not in $python (the other branch of the dry run follows)"
    return 0
  fi
  "$python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)" 2>/dev/null ||
    { refused "$1" "not in $python"; return 1; }
}
# sized USUAL TINY
sized() { if [[ $tiny == yes ]]; then echo "$2"; else echo "$1"; fi; }

stage_environment() {
  tool nvidia-smi && attempt 20 nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,memory.total --format=csv
  local program missing
  for program in cuda_probe cuda_test kernels_bench step_bench epochs_bench mnist_cnn; do
    [[ $dry_run == yes || -x $build/bin/$program ]] || { refused "$program" "not in the build folder"; failed=1; continue; }
    missing=$(ldd "$build/bin/$program" 2>/dev/null | awk '/not found/ {print $1}' | paste -sd' ')
    [[ -z $missing ]] || { refused "$program" "shared libraries are missing: $missing"; failed=1; }
  done
  tool "$python" && for program in torch jax; do
    module $program && attempt 40 "$python" -c "import $program; print('$program', $program.__version__)"
  done
  attempt 30 "$build/bin/mnist_cnn" --device "$device" --epochs 0 --no-track --outputs "$work/outputs" "${folder[@]}"
}
stage_predictions() {
  local keep=$out/predictions.jsonl
  attempt 90 "$build/bin/cuda_probe"
  module torch && attempt 150 "$python" "$peers/torch_probe.py" --device "$peers_device" $(sized "" --small)
}
stage_correct() { attempt "$(sized 180 600)" "$build/bin/cuda_test" "$(sized '[train],[resident],[program]' '[table]')"; }
# In turn: a round is a turn of everybody, and peers keep what they compiled from one to the next.
steps_of() {
  local model=$1
  module torch
  module jax  # who is not there is left out, and Tenon runs alone
  attempt 475 "$python" "$peers/compare.py" --device "$device" --peers-device "$peers_device" --models "$model" \
    --python "$(command -v "$python")" --bin "$build/bin" --provider cuda.cudnn --rounds 5 --timeout 60 --start-limit 270 \
    --out "$work/$model" $(sized "--steps 640 --warmup 64 --warmup-tenon 480" \
      "--steps 4 --warmup 2 --warmup-tenon 2 --batch 2 --together 2 --start-limit 900 --timeout 300 --match ^(eager|scan).*fp32") \
    "${folder[@]}"
  [[ ! -f $work/$model/peers.json ]] || cp "$work/$model/peers.json" "$out/steps-$model.json"
}
stage_steps-cnn() { steps_of cnn; }
stage_steps-mlp() { steps_of mlp; }
stage_epochs() {
  local keep=$out/epochs.jsonl precision
  for precision in $(sized "fp16 bf16 tf32 fp32" fp32); do
    attempt 60 "$build/bin/epochs_bench" --model "$(sized cnn mlp)" --device "$(sized "$device" cpu)" --precision "$precision" \
      --epochs "$(sized 12 1)" --seeds "$(sized 10 2)" $(sized "" "--warmup 2 --batch 2000") "${folder[@]}"
  done
  local few=(--epochs "$(sized 12 1)" --seeds "$(sized 3 1)" --device "$peers_device" --model "$(sized cnn mlp)")
  [[ $tiny == no ]] || few+=(--batch 4000)
  if module torch; then
    attempt 100 "$python" "$peers/torch_step.py" "${few[@]}" --precision bf16 $(sized --compile "") --graph "${folder[@]}"
    attempt 60 "$python" "$peers/torch_step.py" "${few[@]}" --precision tf32 --channels-last "${folder[@]}"
  fi
  module jax && attempt 80 "$python" "$peers/jax_step.py" "${few[@]}" --precision bf16 --together 468 "${folder[@]}"
}
stage_kernels() {
  local keep=$out/kernels.jsonl precision large some
  read -ra large <<<"$(sized --large "--cases --filter ^bias_add/")"
  read -ra some <<<"$(sized "--cold --filter _mnist" "--cases --filter ^bias_add/")"
  for precision in fp32 tf32 bf16 fp16; do
    beside cuda.cublas 40 --precision $precision "${large[@]}"
    beside cuda.cudnn 60 --precision $precision "${some[@]}"
  done
  keep="" attempt 120 "$build/bin/kernels_bench" --compare cpu,cuda --rounds 5 $(sized "--filter _mnist" "--cases --filter ^bias_add/")
}
# beside LIBRARY LIMIT FLAG...: every kernel beside the library's, or by itself where that is not there.
beside() {
  local library=$1 limit=$2
  shift 2
  attempt "$limit" "$build/bin/kernels_bench" --json --rounds 5 --compare "cuda.tenon,$library" "$@" ||
    attempt "$limit" "$build/bin/kernels_bench" --json --rounds 5 --compare cuda.tenon "$@"
}
stage_tests() {
  attempt 300 "$build/bin/cuda_test" "$(sized '[rows]' '[table]')"
  attempt 170 "$build/bin/cuda_test" "$(sized '[.libraries]' '[table]')"
}
stage_profile() {
  local model precision stalls metrics=gpu__time_duration.sum
  for stalls in long_scoreboard short_scoreboard barrier mio_throttle lg_throttle math_pipe_throttle wait; do
    metrics+=,smsp__average_warps_issue_stalled_${stalls}_per_issue_active.ratio
  done
  metrics+=,sm__throughput.avg.pct_of_peak_sustained_elapsed,lts__throughput.avg.pct_of_peak_sustained_elapsed
  metrics+=,sm__warps_active.avg.pct_of_peak_sustained_active,launch__registers_per_thread
  if tool ncu; then
    for model in cnn mlp; do
      # Past the step that runs as it comes; enough for a whole one after it, of which the report cuts the ends.
      for precision in bf16 tf32 fp32; do
        attempt 40 ncu --clock-control none --cache-control none --launch-skip 40 --launch-count 60 --metrics "$metrics" --csv \
          --print-units base --log-file "$work/ncu-$model-$precision.csv" "$build/bin/step_bench" --model $model \
          --precision $precision --device "$device" --together 1 --warmup 4 --steps 4 "${folder[@]}"
      done
    done
    [[ $dry_run == yes ]] || return
  fi
  for precision in fp32 tf32 bf16 fp16; do
    attempt 30 env TENON_VERBOSE=time "$build/bin/step_bench" --precision $precision --device "$device" \
      $(sized "" "--model mlp --batch 2 --steps 2 --together 1 --warmup 1") "${folder[@]}"
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

report() { python3 "$root/bench/gpu_report.py" "$out" "$work/stages.jsonl"; }

folder=()
[[ -z $data ]] || folder=(--data-folder "$data")
: >"$log"
: >"$work/stages.jsonl"
for stage in "${stages[@]}"; do
  printf '== %s\n' "$stage" | tee -a "$log"
  "stage_$stage" || true
  # After every stage: who stops the script keeps what there is.
  [[ $dry_run == yes ]] || report || failed=1
done
[[ $dry_run == no ]] || report || failed=1
exit "$failed"
