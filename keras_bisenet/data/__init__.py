"""Data sets by name, one module each, and the pipeline that feeds them to training."""

from __future__ import annotations

from pathlib import Path

from keras_bisenet.data import camvid
from keras_bisenet.data.dataset import Dataset
from keras_bisenet.errors import UsageError

# name -> function that finds the data set below a directory. The generated streets have CamVid's
# classes and folders.
DATASETS = {
    "camvid": camvid.load,
    "streets": camvid.load,
}


def load_dataset(name: str, directory) -> Dataset:
    """Finds the data set `name` below `directory`; reads no pixels yet.

    Raises:
        UsageError: When no data set has that name.
        UserError: When the directory does not hold it.
    """
    if name not in DATASETS:
        raise UsageError(f"no data set is named {name!r}: choose one of {', '.join(DATASETS)}")
    return DATASETS[name](Path(directory), name)
