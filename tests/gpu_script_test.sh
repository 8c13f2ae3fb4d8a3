#!/usr/bin/env bash
# bench/gpu.sh without a GPU: a dry run walks every stage, a run with stand-ins for the programs fills every file and table, a pack has
# what it is linked with, and wrong usage is told.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "gpu_script_test: $1" >&2; exit 1; }
stages=(environment predictions correct steps-cnn epochs steps-mlp kernels tests profile sanitizer)

# --- dry run ---------------------------------------------------------------------------------------------------------------
"$root/bench/gpu.sh" "$work/all" --dry-run --data-folder /data >"$work/log" || fail "the dry run failed"
for stage in "${stages[@]}"; do
  grep -q "^== $stage$" "$work/log" || fail "stage $stage was not walked"
  # Not grep -q, which would end before sed does.
  (($(sed -n "/^== $stage$/,/^== /p" "$work/all/log.txt" | grep -c 'would run: '))) || fail "stage $stage would run nothing"
done
[[ $(grep '^== ' "$work/log" | tr -d '\n') == "$(printf '== %s' "${stages[@]}")" ]] || fail "the order of the stages"
for tool in nvidia-smi ncu compute-sanitizer torch jax; do
  grep -q "left out: $tool" "$work/all/results.md" || fail "the refusal of $tool is not in the results"
done
! grep -rq "$root" "$work/all" || fail "a path of this machine is in the results"
"$root/bench/gpu.sh" "$work/one" tests --dry-run >"$work/log" || fail "a single stage failed"
[[ $(grep -c '^== ' "$work/log") == 1 ]] || fail "one stage was asked for"

