#!/usr/bin/env bash
# The device half as a 64-bit Raspberry Pi would run it, for those without one: on an emulated
# Cortex-A72, in a Debian of its own, with the aarch64 wheels that pip would install there.
#
#     tools/check_pi.sh [IMAGE]
#
# It segments IMAGE (a generated picture, where none is named) with the packaged model, here and
# there, and compares the masks pixel by pixel; makes a short video there and looks at it here; and
# starts `keras-bisenet live` there and asks it here whether it is well.
#
# Needs what check_tflite_aarch64.sh needs, curl, and here a Python with this package and PyAV. What
# it downloads, some 200 MB, stays in the same folder. FOLDER, DEBIAN_MIRROR, PYTHON and CPU are
# as there. Emulation is slow: some minutes in all.
#
# Exit status: 0 when all of it holds, 1 when it does not.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
PYTHON=${PYTHON:-python3}
CPU=${CPU:-cortex-a72}
export FOLDER=${FOLDER:-${XDG_CACHE_HOME:-$HOME/.cache}/keras-bisenet/aarch64}
ROOT=$FOLDER/bookworm
PACKAGES=$FOLDER/device-half
WHEELS=(click numpy pillow flatbuffers tflite ai-edge-litert av) # in the versions of pyproject.toml
PORT=${PORT:-8377}
TINY=$HERE/../tests/golden/bisenetv2_tiny_int8.tflite # emulation takes a minute and more for a real one

# The emulated Python with this package and its aarch64 dependencies.
EMULATED=(
  env QEMU_LD_PREFIX="$ROOT" PYTHONHOME="$ROOT/usr" PYTHONPATH="$HERE/..:$PACKAGES"
  PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1
  qemu-aarch64-static -cpu "$CPU" "$ROOT/usr/bin/python3.11"
)

main() {
  case ${1:-} in -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" && exit ;; esac
  # The other tool's first step, without a model to check: Debian for arm64.
  [ -e "$ROOT/installed" ] || RUNTIMES=" " "$HERE/check_tflite_aarch64.sh" none
  [ -e "$PACKAGES/installed" ] || install_packages
  local image
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  image=${1:-$work/scene.png}
  [ $# -gt 0 ] || here -c "$SCENE" "$image"

  step "an image: the same mask there as here"
  here -m keras_bisenet.cli run "$image" -o "$work/here.png" --output mask
  "${EMULATED[@]}" -m keras_bisenet.cli run "$image" -o "$work/there.png" --output mask
  here -c "$COMPARE" "$work/here.png" "$work/there.png"

  step "a video: H.264 from there plays here"
  here -c "$VIDEO" "$work/drive.mp4" "$image"
  "${EMULATED[@]}" -m keras_bisenet.cli run "$TINY" "$work/drive.mp4" -o "$work/answer.mp4"
  here -c "$PLAY" "$work/answer.mp4"

  step "live: it is well, and shows pictures"
  live "$work"
  echo "all of it holds"
}

step() { printf '\n== %s\n' "$*"; }

here() { PYTHONPATH=$HERE/..${PYTHONPATH:+:$PYTHONPATH} "$PYTHON" "$@"; }

requirements() { # NAMES: each with the versions that pyproject.toml allows, on a 64-bit machine
  local name
  for name; do
    grep -om 1 "\"$name>=[^\";]*" "$HERE/../pyproject.toml" | tr -d '"' || return
  done
}

install_packages() {
  local platforms=() glibc wanted
  for glibc in 17 24 26 27 28 31 34 35; do # Debian bookworm's is 2.36; pip matches them literally
    platforms+=(--platform "manylinux_2_${glibc}_aarch64")
  done
  wanted=$(requirements "${WHEELS[@]}")
  mapfile -t wanted <<<"$wanted"
  echo "downloading aarch64 wheels: ${wanted[*]}" >&2
  rm -rf "$PACKAGES"
  "$PYTHON" -m pip --disable-pip-version-check install --quiet --no-warn-conflicts \
    --target "$PACKAGES" --only-binary :all: --python-version 3.11 --implementation cp \
    "${platforms[@]}" --platform manylinux2014_aarch64 "${wanted[@]}"
  touch "$PACKAGES/installed"
}

live() { # WORK
  if curl --silent "http://127.0.0.1:$PORT/" >/dev/null; then
    echo "Error: something listens at port $PORT already: choose another PORT" >&2
    return 1
  fi
  "${EMULATED[@]}" -m keras_bisenet.cli live "$TINY" "$1/drive.mp4" --listen "127.0.0.1:$PORT" --stall 10m \
    >"$1/live.log" 2>&1 &
  local process=$! seconds
  for seconds in $(seq 300); do
    sleep 1
    kill -0 "$process" 2>/dev/null || { cat "$1/live.log"; return 1; }
    if curl --silent --fail "http://127.0.0.1:$PORT/healthz" >/dev/null; then
      echo "healthy after $seconds s"
      curl --silent --fail -o "$1/frame.jpg" "http://127.0.0.1:$PORT/frame.jpg"
      curl --silent --fail -o "$1/mask.png" "http://127.0.0.1:$PORT/mask.png"
      here -c "from PIL import Image; import sys; print(*(Image.open(p).size for p in sys.argv[1:]))" \
        "$1/frame.jpg" "$1/mask.png"
      kill -TERM "$process"
      wait "$process" && cat "$1/live.log"
      return
    fi
  done
  kill -KILL "$process"
  return 1
}

SCENE='
import sys
from PIL import Image
from keras_bisenet.runtime.bench import synthetic_image
Image.fromarray(synthetic_image((360, 480))).save(sys.argv[1])'

COMPARE='
import sys
import numpy as np
from PIL import Image
one, other = (np.asarray(Image.open(path)) for path in sys.argv[1:])
differ = int((one != other).sum()) if one.shape == other.shape else one.size
print(f"{one.shape[0]}x{one.shape[1]}, {len(np.unique(one))} classes, {differ} pixels differ")
sys.exit(differ > 0)'

VIDEO='
import sys
import av
import numpy as np
from PIL import Image
image = np.asarray(Image.open(sys.argv[2]).convert("RGB").resize((480, 360)))
with av.open(sys.argv[1], "w") as file:
    video = file.add_stream("libx264", rate=5, options={"preset": "ultrafast"})
    video.height, video.width, video.pix_fmt = 360, 480, "yuv420p"
    for i in range(5):
        frame = av.VideoFrame.from_ndarray(np.roll(image, 8 * i, axis=1), format="rgb24")
        file.mux(video.encode(frame))
    file.mux(video.encode(None))'

PLAY='
import sys
import av
with av.open(sys.argv[1]) as file:
    video = file.streams.video[0]
    times = [frame.time for frame in file.decode(video)]
    print(video.codec_context.name, times)
    sys.exit(video.codec_context.name != "h264" or len(times) != 5)'

main "$@"
