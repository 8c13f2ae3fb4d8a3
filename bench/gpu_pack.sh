#!/usr/bin/env bash
# gpu.sh --pack: programs, module, scripts and MNIST as one file for a machine with a driver and nothing else of ours.
# Usage: gpu_pack.sh FILE [BUILD] [DATA]
set -euo pipefail

file=$1 build=${2:-} data=${3:-}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
programs=(cuda_probe cuda_test kernels_bench step_bench epochs_bench mnist_cnn mnist_mlp)
most=$((64 << 20))
# What a machine with a compiler has; everything else goes into the pack.
theirs='^(linux-vdso|ld-linux-x86-64|libc|libm|libmvec|libdl|librt|libpthread|libresolv|libstdc\+\+|libgcc_s|libgomp|libcuda)\.so'
say() { printf '[pack] %s\n' "$1" >&2; }

if [[ -z $build ]]; then
  build=$root/build/carry
  (cd "$root" && cmake --preset carry >/dev/null && cmake --build build/carry --target tenon_cuda "${programs[@]}") >&2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/tenon-gpu
mkdir -p "$stage"/{bin,lib/tenon,bench/peers}
for program in "${programs[@]}"; do
  [[ -x $build/bin/$program ]] || { say "$program is not in $build/bin"; exit 1; }
  cp "$build/bin/$program" "$stage/bin/"
done
cp "$build/lib/tenon/tenon_cuda.so" "$stage/lib/tenon/"
strip --strip-unneeded "$stage"/bin/* "$stage/lib/tenon/tenon_cuda.so"
cp "$root"/bench/gpu.sh "$root"/bench/gpu_report.py "$stage/bench/"
cp "$root"/bench/peers/*.py "$stage/bench/peers/"
if [[ -n $data ]]; then
  mkdir "$stage/data"
  cp "$data"/*-ubyte* "$stage/data/"
  chmod -R u+w "$stage/data"
fi

# Libraries that are not theirs come along, and those that these need. The preset has the programs look for them in ../lib, so that
# no other program, such as Python, gets them too.
names() { ldd "$1" | awk '$2 == "=>" {print $1, $3}' | grep -vE "$theirs" || true; }
for binary in "$stage"/bin/* "$stage/lib/tenon/tenon_cuda.so"; do
  while read -r name path; do
    [[ -n $name && ! -e $stage/lib/$name ]] || continue
    [[ -f $path ]] || { say "${binary##*/} needs $name, which is not here"; exit 1; }
    cp -L "$path" "$stage/lib/$name"
    say "takes along $name"
  done < <(names "$binary")
done
# The proof: nothing is missing, and nothing that is not theirs comes from anywhere but lib/.
for binary in "$stage"/bin/* "$stage/lib/tenon/tenon_cuda.so"; do
  strange=$(env -u LD_LIBRARY_PATH ldd "$binary" | awk '$2 == "=>" {print $1, $3}' | grep -vE "$theirs" |
    grep -vF " $stage/bin/../lib/" || true)
  [[ -z $strange ]] || { say "${binary##*/} takes ${strange//$'\n'/, } (build it with the preset carry)"; exit 1; }
done
tar -C "$work" -czf "$file" tenon-gpu
size=$(stat -c %s "$file")
((size <= most)) || { say "$file has $size bytes, more than $most"; exit 1; }
say "$file: $((size >> 10)) KiB; there: tar xzf ${file##*/}; tenon-gpu/bench/gpu.sh OUT_DIR"
