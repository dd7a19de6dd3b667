"""What a family of networks is: one graph, the choices of its arguments, and its form for devices.

A family's module imports no Keras: its graph is built in the namespace that it is handed. So a
configuration can ask what families there are, and what they take, without loading TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

STRIDE = 32
"""Every network here halves the image five times; its sides are multiples of 32."""

HEADS = ("head_", "booster_")
"""How the names of layers begin that belong to the classes, in every family: those of the main head
and of the heads that are there for training alone. Weights for other classes leave these alone."""


@dataclass(frozen=True)
class Family:
    """A kind of network.

    Attributes:
        build: From `(num_classes, input_shape, *, boosters, name, keras, **options)` to a flat
            functional model from images in [0, 1] to logits at the image's size, of layers that
            both Kerases have. With `boosters` it has further outputs, which learn from the same
            masks and are left out afterwards. Raises a ValueError where an argument has no meaning.
        variants: The names that `--model` takes, and the options that each stands for.
        options: The arguments of `build` that a configuration may give, and their types.
        device_options: Further arguments of `build` for the form that is put on a device.
        fold: From a trained model to the weights of those layers that have others in the form for
            devices, by name.
        stride: Sides of images are multiples of it.
    """

    build: Callable
    variants: Mapping[str, Mapping[str, object]]
    options: Mapping[str, type]
    device_options: Mapping[str, object] = field(default_factory=dict)
    fold: Callable[[object], dict] = lambda model: {}
    stride: int = STRIDE


def check_size(size, stride: int = STRIDE) -> None:
    """Checks the sides of an image.

    Args:
        size: `(height, width)`, each of them a number or None for any.
        stride: What they must be multiples of.

    Raises:
        ValueError: Naming the nearest that fit, unless both sides do.
    """
    for side, length in zip(("height", "width"), size):
        if length is None or (length > 0 and length % stride == 0):
            continue
        below = max(length // stride * stride, stride)
        raise ValueError(
            f"{side} {length} is not a multiple of {stride}: use {below} or {below + stride}"
        )


def check_choice(argument: str, value, choices) -> None:
    """Raises a ValueError that lists the choices, unless `value` is one of them."""
    if value not in choices:
        raise ValueError(f"{argument} must be one of {choices}, not {value!r}")


def check_positive(**arguments) -> None:
    """Raises a ValueError unless every argument is a positive number."""
    for argument, value in arguments.items():
        if value <= 0:
            raise ValueError(f"{argument} must be positive, not {value!r}")
