"""Scoring a model over a split, at the labels' own resolution.

One function scores anything that segments an image: a Keras model here, a `.tflite` file through
`keras_bisenet.runtime.segmenter`, each behind `segment(image) -> class ids`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
from PIL import Image

from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.imaging.letterbox import Fit, class_ids_from_logits
from keras_bisenet.models.default_settings import default_settings
from keras_bisenet.models.family import check_size
from keras_bisenet.training.metrics import Scores, confusion_matrix


def score(
    segment: Callable[[np.ndarray], np.ndarray],
    dataset: Dataset,
    samples: Sequence[Sample],
    progress: Callable[..., None] | None = None,
) -> Scores:
    """Scores `segment` over `samples`, all pixels in one confusion matrix.

    Args:
        segment: From a uint8 image `[height, width, 3]` to uint8 class ids `[height, width]`.
        dataset: Where the samples come from.
        samples: What to score on.
        progress: Called with 1 after each sample.

    Returns:
        The scores.

    Raises:
        UserError: When an answer holds a class id that the data set has no class for.
    """
    num_classes = dataset.label_map.num_classes
    total = np.zeros((num_classes, num_classes), np.int64)
    for sample in samples:
        image, truth = dataset.read(sample)
        answer = segment(image)
        if answer.max(initial=0) >= num_classes:
            raise UserError(
                f"{sample.image}: the model answers with a class that {dataset.name} has no name "
                f"for, as its classes are {num_classes}: choose the data set that it was trained on"
            )
        total += confusion_matrix(truth, answer, num_classes)
        if progress:
            progress(1)
    return Scores(dataset.label_map.names, total)


class KerasSegmenter:
    """Segments images of any size with a Keras model, as the device would.

    Args:
        model: A model of Keras 3 or tf_keras from images in [0, 1] to logits at any stride, of
            one output.
        size: `(height, width)` that images are fitted into.
        flip: Averages the answer with that for the mirrored image.
        scales: Averages the answers over these multiples of `size`, each rounded to what the
            network takes.

    Raises:
        UsageError: When the model does not take this size.
    """

    def __init__(
        self,
        model,
        size: tuple[int, int],
        *,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
    ):
        own_size = tuple(model.input_shape[1:3])
        if own_size not in ((None, None), tuple(size)):
            raise UsageError("size: this model takes {}x{} alone".format(*own_size))
        self.stride = stride_of(model)
        try:
            check_size(size, self.stride)
        except ValueError as error:
            raise UsageError(f"size: {error}") from error
        self.size = tuple(size)
        self._models = {self.size: model}
        self.flip = flip
        self.scales = tuple(scales)

    def segment(self, image: np.ndarray) -> np.ndarray:
        """From a uint8 image `[height, width, 3]` to uint8 class ids `[height, width]`."""
        if not self.flip and self.scales == (1.0,):
            fit = Fit.of(image.shape[:2], self.size)
            return class_ids_from_logits(self.logits(image, fit), fit)
        votes = 0.0
        for scale in self.scales:
            votes = votes + self._probabilities(image, scale)
            if self.flip:
                votes = votes + self._probabilities(image[:, ::-1], scale)[:, ::-1]
        return votes.argmax(axis=-1).astype(np.uint8)

    def logits(self, image: np.ndarray, fit: Fit) -> np.ndarray:
        """The model's answer for one image: float32 `[rows, columns, num_classes]`."""
        batch = fit.place(image)[None].astype(np.float32) / 255
        return np.asarray(self._model_for(fit.network_size).predict_on_batch(batch))[0]

    def _model_for(self, size: tuple[int, int]):
        """The model, compiled for one size.

        A Keras model that meets a second size is compiled anew for every size at once, which its
        UpSampling2D does not bear.
        """
        if size not in self._models:
            with default_settings(keras):
                image = keras.Input((*size, 3))
                self._models[size] = keras.Model(image, self._models[self.size](image))
        return self._models[size]

    def _probabilities(self, image: np.ndarray, scale: float) -> np.ndarray:
        """Class probabilities at the image's own size: float32 `[height, width, N]`."""
        size = tuple(
            max(self.stride, round(side * scale / self.stride) * self.stride) for side in self.size
        )
        fit = Fit.of(image.shape[:2], size)
        logits = resized_logits(self.logits(image, fit), fit)
        exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return exponents / exponents.sum(axis=-1, keepdims=True)


