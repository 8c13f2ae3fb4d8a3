#!/usr/bin/env bash
# Finds which packages Tenon lacks on Debian or Ubuntu and installs them. When all are there it does nothing.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/setup.sh train|test|cross [--dry-run]
  train      what building the library and the MNIST programs needs
  test       the same, and what the tests and benchmarks need
  cross      what tests/cross_aarch64.sh needs: a cross compiler and an emulator
  --dry-run  names what is missing and the command that would install it; exit status 1 if anything is
Set TENON_SETUP=skip to go on without looking (another system, or packages from elsewhere).
Exit status: 0 everything is there, 1 something is lacking and could not be installed, 2 wrong usage.
TEXT
}

purpose="" dry_run=no
for argument in "$@"; do
  case $argument in
    train | test | cross) purpose=$argument ;;
    --dry-run) dry_run=yes ;;
    -h | --help) usage; exit 0 ;;
    *) printf '[setup] unknown argument: %s\n' "$argument" >&2; usage >&2; exit 2 ;;
  esac
done
if [[ -z $purpose ]]; then usage >&2; exit 2; fi
if [[ ${TENON_SETUP:-} == skip ]]; then echo "Packages: not looked at (TENON_SETUP=skip)"; exit 0; fi

# A program counts as there when it can be run, wherever it came from; a library when its package is installed.
compiler=${CXX:-g++}
programs=("${compiler%% *}=g++" "cmake=cmake" "ninja=ninja-build")
libraries=(zlib1g-dev libfmt-dev nlohmann-json3-dev libcli11-dev libeigen3-dev libcurl4-openssl-dev ca-certificates)
if [[ $purpose == cross ]]; then
  programs=("cmake=cmake" "ninja=ninja-build" "aarch64-linux-gnu-g++=g++-aarch64-linux-gnu" "qemu-aarch64=qemu-user")
  libraries=()
fi
if [[ $purpose == test ]]; then
  # The compiler cache spares the test that compiles the library a second time.
  programs+=("pkg-config=pkg-config" "python3=python3" "tidy=tidy" "ccache=ccache")
  libraries+=(catch2 libbenchmark-dev)
  # Debian's python3 comes without what makes virtual environments.
  python3 -c 'import ensurepip' 2>/dev/null || libraries+=(python3-venv)
fi
cmake_needed=3.25

# find_missing: fills `missing`.
missing=()
find_missing() {
  missing=()
  local entry package installed=""
  for entry in "${programs[@]}"; do
    command -v "${entry%%=*}" >/dev/null 2>&1 || missing+=("${entry##*=}")
  done
  if ((${#libraries[@]})) && command -v dpkg-query >/dev/null 2>&1; then
    # dpkg-query fails when it does not know one of them; what it does know is still printed.
    installed=$(dpkg-query -W -f='${Package}=${db:Status-Status}\n' "${libraries[@]}" 2>/dev/null) || true
  fi
  for package in "${libraries[@]}"; do
    grep -qx "$package=installed" <<<"$installed" || missing+=("$package")
  done
}

# at_least VERSION NEEDED: dotted numbers.
at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

refuse_old_cmake() {
  printf '[setup] CMake %s or newer is needed, %s has %s.\n' "$cmake_needed" "$1" "$2" >&2
  printf '        Ubuntu 22.04 and Debian 11 are too old; put a newer one on PATH, for instance: python3 -m pip install cmake\n' >&2
  exit 1
}

check_cmake() {
  command -v cmake >/dev/null 2>&1 || return 0
  local version
  version=$(cmake --version | sed -n '1s/[^0-9]*\([0-9][0-9.]*\).*/\1/p')
  at_least "$version" "$cmake_needed" || refuse_old_cmake "$(command -v cmake)" "$version"
}

find_missing
check_cmake
if ((${#missing[@]} == 0)); then
  echo "Packages: all there"
  exit 0
fi

printf 'Missing packages: %s\n' "${missing[*]}"
by_hand="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
give_up() {
  printf '[setup] cannot install: %s.\n        Lacking: %s\n        Run as root: %s\n' "$1" "${missing[*]}" "$by_hand" >&2
  exit 1
}

if ! command -v apt-get >/dev/null 2>&1; then
  printf '[setup] cannot install: this system has no apt-get.\n        Install what corresponds to: %s\n' "${missing[*]}" >&2
  printf '        then run again with TENON_SETUP=skip.\n' >&2
  exit 1
fi
if [[ $dry_run == yes ]]; then
  printf 'Would run: %s\n' "$by_hand"
  exit 1
fi
as_root=()
if [[ $(id -u) != 0 ]]; then
  command -v sudo >/dev/null 2>&1 || give_up "not root, and there is no sudo"
  as_root=(sudo)
  # Without a terminal sudo could not ask for a password.
  if [[ ! -t 0 ]]; then as_root=(sudo -n); fi
fi
if ((${#as_root[@]})) && ! "${as_root[@]}" true; then give_up "sudo refused"; fi

apt_get() { ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"; }

echo "Installing them with apt-get (this may take some minutes)"
# A stale list of packages may still do: the installation decides.
apt_get update || echo "[setup] apt-get update failed; going on with the lists that are there" >&2
for package in "${missing[@]}"; do
  if [[ $package == cmake ]]; then
    candidate=$(LC_ALL=C apt-cache policy cmake | sed -n 's/^ *Candidate: *\([0-9][0-9.]*\).*/\1/p')
    if [[ -n $candidate ]] && ! at_least "$candidate" "$cmake_needed"; then
      refuse_old_cmake "this system's package source" "$candidate"
    fi
  fi
done
apt_get install -y --no-install-recommends "${missing[@]}" || give_up "apt-get failed (its message is above; is there a network?)"

find_missing
if ((${#missing[@]})); then give_up "still missing after the installation"; fi
check_cmake
echo "Packages: installed"
