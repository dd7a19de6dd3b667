"""Golden inputs and outputs: what a `.tflite` file answered on the machine that made it.

`convert` writes them beside the model, `model.golden.npz` for `model.tflite`, and
`tools/check_tflite.py` replays them wherever the model is to run. The file needs NumPy alone:

- `format`: 1;
- `model_sha256`: of the whole `.tflite` file that these answers are of;
- `inputs`: `[count, height, width, 3]`, as the input tensor takes them;
- `reference`: `[count, ...]`, what TFLite's reference kernels answered;
- `fast`: `[count, ...]`, what the kernels answered that the runtime chooses by itself;
- `exact`: whether the model computes in integers alone, so that the reference kernels owe the
  same bytes on every machine;
- `output_kind`: "logits" (the last axis is the classes') or "class_ids";
- `runtime`, `machine`: what computed the answers, "ai-edge-litert 2.3.0" on "x86_64".

The inputs are made up by integer arithmetic: the same pixels whatever the machine, the data set
and the version of NumPy, in a few kilobytes, and nobody's pictures.
"""

from __future__ import annotations

import hashlib
import os
import platform
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from keras_bisenet.console import log
from keras_bisenet.errors import UserError
from keras_bisenet.files import replacing, write_bytes
from keras_bisenet.lite.model_file import read_model_file
from keras_bisenet.runtime.interpreter import runtime_name
from keras_bisenet.runtime.segmenter import Segmenter

FORMAT = 1
LEAST_AGREEMENT = 0.995
TIE = 1 / 64
"""As in `tools/check_tflite.py`."""

ARRAYS = (
    *("format", "model_sha256", "inputs", "reference", "fast"),
    *("exact", "output_kind", "runtime", "machine"),
)


def golden_path(model: str | os.PathLike) -> Path:
    """Where the golden file of a model lies: `model.golden.npz` beside `model.tflite`."""
    model = Path(model)
    name = model.stem if model.suffix == ".tflite" else model.name
    return model.with_name(f"{name}.golden.npz")


def make_golden(model: bytes) -> dict[str, np.ndarray]:
    """The arrays of a model's golden file, computed here by the installed runtime.

    Args:
        model: The content of a `.tflite` file for segmentation.

    Raises:
        UserError: When it is no segmentation model, or the runtime cannot run it.
    """
    fast = Segmenter(model)
    inputs = [fast.prepare(picture)[0] for picture in golden_pictures(*fast.info.size)]

    def reference(array):
        return Segmenter(model, reference=True).invoke(array)

    # The reference kernels take one thread, and seconds for a large picture.
    with ThreadPoolExecutor(len(inputs)) as threads:
        references = list(threads.map(reference, inputs))
    arrays = {
        "format": FORMAT,
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "inputs": np.concatenate(inputs),
        "reference": np.stack(references),
        "fast": np.stack([fast.invoke(array) for array in inputs]),
        "exact": not any(tensor.is_float for tensor in read_model_file(model).main.tensors),
        "output_kind": fast.info.kind,
        "runtime": runtime_name(),
        "machine": platform.machine(),
    }
    return {name: np.asarray(value) for name, value in arrays.items()}


def kernels_agreement(arrays: dict[str, np.ndarray]) -> float:
    """The share of the pixels, 0 to 1, to which the chosen kernels give the reference kernels'
    class, or one that all but won: what `tools/check_tflite.py` asks of other machines."""
    fast, reference = arrays["fast"], arrays["reference"]
    if str(arrays["output_kind"]) != "logits":
        return float((fast == reference).mean())
    reference = reference.astype(np.float64)
    theirs = np.take_along_axis(reference, fast.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    tie = TIE * (reference.max() - reference.min())
    return float((reference.max(axis=-1) - theirs <= tie).mean())


def write_with_golden(
    path: str | os.PathLike, model: bytes, arrays: dict[str, np.ndarray] | None = None
) -> Path:
    """Writes a model to `path` and its golden file beside it, whole or not at all.

    Should it be interrupted between the two, the hash tells an old golden file from a new one.

    Args:
        path: Where to write the model.
        model: The content of a `.tflite` file for segmentation.
        arrays: Its golden arrays; without them they are made here.

    Returns:
        The golden file.

    Raises:
        UserError: As `make_golden` does. Then neither is written.
    """
    golden = golden_path(path)
    arrays = arrays or make_golden(model)
    agreement = kernels_agreement(arrays)
    if agreement < LEAST_AGREEMENT:
        log.warning(
            "%s: the runtime's fast kernels and its reference kernels agree on %.2f%% of the "
            "golden pixels alone: the model is unsure, and other devices may give other classes: "
            "train it longer",
            path,
            100 * agreement,
        )
    with replacing(golden) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]  # no array is named allow_pickle
        write_bytes(path, model)
    return golden


def read_golden(path: str | os.PathLike, model: bytes) -> dict[str, np.ndarray] | None:
    """The golden arrays beside the model at `path`, whose content is `model`.

    Returns:
        None where there is no golden file, or it is of another model.

    Raises:
        UserError: When it is damaged, or of a later version.
    """
    golden = golden_path(path)
    if not golden.is_file():
        return None
    try:
        with np.load(golden, allow_pickle=False) as file:
            if int(file["format"]) != FORMAT:
                raise UserError(f"{golden}: of a later version: update keras-bisenet")
            if str(file["model_sha256"]) != hashlib.sha256(model).hexdigest():
                return None
            return {name: file[name] for name in ARRAYS}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{golden}: a damaged golden file: copy it again, or delete it") from error


def golden_with_uint8_io(golden: dict[str, np.ndarray], model: bytes) -> dict[str, np.ndarray]:
    """A model's golden arrays for what `lite.uint8_io` made of it, `model`."""
    turned = {name: as_uint8(golden[name]) for name in ("inputs", "reference", "fast")}
    return {**golden, **turned, "model_sha256": np.asarray(hashlib.sha256(model).hexdigest())}


def as_uint8(values: np.ndarray) -> np.ndarray:
    """An int8 tensor's values as `lite.uint8_io` has them; others as they are."""
    return values.view(np.uint8) ^ 0x80 if values.dtype == np.int8 else values


def golden_pictures(height: int, width: int) -> list[np.ndarray]:
    """Three RGB pictures, uint8 [height, width, 3]: patches, slopes, and both with stripes.

    In the first every patch has a colour of its own. In the second each channel rises and falls
    along a direction of its own, in steps of 8 pixels, so that it compresses. The third is the
    mean of the two, and every other column darker.
    """
    y, x, channel = np.ogrid[:height, :width, :3]
    side = max(1, height // 8)
    patches = y // side * 8191 + x // side * 131 + channel * 31
    patches = (patches * patches * 2654435761 >> 13) % 256
    across, down = x // 8 * 8 * 512 // width, y // 8 * 8 * 512 // height
    slopes = np.choose(channel, (across * 2, down * 2, across + down))
    slopes = np.minimum(np.abs(slopes % 512 - 256), 255)
    striped = (patches + slopes) * (4 - x % 2) // 8
    return [picture.astype(np.uint8) for picture in (patches, slopes, striped)]
