#!/usr/bin/env bash
# check_tflite.py as a Raspberry Pi 4 would run it, for those without one: on an emulated
# Cortex-A72, in a Debian of its own, with the aarch64 wheels of both TFLite runtimes.
#
#     tools/check_tflite_aarch64.sh MODEL.tflite [options of check_tflite.py]
#
# The bytes are the device's, the latencies are not: emulation is a hundred times slower, and more.
# For a quick answer, `--inputs 1 --repeat 0` replays one golden input in each kind of kernels.
#
# Needs Debian's or Ubuntu's apt and dpkg, qemu-user-static, debian-archive-keyring and pip; no
# root. What it downloads, some 100 MB, stays in a folder for the next time. The environment
# changes where from and what:
#
#     FOLDER         ~/.cache/keras-bisenet/aarch64
#     DEBIAN_MIRROR  http://deb.debian.org/debian
#     RUNTIMES       "ai-edge-litert==2.3.0 tflite-runtime==2.14.0"
#     PYTHON         python3, whose pip is used (pip's own configuration applies)
#     CPU            cortex-a72, or another one of `qemu-aarch64-static -cpu help`
#
# Exit status: 0 when the model passes with every runtime, 1 when it does not, 2 on bad usage.
set -euo pipefail

FOLDER=${FOLDER:-${XDG_CACHE_HOME:-$HOME/.cache}/keras-bisenet/aarch64}
DEBIAN_MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
RUNTIMES=${RUNTIMES:-ai-edge-litert==2.3.0 tflite-runtime==2.14.0}
PYTHON=${PYTHON:-python3}
CPU=${CPU:-cortex-a72}

RELEASE=bookworm # its Python is 3.11, the newest that tflite-runtime has wheels for
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
ROOT=$FOLDER/$RELEASE
CHECK=$(cd "$(dirname "$0")" && pwd)/check_tflite.py

main() {
  if [ $# -eq 0 ] || [ "$1" = --help ]; then
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
    [ $# -gt 0 ] && exit 0 || exit 2
  fi
  require qemu-aarch64-static qemu-user-static
  [ -e "$ROOT/installed" ] || install_debian
  local runtime status=0
  for runtime in $RUNTIMES; do
    [ -e "$FOLDER/$runtime/installed" ] || install_runtime "$runtime"
    emulated "$runtime" "$CHECK" --runtime "${runtime%%=*}" "$@" || status=$?
  done
  exit "$status"
}

require() { # COMMAND PACKAGE
  command -v "$1" >/dev/null || fail "no $1 here: apt-get install $2"
}

fail() {
  echo "Error: $*" >&2
  exit 1
}

# Unpacks Debian's Python and what it needs into $ROOT, checked against Debian's signatures. apt
# works on a state of its own, in which nothing is installed yet, and touches nothing else.
install_debian() {
  require apt-get apt
  [ -e "$KEYRING" ] || fail "no $KEYRING here: apt-get install debian-archive-keyring"
  local state=$FOLDER/apt package
  rm -rf "$ROOT" "$state"
  mkdir -p "$ROOT" "$state/lists/partial" "$state/archives/partial"
  echo "deb [signed-by=$KEYRING] $DEBIAN_MIRROR $RELEASE main" >"$state/sources.list"
  local apt=(
    apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64
    -o Dir::State="$state" -o Dir::State::status=/dev/null -o Dir::State::lists="$state/lists"
    -o Dir::Cache="$state" -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=-
    -o APT::Install-Recommends=false -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1
  )
  echo "downloading Debian $RELEASE for arm64 into $FOLDER" >&2
  "${apt[@]}" update
  "${apt[@]}" install --yes --download-only python3-minimal libpython3-stdlib libstdc++6 >/dev/null
  for package in "$state"/archives/*.deb; do
    dpkg-deb --extract "$package" "$ROOT"
  done
  rm -rf "$state"
  describe_cpu
  touch "$ROOT/installed"
}

# QEMU 7 shows programs the host's /proc/cpuinfo, and XNNPACK, which looks there for Arm cores,
# crashes (ai-edge-litert 2.3.0). A file under $ROOT comes first: a Raspberry Pi 4's four cores.
describe_cpu() {
  local cpu
  mkdir -p "$ROOT/proc" "$ROOT/sys/devices/system/cpu"
  for cpu in 0 1 2 3; do
    printf '%s\t: %s\n' processor $cpu BogoMIPS 108.00 Features "fp asimd evtstrm crc32 cpuid" \
      "CPU implementer" 0x41 "CPU architecture" 8 "CPU variant" 0x0 "CPU part" 0xd08 \
      "CPU revision" 3
    echo
  done >"$ROOT/proc/cpuinfo"
  echo 0-3 | tee "$ROOT/sys/devices/system/cpu/possible" >"$ROOT/sys/devices/system/cpu/present"
}

# Unpacks a runtime's aarch64 wheel, and those that it needs, into $FOLDER/$1.
install_runtime() {
  local wheels=("$1") platforms=() glibc
  case $1 in tflite-runtime*) wheels+=("numpy<2") ;; esac
  for glibc in 17 24 26 27 28 31 34 35; do # Debian bookworm's is 2.36; pip matches them literally
    platforms+=(--platform "manylinux_2_${glibc}_aarch64")
  done
  echo "downloading $1 for aarch64" >&2
  rm -rf "${FOLDER:?}/$1"
  "$PYTHON" -m pip --disable-pip-version-check install --quiet --no-warn-conflicts \
    --target "$FOLDER/$1" \
    --only-binary :all: --python-version 3.11 --implementation cp "${platforms[@]}" \
    --platform manylinux2014_aarch64 "${wheels[@]}" ||
    fail "$1: pip found no such wheels for aarch64 and Python 3.11"
  touch "$FOLDER/$1/installed"
}

# Runs a program of the emulated Python, with a runtime's packages.
emulated() { # RUNTIME PROGRAM [ARGUMENT...]
  local packages=$FOLDER/$1
  shift
  env QEMU_LD_PREFIX="$ROOT" PYTHONHOME="$ROOT/usr" PYTHONPATH="$packages" PYTHONNOUSERSITE=1 \
    qemu-aarch64-static -cpu "$CPU" "$ROOT/usr/bin/python3.11" "$@"
}

main "$@"
