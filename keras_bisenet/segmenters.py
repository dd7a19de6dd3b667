"""Opening whatever a user calls a model: a run directory, a `.keras` or a `.tflite` file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.imaging.letterbox import Fit
from keras_bisenet.label_map import LabelMap
from keras_bisenet.lite.model_file import read_model_file
from keras_bisenet.runtime.model_info import declared_names, final_activation


def open_segmenter(
    path,
    label_map: LabelMap,
    *,
    size: tuple[int, int] | None = None,
    flip: bool = False,
    scales: tuple[float, ...] = (1.0,),
    windows: bool = False,
    threads: int | None = None,
) -> Callable[[np.ndarray], np.ndarray]:
    """Opens a model for segmenting images at their own size.

    Args:
        path: A run directory, a `.keras` or a `.tflite` file.
        label_map: The classes that it must tell apart.
        size: `(height, width)` that images are fitted into. Defaults to the run's; a lone
            `.keras` file needs it, and a `.tflite` file whose input has open sides.
        flip: Averages a Keras model's answer with that for the mirrored image.
        scales: Averages a Keras model's answers over these multiples of `size`.
        windows: Segments larger images in windows of the model's size, rather than shrink them.
        threads: CPU threads for a `.tflite` file.

    Returns:
        A function from uint8 images `[height, width, 3]` to uint8 class ids `[height, width]`.

    Raises:
        UsageError: When an option does not suit this kind of model.
        UserError: When there is no such model, or it has another number of classes.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: there is no such file or directory")
    if path.suffix == ".tflite":
        if flip or scales != (1.0,):
            raise UsageError(f"{path}: --flip and --scales are for Keras models")
        return _open_tflite(path, label_map, windows, threads, size)
    if windows and (flip or scales != (1.0,)):
        raise UsageError("--windows goes with neither --flip nor --scales")

    from keras_bisenet.training.evaluation import KerasSegmenter, SlidingWindows

    resized = flip or scales != (1.0,)
    model, own_size = _open_run(path, resized) if path.is_dir() else (_open_keras(path), None)
    size = size or own_size
    if size is None:
        raise UsageError(f"{path}: a .keras file has no size of its own: give --size HxW")
    num_classes = model.output_shape[-1]
    _check_classes(path, num_classes, label_map)
    segmenter = KerasSegmenter(model, size, flip=flip, scales=scales)
    return SlidingWindows(segmenter.logits, size).segment if windows else segmenter.segment


