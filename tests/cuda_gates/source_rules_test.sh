#!/usr/bin/env bash
# Every rule must find the violation that is planted for it in a copy of the sources, and nothing in the sources themselves.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/kernels"
cp -r "$here/../../kernels/cuda" "$tree/kernels/cuda"

# expect STATUS TEXT...: the checker's exit status, and what its output must contain.
expect() {
  local status=0 output text
  output=$(TENON_ROOT=$tree "$here/source_rules.sh" 2>&1) || status=$?
  for text in "${@:2}"; do
    if [[ $status == "$1" && $output == *"$text"* ]]; then continue; fi
    printf 'expected status %s and "%s", found status %s and:\n%s\n' "$1" "$text" "$status" "$output" >&2
    exit 1
  done
}

# plant RULE FILE TEXT: the line, put into that file, must be found at its number, and nothing else.
plant() {
  local file=$tree/kernels/cuda/$2 line
  cp "$file" "$tree/before"
  line=$(($(wc -l <"$file") / 2))
  sed -i "${line}a\\
$3" "$file"
  expect 1 "[$1] kernels/cuda/$2:$((line + 1)):" "1 violations"
  cp "$tree/before" "$file"
}

expect 0 "Rules for CUDA sources hold"
plant conditions rows.cu '#if defined(__CUDA_ARCH__)'
plant conditions contraction.cuh '#ifdef TENON_CUDA_EMULATION'
plant conditions fold.cuh '  #  else'
plant launches update.cu '  kernel<<<grid, block>>>(x);'
plant assembly product.cuh '  asm volatile("bar.sync 0;");'
plant assembly device.cuh '__asm__("exit;");'
plant shared conv2d.cuh '  __shared__ float tile[32];'
plant shared ptx.cuh '  extern __shared__ float tile[];'
plant atomics reduce.cu '  atomicAdd(\&total, x * 2.f);'
plant atomics bias.cu '  atomicAdd(total + j, sum);'
plant atomics ptx.cuh '  asm("red.global.add.f32 [%0], %1;" :: "l"(p), "f"(x));'

# What looks alike and is allowed: in a comment, and of integers.
sed -i '$a\
// Neither #if nor <<< nor __shared__ nor asm nor atomicAdd(&x, y).\
void f() { atomicAdd(\&count, 1u); }' "$tree/kernels/cuda/rows.cu"
expect 0 "Rules for CUDA sources hold"
echo "Every rule for CUDA sources finds its violation"