# --- stand-ins -------------------------------------------------------------------------------------------------------------
mkdir -p "$work"/{build/bin,tools,data}
stand_in() { printf '#!/usr/bin/env bash\n%s\n' "$2" >"$1"; chmod +x "$1"; }
# flag NAME: its value among the stand-in's arguments
flag='flag() { local n=$1; shift; while (($#)); do [[ $1 == "$n" ]] && { echo "$2"; return; }; shift; done; }'
stand_in "$work/build/bin/cuda_probe" 'echo "{\"name\": \"graph_node\", \"value\": 9, \"unit\": \"us\", \"low\": 1.2, \"high\": 1.4, \"verdict\": \"miss\"}"'
stand_in "$work/build/bin/cuda_test" 'echo passed'
stand_in "$work/build/bin/mnist_cnn" 'echo "Accuracy is 0.1000"'
stand_in "$work/build/bin/step_bench" "$flag"'
p=$(flag --precision "$@"); p=${p:-fp32}; [[ $p == bf16 ]] && ms=0.05 || ms=0.2
[[ $(flag --provider "$@") ]] && { echo "step_bench: no cuDNN" >&2; exit 8; }
[[ $(flag --model "$@") == mlp ]] && ms=0.012
echo "{\"program\": \"tenon\", \"median_ms\": $ms, \"min_ms\": 0.01, \"batch\": 128, \"steps\": 640, \"warmup\": 480, \"loss_first\": 2, \"loss_last\": 1, \"banner\": \"cuda $p\"}"'
stand_in "$work/build/bin/epochs_bench" "$flag"'
p=$(flag --precision "$@"); [[ $p == fp32 ]] && s=1.5 || s=0.3; [[ $p == fp16 ]] && a=0.98 || a=0.992
[[ $p != fp16 ]] || s=0.1
for seed in 1 2; do echo "{\"program\": \"tenon\", \"model\": \"cnn\", \"batch\": 128, \"seed\": $seed, \"epochs\": 12, \"training_s\": $s, \"with_evaluation_s\": 2, \"accuracy\": $a, \"to_target_s\": 0.2, \"precision\": \"$p\", \"banner\": \"cuda $p\"}"; done'
stand_in "$work/build/bin/kernels_bench" "$flag"'
p=$(flag --precision "$@"); c=$(flag --compare "$@"); o=${c#*,}
[[ " $* " == *" --large "* ]] && names=(matmul/4096) || names=(conv2d/conv2_mnist pool2d/conv2_mnist)
row() { echo "{\"name\": \"$1\", \"results\": {\"cuda.tenon\": {\"median_ms\": 0.010, \"cold_median_ms\": 0.02, \"precision\": \"$p\"}, \"$o\": {\"median_ms\": 0.009, \"precision\": \"$p\"}}}"; }
rows=$(for n in "${names[@]}"; do row "$n"; done | paste -sd,)
echo "{\"precision\": \"$p\", \"rows\": [$rows]}"'
# A Python without PyTorch and JAX, whatever this machine's has.
stand_in "$work/tools/python" '[[ $1 == -c && $2 == *find_spec* ]] && { [[ $2 == *json* ]] && echo "[\"torch\", \"jax\"]"; exit 1; }; exec python3 "$@"'
# Nsight Compute: a step's two kernels between the ends of steps.
stand_in "$work/tools/ncu" "$flag"'
kernel() { for m in gpu__time_duration.sum,$3 sm__throughput.avg.pct_of_peak_sustained_elapsed,41.6 smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio,2.25; do
  echo "\"$1\",\"void tenon::cuda::$2<int>(int)\",\"(4, 2, 1)\",\"(256, 1, 1)\",\"${m%,*}\",\"${m#*,}\""; done; }
{ echo "==PROF== began"; echo "\"ID\",\"Kernel Name\",\"Grid Size\",\"Block Size\",\"Metric Name\",\"Metric Value\""
  kernel 0 early 900000; kernel 1 note_and_advance 2000; kernel 2 first 1500; kernel 3 note_and_advance 2000; kernel 4 late 900000
} >"$(flag --log-file "$@")"'
for f in train-images-idx3 train-labels-idx1; do : >"$work/data/$f-ubyte"; done
PATH=$work/tools:$PATH "$root/bench/gpu.sh" "$work/run" --build "$work/build" --data-folder "$work/data" --python "$work/tools/python" \
  environment predictions correct steps-cnn epochs steps-mlp kernels tests profile >"$work/log" 2>&1 || {
  cat "$work/log" "$work/run/log.txt" >&2
  fail "the run with stand-ins failed"
}
for file in results.md results.json log.txt predictions.jsonl steps-cnn.json steps-mlp.json epochs.jsonl kernels.jsonl; do
  [[ -s $work/run/$file ]] || fail "$file is missing"
done
[[ $(find "$work/run" -type f | wc -l) == 8 ]] || fail "more files than are told of"
said() { grep -qF "$1" "$work/run/results.md" || { cat "$work/run/results.md" >&2; fail "results.md does not say: $1"; }; }
said '| CNN step, batch 128, best precision | 60 us | 30 us | 50 us | required | cuda bf16 |'
said '| CNN step: fastest eager PyTorch / Tenon | 10 x | 20 x |  | not measured |  |'
# What is faster but below 99 % does not count.
said '| 12 epochs of the CNN, training only, mean above 99 %, best precision | 0.35 s | 0.18 s | 0.3 s | required |'
said '| 12 epochs of the CNN, training only, fp32 | 1.2 s | 0.6 s | 1.5 s | missed |'
said '| MLP step, batch 64, best precision | 15 us | 8 us | 12 us | required |'
said "| fp32 product of 4096: share of cuBLAS' rate | 85 % | 95 % | 90 % | required |"
said '| graph_node | 9 us | 1.2 to 1.4 | miss |'
said '| pool2d/conv2_mnist | fp16 | 10.00 us | 20.00 us | 9.00 us | 0.90 |'
said '## Kernels of a step of the MLP, tf32'
said '| `first<int>` | 4x2x1 | 256 |  | 1.5 | 42 % |  |  | barrier 2.2 |'
said '| together | | | | 4 | | | | |'
! grep -q 'early\|late<' "$work/run/results.md" || fail "kernels of other steps are counted"
said 'left out: torch'
! grep -rq "$work/build" "$work/run" || fail "a path of this machine is in the results of a run"
grep -q 'no cuDNN' "$work/run/log.txt" || fail "what a contender said is not in the log"

# With rivals: their ratios, by hand.
python3 - "$work/run" <<'PYTHON'
import json, sys
path = sys.argv[1] + "/steps-cnn.json"
data = json.load(open(path))
for form, ms in (("eager bf16", 0.6), ("eager graph bf16", 0.3), ("compiled graph bf16", 0.2), ("compiled reduce-overhead tf32", 0.19)):
    data["rows"].append({**data["rows"][0], "peer": "torch", "form": form, "label": form, "median_ms": ms})
json.dump(data, open(path, "w"))
lines = [{"name": f"conv2_bias_relu{f}_fp32", "value": v, "unit": "us"} for f, v in (("", 9), ("_fused", 5))]
open(sys.argv[1] + "/predictions.jsonl", "a").write("".join(json.dumps(line) + "\n" for line in lines))
PYTHON
python3 "$root/bench/gpu_report.py" "$work/run"
said '| CNN step: fastest eager PyTorch / Tenon | 10 x | 20 x | 12 x | required | eager bf16: 600 us |'
said '| CNN step: fastest compiled PyTorch with CUDA graphs / Tenon | 2 x | 4 x | 3.8 x | required | compiled reduce-overhead tf32: 190 us |'
said '| Fused convolution block: cuDNN and our pool / Tenon | 1.3 x | 2.5 x | 1.5 x | required | fp32: 5.0 us of cuDNN + 10.0 us / 10.0 us |'

# --- no time left ------------------------------------------------------------------------------------------------------------
"$root/bench/gpu.sh" "$work/late" tests --build "$work/build" --minutes 0 >/dev/null || fail "no time left is no failure"
grep -q 'left out: bin/cuda_test .*: no time is left' "$work/late/results.md" || fail "what there was no time for is not told"

# --- pack --------------------------------------------------------------------------------------------------------------------
if command -v cc >/dev/null && command -v strip >/dev/null; then
  mkdir -p "$work"/{carry/bin,carry/lib/tenon,own}
  echo 'int own(void) { return 0; }' | cc -x c -shared -fPIC -o "$work/own/libown.so.7" - -Wl,-soname,libown.so.7
  echo 'int own(void); int main(void) { return own(); }' |
    cc -x c -o "$work/carry/bin/cuda_probe" - -x none "$work/own/libown.so.7" -Wl,-rpath,'$ORIGIN/../lib'
  for program in cuda_test kernels_bench step_bench epochs_bench mnist_cnn mnist_mlp; do
    cp "$work/carry/bin/cuda_probe" "$work/carry/bin/$program"
  done
  cp "$work/own/libown.so.7" "$work/carry/lib/tenon/tenon_cuda.so"
  LD_LIBRARY_PATH=$work/own "$root/bench/gpu.sh" --pack "$work/pack.tar.gz" --build "$work/carry" --data-folder "$work/data" \
    2>"$work/log" ||
    { cat "$work/log" >&2; fail "a pack was not made"; }
  tar xzf "$work/pack.tar.gz" -C "$work"
  for file in bin/step_bench lib/libown.so.7 lib/tenon/tenon_cuda.so bench/gpu.sh bench/peers/torch_step.py data/train-images-idx3-ubyte; do
    [[ -f $work/tenon-gpu/$file ]] || fail "$file is not in the pack"
  done
  # Linked with something of this machine alone: refused.
  echo 'int own(void); int main(void) { return own(); }' |
    cc -x c -o "$work/carry/bin/step_bench" - -x none "$work/own/libown.so.7" -Wl,-rpath,"$work/own"
  ! LD_LIBRARY_PATH=$work/own "$root/bench/gpu.sh" --pack "$work/other.tar.gz" --build "$work/carry" 2>"$work/log" ||
    fail "a path of this machine was packed"
  grep -q 'step_bench takes libown.so.7 .*build it with the preset carry' "$work/log" || fail "a path of this machine is not told"
  rm "$work/own/libown.so.7"
  "$work/tenon-gpu/bin/step_bench" || fail "a program of the pack does not run"
  mv "$work/tenon-gpu/lib/libown.so.7" "$work/own/away"
  ! "$work/tenon-gpu/bin/step_bench" 2>/dev/null || fail "the program does not take the pack's library"
  mv "$work/own/away" "$work/tenon-gpu/lib/libown.so.7"
  "$work/tenon-gpu/bench/gpu.sh" "$work/packed" tests >/dev/null || fail "the pack's script does not find its programs"
  ! "$root/bench/gpu.sh" --pack "$work/pack.tar.gz" --build "$work/carry" 2>"$work/log" || fail "a missing library went unnoticed"
  grep -q 'needs libown.so.7, which is not here' "$work/log" || fail "a missing library is not told"
fi

# --- wrong usage -------------------------------------------------------------------------------------------------------------
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
