"""Writes `conformance/`: what every port of the device half must reproduce.

    python tools/make_conformance.py [FOLDER]

The vectors come from the Python code that runs on devices, on pictures made up by integer
arithmetic. `conformance/README.md` says what the files hold; `tests/device/test_conformance.py`
makes them again and compares.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import platform
from pathlib import Path

import numpy as np
from PIL import Image

from keras_bisenet.imaging.drawing import class_shares, share_text
from keras_bisenet.imaging.letterbox import Fit, class_ids_from_logits, class_ids_from_map
from keras_bisenet.label_map import VOID
from keras_bisenet.runtime.golden import golden_pictures
from keras_bisenet.runtime.interpreter import runtime_name
from keras_bisenet.runtime.segmenter import Segmenter

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "tests" / "golden" / "bisenetv2_tiny_int8.tflite"

IMAGES = {"a": (37, 53), "b": (120, 91), "c": (64, 96), "d": (45, 80), "e": (201, 101), "f": (1, 7)}
"""Name -> (height, width)."""

LETTERBOXES = (
    ("a", (64, 96)),  # enlarged, padded on the right
    ("a", (61, 61)),  # enlarged, padded below
    ("b", (64, 96)),  # shrunk: the filter widens
    ("b", (33, 17)),
    ("c", (64, 96)),  # as it is
    ("c", (80, 96)),  # not resampled, padded below
    ("c", (64, 131)),  # not resampled, padded on the right
    ("c", (48, 72)),
    ("d", (32, 40)),  # 45 rows at half the size: 22.5 goes to the even 22
    ("d", (128, 96)),
    ("e", (64, 96)),
    ("e", (200, 100)),
    ("f", (16, 16)),
    ("f", (2, 3)),  # 0.43 rows: one at least
)

CLASS_IDS = (
    # (name, kind, cells, classes, type, image, network)
    ("same_size", "logits", (16, 24), 4, "int8", (16, 24), (16, 24)),
    ("stride_8", "logits", (8, 12), 5, "int8", (64, 96), (64, 96)),
    ("odd", "logits", (8, 12), 5, "int8", (37, 53), (64, 96)),
    ("tall", "logits", (8, 12), 5, "int8", (120, 91), (64, 96)),
    ("large", "logits", (8, 12), 19, "int8", (201, 101), (64, 96)),
    ("small", "logits", (16, 24), 3, "int8", (9, 7), (128, 192)),
    ("ties", "logits", (6, 6), 6, "int8", (48, 48), (48, 48)),
    ("unsigned", "logits", (8, 12), 5, "uint8", (45, 80), (64, 96)),
    ("floats", "logits", (8, 12), 5, "float32", (45, 80), (64, 96)),
    ("one_row", "logits", (4, 4), 3, "float32", (1, 7), (16, 16)),
    ("map_same_size", "class_ids", (16, 24), 4, "uint8", (16, 24), (16, 24)),
    ("map_odd", "class_ids", (64, 96), 5, "uint8", (37, 53), (64, 96)),
    ("map_large", "class_ids", (32, 48), 5, "uint8", (201, 101), (64, 96)),
)

CLASSES = {
    "Sky": (70, 130, 180),
    "Road": (128, 64, 128),
    "A name that is much longer than a legend has room for": (220, 20, 60),
    "Trees, bushes": (107, 142, 35),
    "Straße": (0, 0, 142),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "conformance")
    make(parser.parse_args().folder)


def make(folder: Path) -> None:
    """Writes every vector into `folder`."""
    for name in IMAGES:
        _write_png(folder / "images" / f"{name}.png", picture(name))
    for name, cases in (
        ("letterbox", letterboxes(folder)),
        ("class_ids", class_ids(folder)),
        ("legend", legends(folder)),
        ("answers", answers(folder)),
    ):
        text = json.dumps(cases, indent=1, ensure_ascii=False) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")


def picture(name: str) -> np.ndarray:
    """One of the pictures, RGB uint8 [h, w, 3]."""
    return golden_pictures(*IMAGES[name])[list(IMAGES).index(name) % 3]


def letterboxes(folder: Path) -> list[dict]:
    cases = []
    for name, network in LETTERBOXES:
        fit = Fit.of(IMAGES[name], network)
        output = f"letterbox/{name}_{network[0]}x{network[1]}.png"
        _write_png(folder / output, fit.place(picture(name)))
        cases.append(
            {
                "image": f"images/{name}.png",
                "network": network,
                "content": fit.content_size,
                "output": output,
            }
        )
    return cases


def class_ids(folder: Path) -> list[dict]:
    cases = []
    for name, kind, cells, classes, dtype, image, network in CLASS_IDS:
        fit = Fit.of(image, network)
        if kind == "logits":
            values = _logits(cells, classes, dtype, ties=name == "ties")
            ids = class_ids_from_logits(values, fit)
        else:
            values = _logits(cells, classes, "int8").argmax(axis=-1).astype(dtype)
            values[:2, :3] = VOID
            ids = class_ids_from_map(values, fit)
        output = f"class_ids/{name}.png"
        _write_png(folder / output, ids)
        cases.append(
            {
                "kind": kind,
                "logits": {"shape": values.shape, "dtype": dtype, "base64": _base64(values)},
                "image_size": image,
                "network_size": network,
                "content_size": fit.content_size,
                "class_ids": output,
            }
        )
    return cases


def legends(folder: Path) -> dict:
    masks = {}
    _, x = np.ogrid[:40, :50]
    masks["eighths"] = np.broadcast_to(np.uint8([0, 1, 1, 2, 2, 2, 3, 3])[x[0] * 8 // 50], (40, 50))
    masks["equal"] = np.uint8([[4, 3, 2, 1, 0]] * 8).repeat(8, axis=1)
    few = np.zeros((40, 50), np.uint8)  # 2,000 pixels: 2 of them are 0.1 percent
    few[:8, :4], few[20, :18], few[21, :20], few[22, :6], few[23, :2] = VOID, 1, 2, 3, 4
    masks["few"] = few

    cases = []
    for name, mask in masks.items():
        path = f"legend/{name}.png"
        _write_png(folder / path, mask)
        shares = class_shares(mask)
        texts = [share_text(i, share, list(CLASSES)) for i, share in shares]
        cases.append({"class_ids": path, "shares": shares, "texts": texts})
    return {"names": list(CLASSES), "palette": list(CLASSES.values()), "cases": cases}


def answers(folder: Path) -> dict:
    cases = []
    chosen, reference = Segmenter(MODEL), Segmenter(MODEL, reference=True)
    for name in ("a", "b", "c"):
        array, fit = chosen.prepare(picture(name))
        case = {
            "image": f"images/{name}.png",
            "input_sha256": hashlib.sha256(array.tobytes()).hexdigest(),
        }
        for prefix, segmenter in (("", chosen), ("reference_", reference)):
            raw = segmenter.invoke(array)
            ids = f"answers/{prefix}{name}.png"
            _write_png(folder / ids, segmenter.finish(raw, fit))
            case |= {f"{prefix}output": _base64(raw), f"{prefix}class_ids": ids}
        cases.append(case)
    return {
        "model": f"../{MODEL.relative_to(ROOT).as_posix()}",
        "model_sha256": hashlib.sha256(MODEL.read_bytes()).hexdigest(),
        "runtime": runtime_name(),
        "machine": platform.machine(),
        "output": {"shape": raw.shape, "dtype": raw.dtype.name},
        "cases": cases,
    }


def _logits(cells: tuple[int, int], classes: int, dtype: str, ties: bool = False) -> np.ndarray:
    """Made-up logits [*cells, classes], smooth enough to have regions, and borders between them."""
    y, x, k = np.ogrid[: cells[0], : cells[1], :classes]
    values = (y * (k * 5 % 7 - 3) * 3 + x * (k * 3 % 5 - 2) * 4 + (y * x * (k + 1)) % 13 * 5) % 251
    if ties:  # few values: whole cells, and the means of cells, are equal
        values = values % 3 * 8
    values = np.abs(values - 125)
    return (values / 7 - 9).astype(np.float32) if dtype == "float32" else values.astype(dtype)


def _base64(values: np.ndarray) -> str:
    little_endian = values.astype(values.dtype.newbyteorder("<"))
    return base64.b64encode(little_endian.tobytes()).decode("ascii")


def _write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, optimize=True)


if __name__ == "__main__":
    main()
