"""What a target is: a kind of device that a `.tflite` file is built for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_bisenet.lite.model_file import ModelFile
    from keras_bisenet.targets.rules import Assessment

PRECISIONS = ("int8", "int16x8", "float16", "dynamic", "float32")
"""What weights and activations of a file can be."""


@dataclass(frozen=True)
class Target:
    """All that the package knows of a target.

    Attributes:
        name: What `--target` calls it.
        runner: What runs the operators that it takes, in words: "the Edge TPU".
        elsewhere: What runs those that it does not take: "the CPU".
        resize: Where its bilinear resizes sample, in ONNX's words: "half-pixel"
            (half_pixel_centers=True) or "asymmetric" (from each pixel's corner).
        assess: What it makes of a file, operator by operator.
        precisions: What a file for it may be, of `PRECISIONS`.
        requires_all: Whether a file falls short that leaves operators elsewhere, or whose shapes
            are known only at run time. Without it they are told of.
        integer_only: Whether a floating-point island in a quantized file is an error.
        following_rules: Names of rules that an operator falls under for the sake of another one.
            Of these one finding tells, of all others one for each rule and operator.
    """

    name: str
    runner: str
    elsewhere: str
    resize: str
    assess: Callable[[ModelFile], Assessment]
    precisions: tuple[str, ...] = PRECISIONS
    requires_all: bool = True
    integer_only: bool = False
    following_rules: tuple[str, ...] = ()


class Targets(Mapping[str, Target]):
    """Targets by name. The names are at hand; a target's rules are loaded when it is asked for.

    Args:
        names: Modules of this package, each of which has the target of its name as `TARGET`.
    """

    def __init__(self, *names: str):
        self._names = names

    def __getitem__(self, name: str) -> Target:
        if name not in self._names:
            raise KeyError(name)
        return import_module(f"{__package__}.{name}").TARGET

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
