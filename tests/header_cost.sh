#!/usr/bin/env bash
# What a program pays for `#include <tenon/tenon.hpp>`: what it sees, and how long the compiler takes.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tests/header_cost.sh [COMPILER]      (default: $CXX, else g++)
Checks that the umbrella header
  - shows no graph node and no variant of operations, and reaches no header of Eigen or CUDA;
  - costs at most 0.25 s of processor time over the standard headers that it needs, or two fifths of what those take alone
    where a slow processor makes that more: the least of 5 compilations of each, tried 6 times, because other programs
    disturb it.
TENON_ROOT names another tree to check. Exit status 0 if all holds, 1 if not, 2 if the umbrella does not compile.
TEXT
}
case ${1-} in
  -h | --help) usage; exit 0 ;;
esac

compiler=${1:-${CXX:-g++}}
root=${TENON_ROOT:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
most_seconds=0.25 runs=5 attempts=6
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
compile=("$compiler" -std=c++20 "-I$root/include")

printf '#include "tenon/tenon.hpp"\n' >"$folder/umbrella.cpp"
if ! "${compile[@]}" -E "$folder/umbrella.cpp" >"$folder/umbrella.ii" || ! "${compile[@]}" -fsyntax-only "$folder/umbrella.cpp"; then
  printf '[header_cost] expected tenon/tenon.hpp to compile\n' >&2
  exit 2
fi
failures=0
fail() {
  printf '[header_cost] %s\n' "$1" >&2
  failures=$((failures + 1))
}

# Line markers (`# 1 "file"`) say which files were read.
own_headers=$(sed -nE "s@^# [0-9]+ \"($root/include/[^\"]+)\".*@\1@p" "$folder/umbrella.ii" | LC_ALL=C sort -u)
if [[ -z $own_headers ]]; then fail "expected the umbrella to reach headers below include/, found none"; fi

# hidden PATTERN WHAT: fails where the text behind the umbrella matches, and says in which of our headers it stands.
hidden() {
  if grep -qE "$1" "$folder/umbrella.ii"; then
    # shellcheck disable=SC2086 # a list of files
    fail "expected the umbrella to hide $2, found it in: $(grep -lE "$1" $own_headers | sed "s@^$root/@@" | paste -sd ' ')"
  fi
}
hidden '(struct|class) Node([^A-Za-z0-9_]|$)' 'Node'
hidden '(struct|class) Graph[[:space:]:]*(final)?[[:space:]]*\{' 'the members of Graph'
hidden 'std::variant<[[:space:]]*(op::)?Conv2d' 'the variant of operations'

foreign=$(grep -E '^# [0-9]+ "' "$folder/umbrella.ii" | grep -oE '"[^"]*/(Eigen|unsupported|cuda[^"]*|cublas[^"]*|cudnn[^"]*|nccl\.h)(/[^"]*)?"' | LC_ALL=C sort -u | head -n 3 || true)
if [[ -n $foreign ]]; then fail "expected no header of Eigen or CUDA, found: ${foreign//$'\n'/ }"; fi

# shellcheck disable=SC2086 # a list of files
grep -hoE '^#include <[a-z_]+>' $own_headers | LC_ALL=C sort -u >"$folder/standard.cpp"

# Processor seconds of one compilation; unlike the clock on the wall they hardly depend on what else runs.
seconds() {
  local TIMEFORMAT='%U %S'
  { time "${compile[@]}" -fsyntax-only "$1"; } 2>&1 | awk '{ print $1 + $2 }'
}
# Leaves the extra seconds in `cost`, and how many they may be in `most`.
measure() {
  local umbrella=1000 standard=1000 t
  for ((i = 0; i < runs; ++i)); do
    t=$(seconds "$folder/umbrella.cpp")
    umbrella=$(awk -v a="$t" -v b="$umbrella" 'BEGIN { print a < b ? a : b }')
    t=$(seconds "$folder/standard.cpp")
    standard=$(awk -v a="$t" -v b="$standard" 'BEGIN { print a < b ? a : b }')
  done
  cost=$(awk -v a="$umbrella" -v b="$standard" 'BEGIN { print a - b }')
  most=$(awk -v s="$standard" -v m="$most_seconds" 'BEGIN { print (0.4 * s > m ? 0.4 * s : m) }')
  printf 'umbrella %.3f s, its %d standard headers alone %.3f s: %.3f s more\n' "$umbrella" \
    "$(wc -l <"$folder/standard.cpp")" "$standard" "$cost"
}
for ((attempt = 1; attempt <= attempts; ++attempt)); do
  measure
  within=$(awk -v c="$cost" -v most="$most" 'BEGIN { print c <= most }')
  if ((within)); then break; fi
done
if ! ((within)); then fail "expected at most $most s over the standard headers, found $cost s"; fi

if ((failures)); then exit 1; fi
printf 'The umbrella header holds what it promises.\n'
