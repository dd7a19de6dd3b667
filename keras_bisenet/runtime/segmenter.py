"""From an image to its class ids with a `.tflite` file: letterbox, inference, argmax."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from keras_bisenet.console import log
from keras_bisenet.errors import UsageError
from keras_bisenet.imaging.letterbox import Fit, class_ids_from_logits, class_ids_from_map
from keras_bisenet.label_map import VOID
from keras_bisenet.lite.model_file import ModelFile, read_model_file
from keras_bisenet.runtime.delegates import guarded
from keras_bisenet.runtime.interpreter import open_interpreter
from keras_bisenet.runtime.model_info import ModelInfo


@dataclass(frozen=True)
class Timings:
    """How long the stages of one call took, in milliseconds.

    Attributes:
        prepare: Fitting the image into the network's input.
        invoke: The network.
        finish: Bringing the network's output to class ids at the image's own size.
    """

    prepare: float
    invoke: float
    finish: float

    @property
    def total(self) -> float:
        return self.prepare + self.invoke + self.finish


class Stopwatch:
    """Measures a block: `milliseconds`, from its end on."""

    milliseconds = 0.0

    def __enter__(self) -> Stopwatch:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_) -> None:
        self.milliseconds = 1000 * (time.perf_counter() - self._start)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model says of an image.

    Attributes:
        class_ids: uint8 [h, w] at the image's own size, the semantic mask; 255, `VOID`, the
            ignore index, where no class is meant.
        timings: How long that took.
    """

    class_ids: np.ndarray
    timings: Timings


