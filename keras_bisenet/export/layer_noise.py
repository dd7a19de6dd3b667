"""Where the answer of a `.tflite` file leaves that of its float model, layer by layer.

Each layer is measured twice, as a signal-to-noise ratio in decibels, 10 log10(sum of signal^2 /
sum of noise^2). The noise is the file's (dequantized) output less the signal, and the signal is

- in `total`, what the layer puts out in the float model: all that quantization has done so far;
- in `own`, what the float layer makes of the inputs that the file's layer had: what quantization
  has done in this layer. Noise that came in counts on both sides.

Layers are sorted by `own`, the worst first. Behind a bad layer every `total` is bad; `own` is bad
at the layer that did it alone.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from keras_bisenet.lite.model_file import Subgraph, Tensor, read_model_file
from keras_bisenet.runtime.interpreter import open_interpreter
from keras_bisenet.targets.graph import producers

LOWEST = -100.0
"""The ratio that noise without any signal counts as, in decibels."""


@dataclass(frozen=True)
class LayerNoise:
    """How noisy a layer is.

    Attributes:
        layer: Its name in the run's model; of several layers that the converter has made one
            operator (convolution, normalization, activation), the last one's.
        operator: The index of the operator in the file that computes it.
        op: That operator's name.
        own: The signal-to-noise ratio of what the layer does, in decibels; None without noise.
        total: That of its output, in decibels; None without noise.
    """

    layer: str
    operator: int
    op: str
    own: float | None
    total: float | None


def layer_noise(
    path: str | os.PathLike, model, inputs: Iterable[tuple[np.ndarray, np.ndarray]]
) -> list[LayerNoise]:
    """Measures a file against the float model that it came from, on a few images.

    Layers and tensors belong together by their names, which the converter keeps. What the file
    computes beside the model's layers is left out.

    Args:
        path: The `.tflite` file.
        model: The model, of Keras 3 or tf_keras, from images in [0, 1].
        inputs: Of each image, what the file's input takes and what the model takes:
            `[1, height, width, 3]` both.

    Returns:
        The layers, the worst first.
    """
    graph = read_model_file(path).main
    layers = _layers_of_tensors(graph, model)
    parts = _parts(model, graph, layers)
    if not parts:
        return []
    whole = type(model)(model.input, [model.get_layer(layers[t]).output for t in parts])
    # The reference kernels write every tensor; a delegate may keep those between its operators.
    interpreter = open_interpreter(path, reference=True, preserve_all_tensors=True)

    def values(index: int) -> np.ndarray:
        return _dequantized(interpreter.get_tensor(index), graph.tensors[index])

    powers = {t: np.zeros((2, 2)) for t in parts}  # (own, total) x (signal, noise)
    for array, pixels in inputs:
        interpreter.set_tensor(graph.inputs[0], array)
        interpreter.invoke()
        for (t, (sources, part)), total in zip(parts.items(), whole(pixels, training=False)):
            own = part([values(source) for source in sources], training=False)
            powers[t] += [_powers(np.asarray(signal), values(t)) for signal in (own, total)]
    noise = []
    for t, (own, total) in powers.items():
        operator = graph.operators[producers(graph)[t]]
        layer = LayerNoise(layers[t], operator.index, operator.name, _ratio(own), _ratio(total))
        noise.append(layer)
    return sorted(noise, key=lambda layer: math.inf if layer.own is None else layer.own)


def _layers_of_tensors(graph: Subgraph, model) -> dict[int, str]:
    """The name of the layer whose output a tensor holds, by the tensor's index.

    A tensor of fused layers is named after all of them, `model/a_relu/Relu;model/a/Conv2D`: it
    holds the last one's output. In a quantization-aware model `a` is `quant_a`.
    """
    order = {layer.name: position for position, layer in enumerate(model.layers)}
    first, last = model.layers[0].name, model.layers[-1].name
    found = {}
    for index in [*graph.inputs, *producers(graph)]:
        tensor = graph.tensors[index]
        parts = tensor.name.replace(";", "/").split("/")
        if parts[0] == f"{model.name}_1":  # Keras 3 opens every scope twice
            parts = [part[:-2] if part.endswith("_1") else part for part in parts]
        names = [part[len("quant_") :] if part.startswith("quant_") else part for part in parts]
        known = [name for name in names if name in order]
        if index in graph.inputs:
            known = [first]
        elif index in graph.outputs and not known:
            known = [last]
        name = max(known, key=order.get, default=None)
        if name and name not in found.values() and _shape(model.get_layer(name)) == tensor.shape:
            found[index] = name
    return found


def _shape(layer) -> tuple[int, ...]:
    return (1, *layer.output.shape[1:])


def _parts(model, graph: Subgraph, layers: dict[int, str]) -> dict[int, tuple[list[int], object]]:
    """For each computed tensor of a layer, the nearest such tensors before it and the model that
    leads from those layers to its own."""
    parts = {}
    computed_by = producers(graph)
    for t in filter(computed_by.__contains__, layers):
        sources = _sources(graph, layers, t, computed_by)
        inputs = [model.get_layer(layers[source]).output for source in sources]
        # ValueError: the file computes this layer from other layers than the model does.
        with contextlib.suppress(ValueError):
            parts[t] = sources, type(model)(inputs, model.get_layer(layers[t]).output)
    return parts


def _sources(graph: Subgraph, layers: dict[int, str], tensor: int, computed_by: dict) -> list[int]:
    """The nearest tensors before `tensor` that hold a layer's output."""
    sources: dict[int, None] = {}
    pending = list(graph.operators[computed_by[tensor]].inputs)
    while pending:
        index = pending.pop(0)
        if index in layers:
            sources[index] = None
        elif index in computed_by:
            pending += graph.operators[computed_by[index]].inputs
    return list(sources)


def _dequantized(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    if not tensor.is_quantized:
        return values
    return (values.astype(np.float32) - tensor.zero_points[0]) * np.float32(tensor.scales[0])


def _powers(signal: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """The power of a signal, and that of the noise in what was found."""
    noise = found - signal
    return tuple(float(np.square(x, dtype=np.float64).sum()) for x in (signal, noise))


def _ratio(powers: np.ndarray) -> float | None:
    """The signal-to-noise ratio, in decibels."""
    signal, noise = powers
    if noise == 0:
        return None
    return max(LOWEST, 10 * math.log10(signal / noise)) if signal else LOWEST
