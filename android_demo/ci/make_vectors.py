"""make_vectors.py [FOLDER]: what the Kotlin code must reproduce, computed by the Python side.

Beside the vectors of `conformance/`, which all ports share, those that Android alone needs. They
are made anew for each build, in `app/build/vectors`:

- `yuv.json`: cameras' frames and the network's input for them. The frames are in the layouts that
  cameras deliver (rows with padding, chroma interleaved or not, odd sizes), turned and mirrored.
  Here they are converted to RGB first and letterboxed then, as a video's frames are;
- `models.json`: small models of every kind, in the file, and the class ids of a picture;
- `packaged.json`: the class ids that the packaged model gives to five pictures of odd sizes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

PROJECT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

from tflite_tiny import network, tiny_model  # noqa: E402

from keras_bisenet.imaging.letterbox import Fit  # noqa: E402
from keras_bisenet.pretrained import pretrained_model  # noqa: E402
from keras_bisenet.runtime.segmenter import Segmenter  # noqa: E402

# (height, width), padding of luma's rows, chroma's pixel stride, padding of its rows, degrees
# clockwise, mirrored, network (height, width)
FRAMES = [
    ((48, 64), 0, 1, 0, 0, False, (48, 64)),
    ((48, 64), 16, 2, 16, 90, False, (48, 64)),
    ((48, 64), 7, 2, 9, 270, True, (40, 96)),
    ((45, 63), 3, 2, 5, 180, False, (24, 32)),
    ((72, 128), 0, 2, 0, 90, True, (48, 64)),
    ((72, 128), 5, 1, 3, 0, True, (36, 64)),
    ((30, 40), 0, 2, 0, 180, True, (64, 96)),
]

MODELS = {
    "int8, not square": tiny_model((40, 72)),
    "int8, stride 4": tiny_model((40, 72), stride=4),
    "uint8": tiny_model((40, 72), precision="uint8"),
    "float32": tiny_model((64, 32), precision="float32"),
    "class ids": tiny_model((40, 72), kind="class_ids"),
    "another program's": network((40, 72)),
}

PICTURES = "abcde"


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    vectors = {
        "yuv": [frame(*f) for f in FRAMES],
        "models": [answer(name, model) for name, model in MODELS.items()],
        "packaged": packaged(),
    }
    for name, value in vectors.items():
        (folder / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")


# === Frames ===


def frame(size, y_padding, step, uv_padding, degrees, mirrored, network) -> dict:
    height, width = size
    chroma = ((height + 1) // 2, (width + 1) // 2)
    y, u, v = smooth(size, 0), smooth(chroma, 1), smooth(chroma, 2)
    rgb = np.rot90(to_rgb(y, u, v), -degrees // 90)
    if mirrored:
        rgb = rgb[:, ::-1]
    fit = Fit.of(rgb.shape[:2], network)
    return {
        "size": size,
        "planes": [plane(y, 1, y_padding), plane(u, step, uv_padding), plane(v, step, uv_padding)],
        "degrees": degrees,
        "mirrored": mirrored,
        "network": network,
        "rgb": base64_of(fit.place(np.ascontiguousarray(rgb))),
    }


def smooth(size, which: int) -> np.ndarray:
    """A plane as a lens gives it: slopes and a soft-edged patch, all values in the middle range."""
    y, x = np.ogrid[: size[0], : size[1]]
    y, x = y / size[0], x / size[1]
    slope = (x, y, (x + y) / 2)[which]
    patch = np.exp(-((x - 0.3) ** 2 + (y - 0.6) ** 2) * 12)
    return np.rint(88 + 50 * slope + 40 * patch).astype(np.uint8)


def to_rgb(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """JPEG's YUV to RGB, uint8 [h, w, 3]; chroma upsampled bilinearly."""
    height, width = y.shape
    y = y.astype(np.float64)
    floats = (Image.fromarray(c.astype(np.float32)) for c in (u, v))
    u, v = (np.asarray(c.resize((width, height), Image.BILINEAR)) - 128.0 for c in floats)
    rgb = (y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u)
    return np.rint(np.clip(np.stack(rgb, axis=-1), 0, 255)).astype(np.uint8)


def plane(values: np.ndarray, step: int, padding: int) -> dict:
    """The plane in memory: `step` bytes from pixel to pixel, the last row without its padding."""
    height, width = values.shape
    stride = width * step + padding
    data = np.full(height * stride, 0xA5, np.uint8)
    data.reshape(height, stride)[:, : width * step : step] = values
    data = data[: (height - 1) * stride + (width - 1) * step + 1]
    return {"row_stride": stride, "pixel_stride": step, "base64": base64_of(data)}


# === Models ===


def answer(name: str, model: bytes) -> dict:
    segmenter = Segmenter(model)
    return {
        "name": name,
        "model": base64.b64encode(model).decode(),
        "classes": list(segmenter.info.names),
        "picture": "images/b.png",
        "class_ids": base64_of(segmenter.segment(conformance_picture("b")).class_ids),
    }


def packaged() -> dict:
    model = pretrained_model().read_bytes()
    segmenter = Segmenter(model)
    answers = [
        {
            "picture": f"images/{name}.png",
            "class_ids": base64_of(segmenter.segment(conformance_picture(name)).class_ids),
        }
        for name in PICTURES
    ]
    return {"model_sha256": hashlib.sha256(model).hexdigest(), "answers": answers}


def conformance_picture(name: str) -> np.ndarray:
    return np.asarray(Image.open(PROJECT / f"conformance/images/{name}.png").convert("RGB"))


def base64_of(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


if __name__ == "__main__":
    default = PROJECT / "android_demo/app/build/vectors"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
