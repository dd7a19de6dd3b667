"""Splits where a data set has none."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from keras_bisenet.data.dataset import Sample
from keras_bisenet.data.pairing import OnProblem
from keras_bisenet.data.problems import Problem

VAL_SHARE = 0.2


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


def _hash(stem: str) -> str:
    return hashlib.sha256(stem.encode("utf-8")).hexdigest()