class Segmenter:
    """Segments images of any size. Threads may share one; they take turns at the network.

    Args:
        model: A `.tflite` file, its content, or the file as read.
        threads: CPU threads. None takes one per CPU, four at most.
        delegate: "edgetpu", "edgetpu:DEVICE", or the path of a TFLite delegate's library.
        delegate_options: What the delegate's library is told, by name.
        reference: Takes the reference kernels: slow, but the same bytes everywhere.
        size: (height, width) of the input of a file whose input has open sides.

    Attributes:
        file: The `.tflite` file as read.
        info: What the model is: its classes, colours and sizes.

    Raises:
        UserError: When the file is damaged, no segmentation model, or cannot be run here.

    Example:
        segmenter = Segmenter("model.tflite")
        answer = segmenter.segment(image)  # RGB uint8 [h, w, 3]
        answer.class_ids  # uint8 [h, w]
    """

    def __init__(
        self,
        model: str | os.PathLike | bytes | ModelFile,
        *,
        threads: int | None = None,
        delegate: str | None = None,
        delegate_options: Mapping[str, str] | None = None,
        reference: bool = False,
        size: tuple[int, int] | None = None,
    ):
        self.file, self._delegate = read_model_file(model), delegate
        self._interpreter = open_interpreter(
            self.file,
            threads=threads,
            delegate=delegate,
            delegate_options=delegate_options,
            reference=reference,
        )
        self._set_size(size)
        self.info = ModelInfo.read(self.file, self._interpreter)
        for guess in self.info.guesses:
            log.warning("%s: %s", self.file.path, guess)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._encode = pixel_encoder(self.info)
        self._turn = threading.Lock()
        self._told_nan = False

    def _set_size(self, size: tuple[int, int] | None) -> None:
        """Gives an input with open sides its size."""
        image = self._interpreter.get_input_details()[0]
        signature = [int(side) for side in image.get("shape_signature", image["shape"])]
        is_open = len(signature) == 4 and min(signature[1:3]) < 1
        if size and not is_open:
            if tuple(size) != tuple(signature[1:3]):
                shown = " x ".join(map(str, signature[1:3]))
                raise UsageError(f"{self.file.path}: its input is of {shown} pixels alone")
        elif is_open:
            if not size:
                shown = " x ".join("?" if side < 1 else str(side) for side in signature)
                raise UsageError(
                    f"{self.file.path}: its input has open sides ({shown}): give --size HxW"
                )
            self._interpreter.resize_tensor_input(image["index"], [1, *size, signature[3]])
            self._interpreter.allocate_tensors()

    def segment(self, image: np.ndarray) -> Answer:
        """The class of every pixel of an image, RGB uint8 [h, w, 3]."""
        with Stopwatch() as prepare:
            array, fit = self.prepare(image)
        raw, invoke = self.timed_invoke(array)
        with Stopwatch() as finish:
            ids = self.finish(raw, fit)
        return Answer(ids, Timings(prepare.milliseconds, invoke, finish.milliseconds))

    def prepare(self, image: np.ndarray) -> tuple[np.ndarray, Fit]:
        """The input tensor, [1, H, W, 3], of an image, RGB uint8 [h, w, 3], and its fit."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"an image is uint8 [h, w, 3], not {image.dtype} {image.shape}")
        fit = Fit.of(image.shape[:2], self.info.size)
        return self.encode(fit.place(image)), fit

    def encode(self, placed: np.ndarray) -> np.ndarray:
        """The input tensor, [1, H, W, 3], of an image of its size, RGB uint8 [H, W, 3]."""
        return self._encode(placed[None])

    def real_values(self, raw: np.ndarray) -> np.ndarray:
        """What a raw output stands for, float32: integers by their scale and zero point."""
        scale, zero_point = self._interpreter.get_output_details()[0]["quantization"]
        if not scale:
            return raw.astype(np.float32)
        return (raw.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)

    def invoke(self, array: np.ndarray) -> np.ndarray:
        """The network's raw output, without the batch's dimension, for an input tensor."""
        return self.timed_invoke(array)[0]

    def timed_invoke(self, array: np.ndarray) -> tuple[np.ndarray, float]:
        """What `invoke` gives, and how many milliseconds it took once it was its turn."""
        with self._turn, Stopwatch() as invoke:
            self._interpreter.set_tensor(self._input, array)
            guarded(self._interpreter.invoke, self._delegate, self.file.path)
            raw = self._interpreter.get_tensor(self._output)[0]
        if self.info.threshold is not None:  # one channel: the background's is the threshold
            raw = np.concatenate([np.full_like(raw, self.info.threshold), raw], axis=-1)
        return raw, invoke.milliseconds

    def finish(self, raw: np.ndarray, fit: Fit) -> np.ndarray:
        """The class ids, uint8 [h, w], at the image's own size, of a raw output."""
        if self.info.kind == "logits":
            self._tell_nan(raw)
            return class_ids_from_logits(raw, fit)
        ids = raw.reshape(raw.shape[:2])
        known = (ids >= 0) & (ids < len(self.info.names))
        return class_ids_from_map(np.where(known, ids, VOID), fit)

    def _tell_nan(self, raw: np.ndarray) -> None:
        """Warns, once, of an answer that is void for want of numbers."""
        if self._told_nan or raw.dtype.kind != "f":
            return
        with np.errstate(invalid="ignore"):
            self._told_nan = bool(np.isnan(raw.min()))
        if self._told_nan:
            log.warning(
                "%s: it answers with values that are no numbers (nan), which become void: train "
                "or convert it again",
                self.file.path,
            )


def pixel_encoder(info: ModelInfo) -> Callable[[np.ndarray], np.ndarray]:
    """A function from pixels, uint8, to the values that the input tensor holds for them."""
    pixels = np.arange(256)
    if isinstance(info.input_scale, tuple):
        return _channel_encoder(info)
    values = pixels * info.input_scale + info.input_offset
    if info.input_quantization:
        scale, zero_point = info.input_quantization
        limits = np.iinfo(info.input_dtype)
        values = np.clip(np.round(values / scale + zero_point), limits.min, limits.max)
    table = values.astype(info.input_dtype)
    # The two that need no table, and what `convert` gives an 8-bit input: the pixel as it is,
    # and less 128, which is its highest bit turned over.
    if info.input_dtype == "uint8" and np.array_equal(table, pixels):
        return lambda image: image
    if info.input_dtype == "int8" and np.array_equal(table, pixels - 128):
        return lambda image: (image ^ 0x80).view(np.int8)
    return table.take


def _channel_encoder(info: ModelInfo) -> Callable[[np.ndarray], np.ndarray]:
    """`pixel_encoder` where red, green and blue enter differently."""
    channels = zip(np.broadcast_to(info.input_scale, 3), np.broadcast_to(info.input_offset, 3))
    tables = [
        pixel_encoder(dataclasses.replace(info, input_scale=float(s), input_offset=float(o)))
        for s, o in channels
    ]
    return lambda image: np.stack(
        [table(image[..., channel]) for channel, table in enumerate(tables)], axis=-1
    )
