"""Data sets by name, one module each, and the pipeline that feeds them to training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from keras_bisenet.data import ade20k, camvid, cityscapes, cocostuff, folder, shards, voc2012
from keras_bisenet.data.dataset import Dataset
from keras_bisenet.data.problems import Problem, print_warning
from keras_bisenet.data.splits import held_out
from keras_bisenet.errors import UsageError, UserError

# name -> function that finds the data set below a directory. The generated streets have CamVid's
# classes and folders.
DATASETS = {
    "camvid": camvid.load,
    "streets": camvid.load,
    "cityscapes": cityscapes.load,
    "cocostuff": cocostuff.load,
    "cocostuff10k": cocostuff.load_10k,
    "ade20k": ade20k.load,
    "voc2012": voc2012.load,
    "folder": folder.load,
    "shards": shards.load,
}


def load_dataset(
    name: str,
    directory,
    on_problem: Callable[[Problem], None] | None = None,
    hold_out: str | None = None,
    to_train: bool = True,
) -> Dataset:
    """Finds the data set `name` below `directory`.

    Args:
        name: A name in `DATASETS`.
        directory: Where it lies.
        on_problem: Told of everything that is wrong with the files' names and folders; what is
            concerned is left out if it returns. By default an error is raised, and a warning is
            printed, once however often the data set is loaded.
        hold_out: A part of images' names: those that have it are kept from training, and are the
            validation split (`splits.held_out`). None or nothing leaves the splits as they are.
        to_train: Whether images to train on must be left when some are held out.

    Raises:
        UsageError: When no data set has that name, or nothing is held out or left.
        UserError: When the directory does not hold it.
    """
    if name not in DATASETS:
        raise UsageError(f"no data set is named {name!r}: choose one of {', '.join(DATASETS)}")
    if not Path(directory).exists():
        raise UserError(f"{directory}: no such folder: check --data-dir")
    dataset = DATASETS[name](Path(directory), name, on_problem or _raise_or_warn)
    return held_out(dataset, hold_out, to_train) if hold_out else dataset


def _raise_or_warn(problem: Problem) -> None:
    if problem.severity == "error":
        raise UserError(str(problem))
    print_warning(problem)
