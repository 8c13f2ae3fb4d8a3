#!/usr/bin/env bash
# What kernels/cuda/device.cuh promises of every kernel, as far as a program can see it in the source. Prints every violation as
# file:line; exit status 1 if there is one.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tests/cuda_gates/source_rules.sh [RULE...]      (default: all)
  conditions  no #if in .cu and .cuh files: one source for the GPU and for its emulation. device.cuh and ptx.cuh choose between both
  launches    no <<<: kernels are started by launch()
  assembly    no asm outside ptx.cuh
  shared      no __shared__ outside device.cuh: shared memory comes from shared_storage<Smem>(), where the emulation watches it
  atomics     no atomic additions to floating point numbers: their order, and so their bits, would be another in every run
TENON_ROOT names another tree to check (the script's own test uses it).
TEXT
}

root=${TENON_ROOT:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
cd "$root"
violations=0
fail() {
  printf '[%s] %s\n' "$rule" "$1" >&2
  violations=$((violations + 1))
}

# lines REGEX [EXCEPT...]: matches in the kernels' sources but the named files, as file:line:text. Comments are cut off first.
lines() {
  local regex=$1 names=() file
  shift
  while IFS= read -r file; do
    if [[ " $* " != *" ${file##*/} "* ]]; then names+=("$file"); fi
  done < <(find kernels/cuda -type f \( -name '*.cu' -o -name '*.cuh' \) | LC_ALL=C sort)
  REGEX=$regex awk '{ sub(/\/\/.*/, ""); if ($0 ~ ENVIRON["REGEX"]) print FILENAME ":" FNR ":" $0 }' "${names[@]}"
}
search() {
  local line
  while IFS= read -r line; do fail "$line"; done < <(lines "$@")
}

check_conditions() { search '^[[:space:]]*#[[:space:]]*(if|ifdef|ifndef|elif|else)([^A-Za-z]|$)' device.cuh ptx.cuh; }
check_launches() { search '<<<'; }
check_assembly() { search '(^|[^A-Za-z0-9_])(asm|__asm__?)([^A-Za-z0-9_]|$)' ptx.cuh; }
check_shared() { search '(^|[^A-Za-z0-9_])__shared__([^A-Za-z0-9_]|$)' device.cuh; }

# A pattern does not know types. Counts are added up in integers, which atomics name: atomicAdd(&count, 1u), or a cast.
check_atomics() {
  local line integer='atomic(Add|Sub)(_block|_system)?\(.*,[[:space:]]*(-?[0-9]+(u|ull)?|static_cast<(int|unsigned|std::u?int(32|64)_t|unsigned long long)>\(.*\))\)'
  while IFS= read -r line; do
    if [[ ! $line =~ $integer ]]; then fail "$line"; fi
  done < <(lines '(^|[^A-Za-z0-9_])atomic(Add|Sub)(_block|_system)?[[:space:]]*[(]|red[.][a-z.]*add[.][a-z0-9.]*f')
}

rules=("$@")
if ((${#rules[@]} == 0)); then rules=(conditions launches assembly shared atomics); fi
for rule in "${rules[@]}"; do
  case $rule in
    conditions | launches | assembly | shared | atomics) "check_$rule" ;;
    -h | --help) usage; exit 0 ;;
    *) printf '[source_rules] unknown rule: %s\n' "$rule" >&2; usage >&2; exit 2 ;;
  esac
done
if ((violations)); then
  printf '%d violations of the rules for CUDA sources\n' "$violations" >&2
  exit 1
fi
printf 'Rules for CUDA sources hold: %s\n' "${rules[*]}"
