"""Whether a model and a data set mean the same classes by their numbers.

The same names in another order are mapped, and that is said. Other names are refused: a model
that was taught "dog" as number 1 would be scored, or taught on, as if 1 were "cat".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from keras_bisenet.data.classes_entries import as_seen
from keras_bisenet.data.dataset import Dataset
from keras_bisenet.data.problems import Problem, print_warning
from keras_bisenet.errors import UserError, listed
from keras_bisenet.label_map import VOID, ColourMap, LabelMap


def with_classes_of(
    dataset: Dataset, names: Sequence[str] | None, model, any_classes: bool = False
) -> Dataset:
    """The data set with its classes numbered as a model numbers them.

    Args:
        dataset: The data set.
        names: The model's class names, in its order; None where it names none, so that numbers
            are all there is to compare.
        model: What to call the model in a message: its path.
        any_classes: Takes classes by their numbers where their names differ.

    Raises:
        UserError: When the names are others (unless `any_classes`), or their number is.
    """
    own = dataset.label_map.names
    if names is None or tuple(names) == own:
        return dataset
    # As people see them: files of other programs, and older runs, may have other forms of accents.
    names = tuple(map(as_seen, names))
    if names == tuple(map(as_seen, own)):
        return dataset
    if len(names) != len(own):
        raise UserError(
            f"{model}: the model tells {len(names)} classes apart, the data set has {len(own)}: "
            "choose the data set that it was trained on"
        )
    if set(names) == set(own):
        _say(
            "class-order",
            f"the classes of {dataset.name} are in another order than the model's "
            f"({listed(own, 4)}; {listed(names, 4)}): they are matched by name",
            model,
        )
        return _in_order(dataset, names)
    differing = [f"{ours!r} for {theirs!r}" for theirs, ours in zip(names, own) if ours != theirs]
    if any_classes:
        _say(
            "class-names",
            f"classes are compared by number, and the data set has {listed(differing, 4)}",
            model,
        )
        return dataset
    raise UserError(
        f"{model}: its classes are not those of {dataset.name}, which has {listed(differing, 4)}: "
        "choose the data set that it was trained on, or compare by number with --any-classes"
    )


def _in_order(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    """The data set with the same classes under other numbers."""
    labels, colours = dataset.label_map, dataset.colours
    order = [labels.names.index(name) for name in names]
    numbers = np.full(256, VOID)
    numbers[order] = np.arange(len(names))
    return dataclasses.replace(
        dataset,
        label_map=LabelMap(
            names,
            tuple(labels.palette[i] for i in order),
            tuple(labels.file_ids[i] for i in order),
            labels.ignored_ids,
        ),
        colours=colours
        and ColourMap(colours.colours, tuple(int(numbers[i]) for i in colours.class_ids)),
    )


def _say(rule: str, message: str, model) -> None:
    print_warning(Problem(rule, "warning", message, (model,), ""))
