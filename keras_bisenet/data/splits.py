"""Splits where a data set has none, or has none that can judge."""

from __future__ import annotations

import dataclasses
import filecmp
import fnmatch
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.data.pairing import OnProblem
from keras_bisenet.data.problems import Problem
from keras_bisenet.errors import UsageError

VAL_SHARE = 0.2

SEQUENCE_WORDS = "frame|video|seq|clip|cam|scene|drive"
"""Names with one of these are taken for those of frames."""


def sequence_of(stem: str) -> str:
    """The name of the sequence that a frame belongs to: what stands before its last number."""
    return re.sub(r"[_\-. ]*\d+$", "", stem)


def grouping(split_by: str, root: Path) -> Callable[[Sample], str]:
    """What puts samples into groups that a split does not tear.

    Args:
        split_by: `sequence` (the name before the last number), `folder`, or a regular expression
            that is searched for in the images' paths below `root`: its first group, or all of it,
            is the name of the group.
        root: The data set's folder.

    Raises:
        UsageError: When it is no regular expression.
    """
    if split_by == "sequence":
        return lambda sample: sequence_of(sample.image.stem)
    if split_by == "folder":
        return lambda sample: sample.image.parent.as_posix()
    try:
        pattern = re.compile(split_by)
    except re.error as error:
        raise UsageError(f"--split-by {split_by!r}: no regular expression ({error})") from error

    def group(sample: Sample) -> str:
        found = pattern.search(os.path.relpath(sample.image, root))
        if not found:
            raise UsageError(
                f"--split-by {split_by!r}: is not in {sample.image}: choose an expression that is "
                "in the path of every image"
            )
        return found[1] if pattern.groups else found[0]

    return group


def split_by_group(
    samples: Sequence[Sample], group: Callable[[Sample], str]
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Divides samples as `split_train_val` does, but whole groups: the first of them, by a hash of
    their names, that hold a fifth of the samples together.

    Raises:
        UsageError: When there is one group alone.
    """
    members: dict[str, list[Sample]] = {}
    for sample in samples:
        members.setdefault(group(sample), []).append(sample)
    if len(members) < 2:
        raise UsageError(
            f"--split-by puts all {len(samples)} images into one group, {next(iter(members), '')}: "
            "choose what differs between those for training and for validation"
        )
    val: set[Sample] = set()
    for key in sorted(members, key=_hash)[:-1]:
        # The next group, if that comes closer to a fifth than to leave it out.
        if not val or len(val) + len(members[key]) / 2 <= VAL_SHARE * len(samples):
            val |= {*members[key]}
    return (
        tuple(sample for sample in samples if sample not in val),
        tuple(sample for sample in samples if sample in val),
    )


def split_train_val(
    samples: Sequence[Sample],
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Divides samples into training (80%) and validation (20%, but one at least of two or more).

    Which is which follows from a hash of the images' names, not from the order of the files nor
    from the machine; a sample that is added later moves one other at most.
    """
    ranked = sorted(samples, key=lambda sample: (_hash(sample.image.stem), sample.image))
    count = min(max(1, round(VAL_SHARE * len(samples))), len(samples) - 1)
    val = set(ranked[:count])
    return (
        tuple(sample for sample in samples if sample not in val),
        tuple(sample for sample in samples if sample in val),
    )


def hold_out_val(
    splits: dict[str, tuple[Sample, ...]], directory: Path, on_problem: OnProblem
) -> dict[str, tuple[Sample, ...]]:
    """Where there is no validation split, holds out a fifth of the training split and says so.

    Where there is no training split, that is said.
    """
    if "train" not in splits:
        on_problem(
            Problem(
                "missing-split",
                "warning",
                f"there are no training images here, only {', '.join(splits)}",
                (directory,),
                "evaluation works; to train, add them, or name the folder of these images train",
            )
        )
    elif "val" not in splits and len(splits["train"]) > 1:
        train, val = split_train_val(splits["train"])
        on_problem(
            Problem(
                "missing-split",
                "warning",
                f"there are no validation images here: {len(val)} of the {len(train) + len(val)} "
                "training images are held out in their place, so that scores compare to no others",
                (directory,),
                "add the validation images to have the data set's own",
            )
        )
        splits = {"train": train, "val": val, **{k: v for k, v in splits.items() if k != "train"}}
    return splits


def held_out(dataset: Dataset, pattern: str, to_train: bool = True) -> Dataset:
    """Divides training and validation images by their names.

    Frames of one drive look alike: a validation split of frames between those of training says
    little about streets that are new. A drive that is held out whole does.

    Args:
        dataset: A data set. One without training and validation images stays as it is.
        pattern: A part of an image's file name, such as `0006R0`, or a pattern of the whole of it
            with `*`, `?` or `[...]`.
        to_train: Whether training images must be left.

    Returns:
        The data set whose split `val` is the training and validation images that have the pattern,
        and whose split `train` the training images that do not. Other splits stay.

    Raises:
        UsageError: When no image has the pattern, or none is left to train on.
    """
    own = {name: dataset.splits.get(name, ()) for name in ("train", "val")}
    held = [s for samples in own.values() for s in samples if _has(s, pattern)]
    train = [sample for sample in own["train"] if not _has(sample, pattern)]
    if not any(own.values()):
        return dataset
    if not held:
        example = next(sample.image.name for samples in own.values() for sample in samples)
        raise UsageError(
            f"--hold-out {pattern}: no training or validation image of {dataset.name} has such a "
            f"name: give a part of one, such as {example}"
        )
    if to_train and own["train"] and not train:
        raise UsageError(
            f"--hold-out {pattern}: all {len(own['train'])} training images of {dataset.name} have "
            "such a name, and none is left to train on: give a part of fewer names"
        )
    splits = {**dataset.splits, "val": tuple(held)}
    if "train" in splits:
        splits["train"] = tuple(train)
    return dataclasses.replace(dataset, splits=splits)


def trained_on_val(dataset: Dataset) -> Dataset:
    """Adds the validation images to the training split: for the last run of a recipe whose choices
    are made. The split `val` stays, and says no more how well new images are answered."""
    train = dataset.split("train")
    added = tuple(sample for sample in dataset.split("val") if sample not in set(train))
    return dataclasses.replace(dataset, splits={**dataset.splits, "train": train + added})


def images_of_splits(
    samples: Iterable[Sample], dataset: Dataset, splits: Sequence[str], pattern: str | None = None
) -> list[Path]:
    """Images from elsewhere that are among those of some splits, by their bytes, or would be held
    out by their names.

    Args:
        samples: The images from elsewhere.
        dataset: The data set. Packed images are no files, and are known by the pattern alone.
        splits: Names of splits; those that the data set lacks do not count.
        pattern: What is held out, as in `held_out`.
    """
    own: dict[int, list[Path]] = {}
    for sample in (sample for name in splits for sample in dataset.splits.get(name, ())):
        if sample.image.is_file():
            own.setdefault(sample.image.stat().st_size, []).append(sample.image)

    def is_own(image: Path) -> bool:
        same_size = own.get(image.stat().st_size, ())
        return any(filecmp.cmp(image, other, shallow=False) for other in same_size)

    return [s.image for s in samples if (pattern and _has(s, pattern)) or is_own(s.image)]


def _has(sample: Sample, pattern: str) -> bool:
    names = pattern if set(pattern) & set("*?[") else f"*{pattern}*"
    return fnmatch.fnmatchcase(sample.image.name, names)


def _hash(stem: str) -> str:
    return hashlib.sha256(stem.encode("utf-8", "surrogateescape")).hexdigest()
