#!/usr/bin/env bash
# The house rules that a program can check. Prints every violation as file:line; exit status 1 if there is one.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tests/house_rules.sh [RULE...]      (default: all)
  size      no source file over 400 lines
  flags     no compiler flag that changes the meaning of arithmetic
  paths     no path of somebody's machine
  comments  every file under kernels/ and lib/ opens with a comment
  includes  public headers and lib/ include no Eigen, CUDA or intrinsics; the library no <iostream>
  markers   nothing left for later in the sources
TENON_ROOT names another tree to check (the script's own test uses it).
TEXT
}

root=${TENON_ROOT:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
cd "$root"
max_lines=400
violations=0
fail() {
  printf '[%s] %s\n' "$rule" "$1" >&2
  violations=$((violations + 1))
}

# files_in FOLDER... -- PATTERN...: names that find knows, of folders that exist, sorted.
files_in() {
  local folders=() names=()
  while [[ $1 != -- ]]; do
    if [[ -e $1 ]]; then folders+=("$1"); fi
    shift
  done
  shift
  for pattern in "$@"; do names+=(-o -name "$pattern"); done
  if ((${#folders[@]})); then find "${folders[@]}" -type f \( "${names[@]:1}" \) | LC_ALL=C sort; fi
}
sources=('*.hpp' '*.cpp' '*.cu' '*.cuh')
code_folders=(include lib kernels examples bench tests)

# matches REGEX FILE: fails once for every matching line (extended regular expression).
matches() {
  local line
  while IFS= read -r line; do fail "$2:$line"; done < <(grep -nE "$1" "$2" || true)
}

check_size() {
  local file lines
  while IFS= read -r file; do
    lines=$(wc -l <"$file")
    if ((lines > max_lines)); then fail "$file: expected at most $max_lines lines, found $lines"; fi
  done < <(files_in "${code_folders[@]}" -- "${sources[@]}")
}

# Comments may speak of these flags; they are cut off before the search, which keeps the line numbers.
check_flags() {
  local file line marker
  local forbidden='-ffast-math|-Ofast|-funsafe-math|-fassociative-math|-freciprocal-math|-ffinite-math-only|-fno-signed-zeros|use_fast_math|fast-math|-ffp-contract=(fast|on)'
  while IFS= read -r file; do
    case $file in
      *.cmake | *CMakeLists.txt) marker='#' ;;
      *.json) marker='^$' ;;
      *) marker='//' ;;
    esac
    while IFS= read -r line; do fail "$file:$line"; done < <(sed "s@$marker.*@@" "$file" | grep -nE -e "$forbidden" || true)
  done < <(files_in CMakeLists.txt CMakePresets.json cmake "${code_folders[@]}" -- \
    "${sources[@]}" CMakeLists.txt CMakePresets.json '*.cmake' '*.cmake.in' '*.pc.in')
}

check_paths() {
  local file
  # Written in pieces, so that this file does not find itself.
  local personal="(ho""me|ro""ot|wo""rk|t""mp|Us""ers)"
  while IFS= read -r file; do
    matches "(^|[^A-Za-z0-9_.}/~-])/$personal(/|\$|[\"' ])" "$file"
  done < <(files_in CMakeLists.txt CMakePresets.json README.md CONTRIBUTING.md CHANGELOG.md cmake scripts "${code_folders[@]}" -- \
    "${sources[@]}" '*.txt' '*.cmake' '*.in' '*.json' '*.sh' '*.py' '*.md')
}

check_comments() {
  local file first
  while IFS= read -r file; do
    IFS= read -r first <"$file" || true
    if [[ $first != //* && $first != '/*'* ]]; then fail "$file:1: expected a comment that says what the file is"; fi
  done < <(files_in kernels lib -- "${sources[@]}")
}

check_includes() {
  local file include='^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]'
  while IFS= read -r file; do
    matches "$include(unsupported/)?(Eigen/|cuda|cublas|cudnn|nccl|[a-z0-9_]*intrin\.h|arm_neon)" "$file"
  done < <(files_in include lib -- "${sources[@]}")
  while IFS= read -r file; do
    matches "${include}iostream>" "$file"
  done < <(files_in include lib kernels -- "${sources[@]}")
  # The installed headers must be enough: nothing of the source tree may be named in them.
  while IFS= read -r file; do
    matches "$include(lib|kernels|bench|tests|examples)/" "$file"
  done < <(files_in include -- "${sources[@]}")
}

check_markers() {
  local file words="TO""DO|FIX""ME|XX""X"
  while IFS= read -r file; do
    matches "(^|[^A-Za-z0-9_])($words)([^A-Za-z0-9_]|\$)" "$file"
  done < <(files_in "${code_folders[@]}" cmake scripts -- "${sources[@]}" '*.cmake' '*.sh' '*.py')
}

rules=("$@")
if ((${#rules[@]} == 0)); then rules=(size flags paths comments includes markers); fi
for rule in "${rules[@]}"; do
  case $rule in
    size | flags | paths | comments | includes | markers) "check_$rule" ;;
    -h | --help) usage; exit 0 ;;
    *) printf '[house_rules] unknown rule: %s\n' "$rule" >&2; usage >&2; exit 2 ;;
  esac
done
if ((violations)); then
  printf '%d violations of the house rules\n' "$violations" >&2
  exit 1
fi
printf 'House rules hold: %s\n' "${rules[*]}"