def class_names(path) -> tuple[str, ...] | None:
    """The names of a model's classes, in its order; None where it does not say.

    Args:
        path: A run directory, a `.keras` file (which itself does not say; the run that it lies in
            does) or a `.tflite` file.

    Raises:
        UserError: When there is no such model.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: there is no such file or directory")
    if path.suffix == ".tflite":
        return declared_names(read_model_file(path))
    from keras_bisenet.training.run import Run

    run = Run(path if path.is_dir() else path.parent)
    return run.label_map.names if run.label_map_file.is_file() else None


def open_probabilities(
    path, *, size: tuple[int, int] | None = None, threads: int | None = None
) -> tuple[LabelMap, Callable[[np.ndarray], np.ndarray]]:
    """Opens a model for the probabilities of its classes.

    Args:
        path: A run directory, or a `.tflite` file with logits or probabilities.
        size: `(height, width)` that a float run's images are fitted into. Defaults to the run's.
        threads: CPU threads for a `.tflite` file.

    Returns:
        Its classes, and a function from uint8 images `[height, width, 3]` to float32
        probabilities `[height, width, classes]` at the image's own size.

    Raises:
        UsageError: When the model gives no probabilities, or an option does not suit it.
        UserError: When there is no such model.
    """
    from keras_bisenet.training.evaluation import KerasSegmenter, resized_logits

    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: there is no such file or directory")
    is_binary = False
    if path.is_dir():
        from keras_bisenet.training.run import Run

        labels = Run.open(path).label_map
        model, own_size = _open_run(path, resized=False)
        keras_segmenter, activation = KerasSegmenter(model, size or own_size), None
        fitted, logits = keras_segmenter.size, keras_segmenter.logits
    elif path.suffix == ".tflite":
        from keras_bisenet.runtime.segmenter import Segmenter

        segmenter = Segmenter(path, threads=threads, size=size)
        if segmenter.info.kind != "logits":
            raise UsageError(
                f"{path}: this file answers with class ids, which have no confidence: convert the "
                "run with --target coral, or name the run"
            )
        labels = LabelMap(segmenter.info.names, segmenter.info.palette)
        fitted = segmenter.info.size
        activation = final_activation(segmenter.file)
        is_binary = segmenter.info.threshold is not None

        def logits(image, fit):
            raw = segmenter.invoke(segmenter.prepare(image)[0])
            return segmenter.real_values(raw)
    else:
        raise UsageError(f"{path}: name a run directory or a .tflite file: these know classes")

    def probabilities(image: np.ndarray) -> np.ndarray:
        fit = Fit.of(image.shape[:2], fitted)
        values = resized_logits(logits(image, fit), fit)
        if activation:
            return _adding_up_to_1(values, is_binary)
        exponents = np.exp(values - values.max(axis=-1, keepdims=True))
        return exponents / exponents.sum(axis=-1, keepdims=True)

    return labels, probabilities


def _adding_up_to_1(probabilities: np.ndarray, is_binary: bool) -> np.ndarray:
    """What a model's own softmax or sigmoids answer, as shares of 1."""
    if is_binary:  # the background's channel was made up
        foreground = probabilities[..., 1:].clip(0, 1)
        return np.concatenate([1 - foreground, foreground], axis=-1)
    probabilities = np.maximum(probabilities, np.float32(1e-12))
    return probabilities / probabilities.sum(axis=-1, keepdims=True)


def _open_tflite(path: Path, label_map: LabelMap, windows: bool, threads: int | None, size):
    from keras_bisenet.runtime.segmenter import Segmenter

    segmenter = Segmenter(path, threads=threads, size=size)
    # Class ids without names are compared by number; scoring refuses those beyond the data set's.
    if segmenter.info.kind == "logits" or declared_names(segmenter.file):
        _check_classes(path, len(segmenter.info.names), label_map)
    if not windows:
        return lambda image: segmenter.segment(image).class_ids
    if segmenter.info.kind != "logits":
        raise UsageError(f"{path}: --windows needs logits, this model answers with class ids")
    from keras_bisenet.training.evaluation import SlidingWindows

    # An 8-bit model's logits share a scale, which changes neither means nor their order.
    def logits(image, fit):
        return segmenter.invoke(segmenter.prepare(image)[0])

    return SlidingWindows(logits, segmenter.info.size).segment


def _open_run(path: Path, resized: bool):
    """A run's model and size. Quantized models have one size; float ones take any."""
    from keras_bisenet.training.run import Run

    run = Run.open(path)
    size, quantization = run.config.size, run.quantization
    if quantization is None:
        return _open_keras(run.require_model()), size
    if quantization.mode == "ptq":
        raise UsageError(
            f"{path}: a run quantized after training has no model of its own before "
            f"keras-bisenet convert {path} -o model.tflite: evaluate that file"
        )
    if resized:
        raise UsageError(f"{path}: --flip and --scales are for float models")
    from keras_bisenet.quantization.loading import load_quantized

    return load_quantized(run), size


def _open_keras(path: Path):
    from keras_bisenet.training.saving import load_segmentation_model

    return load_segmentation_model(path)


def _check_classes(path: Path, num_classes: int, label_map: LabelMap) -> None:
    if num_classes != label_map.num_classes:
        raise UserError(
            f"{path}: the model tells {num_classes} classes apart, the data set has "
            f"{label_map.num_classes}: choose the data set that it was trained on"
        )
