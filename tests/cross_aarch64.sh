#!/usr/bin/env bash
# The library on AArch64, from an x86-64 machine: cross compiled, and its tests run by an emulator.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: tests/cross_aarch64.sh [--micro] [--build FOLDER] [--cases N]
Installs Debian's AArch64 compiler and qemu-user where they are missing, unpacks the AArch64 libraries that Tenon links into a
folder of the build (the system learns of no second architecture), builds the library and some tests, and runs under qemu-aarch64:
  symbols, disassembly   no weak symbols in the objects of the level `neon`, FMAs on vectors in every family
  math_test              the polynomials over a sample of all floats
  bits_test [recorded]   weights after some steps: the bits that an x86-64 machine with FMA gives
  kernels_test [neon]    every row of cpu.neon against the reference, bit for bit; N cases an operation instead of 250
  --cases N       the N above (default 25)
  --micro         only compiles the micro files and looks at symbols and disassembly; installs nothing
  --build FOLDER  where to build (default build/aarch64, with --micro build/cross_aarch64)
Exit status: 0 all is well, 2 wrong usage, 77 --micro without the compiler, else that of the step that failed.
TEXT
}

micro=no cases=25 build=""
refuse() {
  printf '[cross_aarch64] %s\n' "$1" >&2
  usage >&2
  exit 2
}
while (($#)); do
  case $1 in
    --micro) micro=yes ;;
    --build | --cases)
      if (($# < 2)); then refuse "$1 expects a value, found none"; fi
      if [[ $1 == --build ]]; then build=$2; else cases=$2; fi
      shift
      ;;
    -h | --help) usage; exit 0 ;;
    *) refuse "unknown argument: $1" ;;
  esac
  shift
done
if [[ ! $cases =~ ^[1-9][0-9]*$ ]]; then refuse "--cases expects a number, found '$cases'"; fi

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=../scripts/stages.sh
source "$root/scripts/stages.sh"
if [[ -n $build && $build != /* ]]; then build=$PWD/$build; fi
cd "$root"
toolchain=$root/cmake/aarch64.cmake

if [[ $micro == yes ]]; then
  if ! command -v aarch64-linux-gnu-g++ >/dev/null 2>&1; then
    echo "[cross_aarch64] skipped: expected aarch64-linux-gnu-g++, found no such program (package g++-aarch64-linux-gnu)"
    exit 77
  fi
  build=${build:-$root/build/cross_aarch64}
  cmake -S tests/cross -B "$build" -G Ninja --toolchain "$toolchain"
  cmake --build "$build" --parallel "$(cores)"
  ctest --test-dir "$build" --output-on-failure --no-tests=error
  exit
fi

build=${build:-$root/build/aarch64}
sysroot=$build/aarch64_root state=$build/aarch64_apt
packages=(libfmt-dev zlib1g-dev nlohmann-json3-dev libeigen3-dev catch2)

# apt_arm64 PROGRAM ARGUMENTS...: apt-get or apt-cache on lists of its own, so that the system learns of no second
# architecture.
apt_arm64() {
  "$1" -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User="$(id -un)" \
    -o Dir::State::lists="$state/lists" -o Dir::State::status=/dev/null -o Dir::Cache="$state/cache" \
    -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::sourcelist="$state/sources.list" "${@:2}"
}

libraries() {
  if [[ -f $sysroot/complete ]]; then
    echo "AArch64 libraries: all there"
    return
  fi
  local ID="" VERSION_CODENAME="" source
  # shellcheck source=/dev/null
  source /etc/os-release
  case $ID in
    debian) source="http://deb.debian.org/debian $VERSION_CODENAME main" ;;
    ubuntu) source="http://ports.ubuntu.com/ubuntu-ports $VERSION_CODENAME main universe" ;;
    *)
      printf '[cross_aarch64] expected Debian or Ubuntu, whose AArch64 packages are known, found %s\n' "'$ID'" >&2
      return 1
      ;;
  esac
  rm -rf "$state" "$sysroot"
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/debs" "$sysroot"
  printf 'deb %s\n' "$source" >"$state/sources.list"
  apt_arm64 apt-get update || return 1
  # The name of fmt's shared library changes with its version.
  local name deb
  while read -r name; do packages+=("$name"); done < <(
    apt_arm64 apt-cache depends libfmt-dev | sed -n 's/.*Depends: \(libfmt[0-9][0-9a-z.]*\)$/\1/p')
  (cd "$state/debs" && apt_arm64 apt-get download "${packages[@]}") || return 1
  for deb in "$state"/debs/*.deb; do dpkg-deb -x "$deb" "$sysroot" || return 1; done
  touch "$sysroot/complete"
  printf 'AArch64 libraries: unpacked %s into %s\n' "${packages[*]}" "${sysroot#"$root"/}"
}

stage "Packages" scripts/setup.sh cross
stage "AArch64 libraries" libraries
stage "Configure" cmake -S . -B "$build" -G Ninja --toolchain "$toolchain" -DTENON_AARCH64_ROOT="$sysroot" \
  -DZLIB_USE_STATIC_LIBS=ON -DCMAKE_BUILD_TYPE=Release -DTENON_BUILD_EXAMPLES=OFF -DTENON_BUILD_BENCH=OFF
stage "Build" cmake --build "$build" --parallel "$(cores)" --target kernels_test math_test bits_test
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
emulator=(qemu-aarch64 -L /usr/aarch64-linux-gnu)
stage "Objects" ctest --test-dir "$build" --output-on-failure --no-tests=error -R '^(symbols|disassembly_neon)$'
stage "math_test" "${emulator[@]}" "$build/bin/math_test"
stage "bits_test" "${emulator[@]}" "$build/bin/bits_test" '[recorded]'
stage "kernels_test, $cases cases an operation" env TENON_TEST_CASES="$cases" \
  "${emulator[@]}" "$build/bin/kernels_test" '[neon]'
elapsed