def stride_of(model) -> int:
    """How many pixels of the image the coarsest feature map of a network has for one of its own,
    in height and in width: images' sides must be multiples of it.

    Args:
        model: A functional model of Keras 3 or tf_keras.
    """
    strides = {}  # by the identity of a tensor
    for layer in model.layers:
        inputs = layer.input if isinstance(layer.input, (list, tuple)) else [layer.input]
        stride = max((strides.get(id(tensor), 1) for tensor in inputs), default=1)
        strides[id(layer.output)] = max(1, round(stride * _shrinks(layer)))
    return max(strides.values(), default=1)


def _shrinks(layer) -> float:
    """How many times smaller a layer's output is than its input, in height."""
    layer = getattr(layer, "layer", layer)  # a quantization-aware model wraps its layers
    strides, size = (getattr(layer, name, 1) for name in ("strides", "size"))
    factor, enlarged = (v[0] if isinstance(v, (list, tuple)) else v for v in (strides, size))
    return 1 / factor if "Transpose" in type(layer).__name__ else factor / enlarged


class SlidingWindows:
    """Segments images that are larger than the network in windows of its size, unscaled.

    Windows overlap, and where they do their logits are averaged. An image that the network holds
    whole is segmented as usual.

    Args:
        logits: From a uint8 image `[h, w, 3]` and its fit to logits `[rows, columns, N]` over the
            network's whole input, such as `KerasSegmenter.logits`.
        size: `(height, width)` of the network.
        overlap: Share of a window that the next one covers, at least.
    """

    def __init__(
        self,
        logits: Callable[[np.ndarray, Fit], np.ndarray],
        size: tuple[int, int],
        overlap: float = 1 / 3,
    ):
        self._logits = logits
        self.size = tuple(size)
        self.overlap = overlap

    def segment(self, image: np.ndarray) -> np.ndarray:
        """From a uint8 image `[height, width, 3]` to uint8 class ids `[height, width]`."""
        rows, columns = (
            window_starts(length, side, self.overlap)
            for length, side in zip(image.shape[:2], self.size)
        )
        total, windows = None, np.zeros((*image.shape[:2], 1), np.float32)
        for row in rows:
            for column in columns:
                place = np.s_[row : row + self.size[0], column : column + self.size[1]]
                window = image[place]
                fit = Fit.of(window.shape[:2], self.size)
                logits = resized_logits(self._logits(window, fit), fit)
                if total is None:
                    total = np.zeros((*image.shape[:2], logits.shape[-1]), np.float32)
                total[place] += logits
                windows[place] += 1
        return (total / windows).argmax(axis=-1).astype(np.uint8)


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows start that cover `length` pixels evenly, overlapping by `overlap` at least."""
    if length <= window:
        return [0]
    count = 1 + math.ceil((length - window) / (window * (1 - overlap)))
    return [round(start) for start in np.linspace(0, length - window, count)]


def resized_logits(logits: np.ndarray, fit: Fit) -> np.ndarray:
    """Logits of the part that holds the image, at the image's own size (bilinear).

    Args:
        logits: float32 `[rows, columns, N]` over the network's whole input, at any stride.
        fit: How the image was placed.

    Returns:
        float32 `[height, width, N]`.
    """
    height, width = fit.image_size
    rows = logits.shape[0] * fit.content_size[0] / fit.network_size[0]
    columns = logits.shape[1] * fit.content_size[1] / fit.network_size[1]
    return np.stack(
        [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(plane)).resize(
                    (width, height), Image.BILINEAR, box=(0, 0, columns, rows)
                )
            )
            for plane in np.moveaxis(logits.astype(np.float32), -1, 0)
        ],
        axis=-1,
    )
