"""A teacher: any trained model of the same classes, and the soft labels that it writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from keras_bisenet.data.problems import Problem, print_warning
from keras_bisenet.data.soft_labels import in_bytes
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.imaging.letterbox import Fit
from keras_bisenet.label_map import LabelMap
from keras_bisenet.training.run import Run

SHRINK = 2
"""Soft labels are so many times smaller than their images, in height and in width."""


def check_teacher(path: Path, labels: LabelMap, size: tuple[int, int]) -> None:
    """Finds out whether a model can teach these classes; Keras is needed for a `.keras` file alone.

    Args:
        path: As `open_teacher`.
        labels: As `open_teacher`.
        size: As `open_teacher`.

    Raises:
        UserError: When there is no such model, or it has other classes.
        UsageError: When it is a model that cannot teach.
    """
    if not path.exists():
        raise UserError(f"{path}: no such teacher: give a run, a .keras or a .tflite file")
    if path.is_dir():
        run = Run.open(path)
        if run.quantization:
            raise UsageError(
                f"{path}: a quantized run: give the float run that it came from, or its .tflite "
                "file (keras-bisenet convert), as the teacher"
            )
        run.require_model()
        _class_order(path, run.label_map.names, labels)
    elif path.suffix == ".tflite":
        _open_tflite(path, labels)
    elif path.suffix == ".keras":
        _own_order(path, labels)
        _segmenter(path, labels, size)
    else:
        raise UsageError(f"{path}: a teacher is a run, a .keras or a .tflite file")


def open_teacher(
    path: Path, labels: LabelMap, size: tuple[int, int]
) -> Callable[[np.ndarray], np.ndarray]:
    """Opens a model as a teacher.

    Args:
        path: A float run, a `.keras` or a `.tflite` file.
        labels: The classes that it must tell apart, in any order if it or the run that it lies in
            names them.
        size: `(height, width)` that images are fitted into for a `.keras` file in no run that
            takes any.

    Returns:
        A function from uint8 images `[h, w, 3]` to uint8 shares `[h / 2, w / 2, N]`, which several
        threads may call.

    Raises:
        UserError: As `check_teacher`.
    """
    check_teacher(path, labels, size)
    if path.suffix == ".tflite":
        logits, order = _open_tflite(path, labels)
    else:
        logits, order = _open_keras(path, labels, size)

    one_at_a_time = threading.Lock()

    def shares(image: np.ndarray) -> np.ndarray:
        with one_at_a_time:
            answer = logits(image)
        return in_bytes(_shares(*answer)[..., order])

    return shares


def _open_keras(path: Path, labels: LabelMap, size: tuple[int, int]):
    """From an image to logits and their fit; and where each of our classes is among them."""
    if path.is_dir():
        path = Run.open(path).require_model()
    order = _own_order(path, labels)
    if order is None:
        message = "the teacher names no classes: they are taken by number"
        print_warning(Problem("class-names", "warning", message, (path,), ""))
        order = list(range(labels.num_classes))
    segmenter = _segmenter(path, labels, size)

    def logits(image):
        fit = Fit.of(image.shape[:2], segmenter.size)
        return segmenter.logits(image, fit), fit

    return logits, order


def _own_order(path: Path, labels: LabelMap) -> list[int] | None:
    """`_class_order` of a `.keras` file, by the run that it lies in; None outside of one."""
    run = Run(path.parent)
    has_names = run.label_map_file.is_file()
    return _class_order(path, run.label_map.names, labels) if has_names else None


def _segmenter(path: Path, labels: LabelMap, size: tuple[int, int]):
    """A `.keras` file at its own size, or else at the one of the run that it lies in, or `size`."""
    from keras_bisenet.training.evaluation import KerasSegmenter

    model = _load_keras(path, labels)
    run = Run(path.parent)
    own_size = tuple(model.input_shape[1:3])
    if None not in own_size:
        size = own_size
    elif run.config_file.is_file():
        size = run.config.size
    try:
        return KerasSegmenter(model, size)
    except UsageError as error:
        raise UsageError(f"{path}: the teacher does not take this {error}") from error


def _load_keras(path: Path, labels: LabelMap):
    from keras_bisenet.training.saving import load_segmentation_model

    model = load_segmentation_model(path)
    if model.output_shape[-1] != labels.num_classes:
        raise UserError(_other_classes(path, model.output_shape[-1], labels))
    return model


def _open_tflite(path: Path, labels: LabelMap):
    """As `_open_keras`."""
    from keras_bisenet.runtime.interpreter import open_interpreter
    from keras_bisenet.runtime.segmenter import Segmenter

    segmenter = Segmenter(path)
    info = segmenter.info
    if info.kind != "logits":
        raise UsageError(f"{path}: it answers with class ids: a teacher must answer with logits")
    order = _class_order(path, info.names, labels)
    output = open_interpreter(path).get_output_details()[0]
    scale, zero_point = output["quantization"]

    def logits(image):
        array, fit = segmenter.prepare(image)
        raw = segmenter.invoke(array).astype(np.float32)
        return (raw - zero_point) * (scale or 1.0), fit

    return logits, order


def _shares(logits: np.ndarray, fit: Fit) -> np.ndarray:
    """The softmax of the part that holds the image: float32 `[h / SHRINK, w / SHRINK, N]`."""
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities = exponents / exponents.sum(axis=-1, keepdims=True)
    height, width = (max(1, side // SHRINK) for side in fit.image_size)
    rows = logits.shape[0] * fit.content_size[0] / fit.network_size[0]
    columns = logits.shape[1] * fit.content_size[1] / fit.network_size[1]
    planes = [
        Image.fromarray(np.ascontiguousarray(plane)).resize(
            (width, height), Image.Resampling.BILINEAR, box=(0, 0, columns, rows)
        )
        for plane in np.moveaxis(probabilities, -1, 0)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def _class_order(path: Path, names: Sequence[str], labels: LabelMap) -> list[int]:
    """Where each class of `labels` is among a teacher's."""
    if sorted(names) != sorted(labels.names):
        raise UserError(_other_classes(path, len(names), labels, names))
    return [list(names).index(name) for name in labels.names]


def _other_classes(path: Path, count: int, labels: LabelMap, names: Sequence[str] = ()) -> str:
    foreign = [name for name in names if name not in labels.names]
    of_which = f", {foreign[0]!r} among them" if foreign else ""
    return (
        f"{path}: the teacher tells {count} classes apart{of_which}, the data set has "
        f"{labels.num_classes}: a teacher has the same classes"
    )
