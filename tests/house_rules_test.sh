#!/usr/bin/env bash
# Every house rule must find the violation that is planted for it, in a tree that is otherwise clean.
set -euo pipefail

checker=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/house_rules.sh
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
export TENON_ROOT=$tree
mkdir -p "$tree"/{cmake,include/tenon,kernels,lib}

# expect STATUS TEXT: the checker's exit status, and what its output must contain.
expect() {
  local status=0 output
  output=$("$checker" 2>&1) || status=$?
  if [[ $status != "$1" || $output != *"$2"* ]]; then
    printf 'expected status %s and "%s", found status %s and:\n%s\n' "$1" "$2" "$status" "$output" >&2
    exit 1
  fi
}

# plant RULE FILE CONTENT: the file alone must be found, under that rule.
plant() {
  printf '%b' "$3" >"$tree/$2"
  expect 1 "[$1] $2:"
  rm "$tree/$2"
}

# 400 lines, and flags in comments, are allowed.
{ echo '// Says that -ffast-math is forbidden.'; printf 'int x;\n%.0s' {1..399}; } >"$tree/lib/clean.cpp"
echo '# Neither is -Ofast wanted.' >"$tree/cmake/clean.cmake"
expect 0 "House rules hold"

plant size lib/long.cpp "// Long.\n$(printf 'int x;\\n%.0s' {1..400})"
plant flags cmake/flags.cmake 'add_compile_options(-Ofast)\n'
plant flags kernels/flags.cpp '// Flags.\n#pragma GCC optimize("fast-math")\n'
plant paths include/tenon/path.hpp '// Path.\nconst char* p = "/ho''me/me/x";\n'
plant comments kernels/bare.cpp 'int x;\n'
plant includes include/tenon/eigen.hpp '// Eigen.\n#include <Eigen/Dense>\n'
plant includes lib/intrinsics.cpp '// Intrinsics.\n#include <immintrin.h>\n'
plant includes lib/cuda.cpp '// CUDA.\n#include <cuda_runtime.h>\n'
plant includes kernels/stream.cpp '// Stream.\n#include <iostream>\n'
plant includes include/tenon/inner.hpp '// Inner.\n#include "lib/data/idx.hpp"\n'
plant markers lib/later.cpp '// Later.\nint x;  // TO''DO: y\n'
expect 0 "House rules hold"
echo "Every house rule finds its violation"
