"""At which sizes the Edge TPU compiler was seen to map an operator, and to leave it on the CPU.

The documentation says of some operators that they might not map when their tensors are large, but
not how large. What is known is what compiled models show. Each limit stands at the largest size
that one of them shows mapped. Nobody can say what becomes of the sizes between it and the
smallest that was left on the CPU: they are taken to stay there, because a false "maps" costs a
user more than a false "CPU".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from keras_bisenet.targets.graph import Node, axes
from keras_bisenet.targets.rules import Rule

OPERATIONS = "https://coral.ai/docs/edgetpu/models-intro/#supported-operations"
ISSUES = "https://github.com/google-coral/edgetpu/issues"


@dataclass(frozen=True)
class Limit:
    """What was seen of an operator's size.

    Attributes:
        what: What is counted, in words.
        size: Counts it; None where it cannot be, or the limit is not about such an operator.
        maps: The largest size that was seen mapped.
        stays: The smallest that was seen left on the CPU.
        source: Where.
    """

    what: str
    size: Callable[[Node], int | None]
    maps: int
    stays: int
    source: str

    def exceeded(self, node: Node) -> str | None:
        size = self.size(node)
        if size is None or size <= self.maps:
            return None
        if size >= self.stays:
            return f"{self.what} {size:,}: {self.maps:,} are known to map, {self.stays:,} not to"
        return (
            f"{self.what} {size:,}, and it is unknown whether so many map: {self.maps:,} do, "
            f"{self.stays:,} do not"
        )


def size_rule(name: str) -> Rule:
    """The rule on the size of an operator, by its name."""
    limits = LIMITS[name]

    def refuses(node: Node) -> str | None:
        reasons = (limit.exceeded(node) for limit in limits)
        return next((reason for reason in reasons if reason), None)

    return Rule("size", "; ".join(dict.fromkeys(limit.source for limit in limits)), refuses)


def _outputs(node: Node) -> int | None:
    return None if node.output is None else node.output.num_elements


def _averaged(node: Node) -> int | None:
    """How many values each result of a MEAN is made of."""
    tensor = node.input(0)
    if tensor is None:
        return None
    return math.prod(tensor.shape[axis] for axis in axes(node) if axis < len(tensor.shape))


def _elements_of_a_split(node: Node) -> int | None:
    return _outputs(node) if _splits_the_last_side(node) else None


def _elements_otherwise(node: Node) -> int | None:
    return None if _splits_the_last_side(node) else _outputs(node)


def _splits_the_last_side(node: Node) -> bool:
    """Whether a RESHAPE cuts the last side into equal parts: 1x40x40x255 to 1x1600x3x85."""
    before, after = node.input(0), node.output
    if before is None or after is None or not before.shape or not after.shape:
        return False
    return 0 < after.shape[-1] < before.shape[-1] and before.shape[-1] % after.shape[-1] == 0


LARGEST_BILINEAR_RESIZE = 524_288
"""Outputs of the largest RESIZE_BILINEAR that is known to map: 128x128x32 (issue 31)."""

LIMITS: dict[str, tuple[Limit, ...]] = {
    # Over 64x128 pixels it maps, over 256x128 not (compiler 16.0).
    "MEAN": (Limit("the values that it averages are", _averaged, 8_192, 32_768, f"{ISSUES}/461"),),
    # YOLOv5n at 640x640 (compiler 16.0): 1x40x40x255 to 1x1600x3x85 maps, 1x80x80x255 to
    # 1x6400x3x85 does not; with the last side kept, 1x400x3x85 to 1x1200x85 maps, 1x1600x3x85 to
    # 1x4800x85 does not.
    "RESHAPE": (
        Limit(
            "its elements are",
            _elements_of_a_split,
            408_000,
            1_632_000,
            "https://github.com/pine-book/MyYolov5",
        ),
        Limit(
            "its elements are",
            _elements_otherwise,
            102_000,
            408_000,
            "https://github.com/pine-book/MyYolov5",
        ),
    ),
    # 128x128x32 maps, 512x512x32 does not (compiler 2.0); nor does 1024x1024x6 (16.0).
    "RESIZE_BILINEAR": (
        Limit(
            "its outputs are",
            _outputs,
            LARGEST_BILINEAR_RESIZE,
            6_291_456,
            f"{ISSUES}/31; {ISSUES}/597",
        ),
    ),
    # 128x128x128 maps, 256x256x64 does not (compiler 14.1); nor does 1024x1024x3 (16.0).
    "RESIZE_NEAREST_NEIGHBOR": (
        Limit(
            "its outputs are",
            _outputs,
            2_097_152,
            3_145_728,
            "https://github.com/mistake0316/Google-Coral-Style-Transfer; " + f"{ISSUES}/597",
        ),
    ),
    # 1x22x22x144 (YOLOv5nu at 352x352) maps, 1x40x40x68 and 1x28x28x144 do not (16.0).
    "TRANSPOSE": (
        Limit(
            "its elements are",
            _outputs,
            69_696,
            108_800,
            "https://github.com/edward62740/EdgeTPU-MOT; https://github.com/MRezqalla/GoalBuddy",
        ),
    ),
}
"""The limits on each operator that has some; the source is where both sides of it were seen."""
