"""A file's main graph as the rules of every target see it: operators with their tensors at hand,
who reads whose results, and the partitions that TFLite makes when it applies a delegate."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_bisenet.errors import UserError
from keras_bisenet.lite.model_file import ModelFile, Operator, Subgraph, Tensor


class Constants:
    """The constants of a file, to be read by rules.

    Operators may share a constant, and buffers may overlap, so that a small file can ask for a
    great deal of reading. No honest one asks for more than a few times its own size.
    """

    def __init__(self, model: ModelFile):
        self._model = model
        self._bytes_left = 4 * model.size + (1 << 20)

    def values(self, tensor: Tensor) -> np.ndarray | None:
        """The values of `tensor`; None when they make no sense, or too much has been read."""
        self._bytes_left -= tensor.data_size
        if self._bytes_left < 0:
            return None
        try:
            return self._model.array(tensor)
        except UserError:
            return None


class Node:
    """An operator with its tensors at hand, for rules that trust nothing a file says.

    Whatever a well-formed operator would have and this one lacks is None.
    """

    _LONGEST_NAME = 64

    def __init__(self, graph: Subgraph, operator: Operator, constants: Constants):
        self._graph = graph
        self._constants = constants
        self.operator = operator

    @property
    def name(self) -> str:
        """The operator's name; a custom operator's may be any text, and is cut short."""
        return self.operator.name[: self._LONGEST_NAME]

    @property
    def version(self) -> int:
        return self.operator.version

    @property
    def inputs(self) -> tuple[Tensor | None, ...]:
        """The inputs; None for an optional one that is left out."""
        return tuple(self._graph.tensors[i] if i >= 0 else None for i in self.operator.inputs)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return tuple(self._graph.tensors[i] for i in self.operator.outputs if i >= 0)

    def input(self, position: int) -> Tensor | None:
        inputs = self.operator.inputs
        if position >= len(inputs) or inputs[position] < 0:
            return None
        return self._graph.tensors[inputs[position]]

    @property
    def output(self) -> Tensor | None:
        """The first output."""
        return self.outputs[0] if self.outputs else None

    def option(self, name: str, default: Any = None) -> Any:
        """A builtin option; `default` where the file has none of that name."""
        return self.operator.options.get(name, default)

    def values(self, position: int) -> np.ndarray | None:
        """The values of a constant input; None when it is not constant, or makes no sense."""
        tensor = self.input(position)
        if tensor is None or not tensor.is_constant:
            return None
        return self._constants.values(tensor)


def nodes(model: ModelFile) -> list[Node]:
    """The operators of the main graph, in the order of execution."""
    constants = Constants(model)
    return [Node(model.main, operator, constants) for operator in model.main.operators]


def partitions(graph: Subgraph, supported: Sequence[bool]) -> list[int | None]:
    """Splits a graph as TFLite does when it applies a delegate.

    Partitions alternate between supported and other operators. The first ready operator, in the
    order of execution, decides which kind a partition is of; the partition then takes every
    operator of that kind whose inputs come from itself or from earlier partitions. So an
    operator is left to a later partition when it needs the result of one of the other kind, not
    when it merely stands behind one.

    Args:
        graph: The graph.
        supported: For each of its operators whether the delegate takes it.

    Returns:
        For each operator the number of its partition, from 0; None when its inputs are never
        computed. The work is linear in the size of the graph.
    """
    readers, waiting_for = _dependencies(graph)
    ready: dict[bool, deque[int]] = {True: deque(), False: deque()}
    for index, missing in enumerate(waiting_for):
        if not missing:
            ready[supported[index]].append(index)
    result: list[int | None] = [None] * len(graph.operators)
    # Both queues are in order, so the smaller head is the first ready operator.
    kind = bool(ready[True]) and (not ready[False] or ready[True][0] < ready[False][0])
    number = 0
    while ready[True] or ready[False]:
        while ready[kind]:
            index = ready[kind].popleft()
            result[index] = number
            for reader in readers[index]:
                waiting_for[reader] -= 1
                if not waiting_for[reader]:
                    ready[supported[reader]].append(reader)
        kind = not kind
        number += 1
    return result


def producers(graph: Subgraph) -> dict[int, int]:
    """For each computed tensor the operator that computes it (the first, if there are several)."""
    result: dict[int, int] = {}
    for operator in graph.operators:
        for tensor in operator.outputs:
            if tensor >= 0:
                result.setdefault(tensor, operator.index)
    return result


def consumers(graph: Subgraph) -> dict[int, list[int]]:
    """For each tensor the operators that read it."""
    result: dict[int, list[int]] = {}
    for operator in graph.operators:
        for tensor in set(operator.inputs):
            if tensor >= 0:
                result.setdefault(tensor, []).append(operator.index)
    return result


def _dependencies(graph: Subgraph) -> tuple[list[list[int]], list[int]]:
    """For each operator those that read its results, and how many results it waits for itself."""
    computed_by = producers(graph)
    readers: list[list[int]] = [[] for _ in graph.operators]
    waiting_for = [0] * len(graph.operators)
    for operator in graph.operators:
        for producer in {computed_by[t] for t in operator.inputs if t in computed_by}:
            readers[producer].append(operator.index)
            waiting_for[operator.index] += 1
    return readers, waiting_for


SHAPE_OPERANDS = {
    "BROADCAST_TO": (1,),
    "EXPAND_DIMS": (1,),
    "FILL": (0,),
    "MEAN": (1,),
    "MIRROR_PAD": (1,),
    "PAD": (1,),
    "PADV2": (1,),
    "RANGE": (0, 1, 2),
    "REDUCE_MAX": (1,),
    "REDUCE_MIN": (1,),
    "RESHAPE": (1,),
    "RESIZE_BILINEAR": (1,),
    "RESIZE_NEAREST_NEIGHBOR": (1,),
    "SLICE": (1, 2),
    "SPLIT": (0,),
    "SPLIT_V": (1, 2),
    "STRIDED_SLICE": (1, 2, 3),
    "SUM": (1,),
    "TILE": (1,),
    "TRANSPOSE": (1,),
    "TRANSPOSE_CONV": (0,),
}
"""The inputs that decide the shape of the output, by operator: a shape, axes or paddings."""


_SHAPED_BY_VALUES = ("UNIQUE", "WHERE", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5")


def computed_shape(node: Node) -> str | None:
    """Why the shape of the operator's output is known only while it runs; None when it is not."""
    if node.name in _SHAPED_BY_VALUES and not node.operator.is_custom:
        return "the size of its output depends on the values of its input"
    if node.operator.is_custom:
        return None
    for position in SHAPE_OPERANDS.get(node.name, ()):
        tensor = node.input(position)
        if tensor is not None and not tensor.is_constant and tensor.num_elements:
            return f"its input {position}, which decides the shape of its output, is computed"
    return None


def axes(node: Node) -> set[int]:
    """The axes that a reduction sums over, from 0; none where they are not known."""
    tensor, values = node.input(0), node.values(1)
    if tensor is None or values is None or values.dtype.kind not in "iu":
        return set()
    rank = len(tensor.shape)
    return {axis + rank if axis < 0 else axis for axis in values.ravel()[:8].tolist()}


def shown_shape(tensor: Tensor) -> str:
    """A tensor's shape as people write it: 1x48x60x128."""
    return "x".join("?" if side < 0 else str(side) for side in tensor.shape) or "scalar"


def shown_type(dtype: str) -> str:
    """A `TensorType` as people write it: int8."""
    return dtype.lower()
