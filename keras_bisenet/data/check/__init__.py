"""Reading a whole data set to find what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from keras_bisenet.data.check.check_result import CheckResult
from keras_bisenet.data.check.issue import Issue
from keras_bisenet.data.check.rules import find
from keras_bisenet.data.check.sample_statistics import read_statistics
from keras_bisenet.data.check.split_statistics import SplitStatistics
from keras_bisenet.data.check.suggestions import Suggestions, suggest
from keras_bisenet.data.dataset import Dataset
from keras_bisenet.data.problems import Problem

__all__ = ["Issue", "CheckResult", "SplitStatistics", "Suggestions", "check_dataset"]


CHUNK = 1024
"""So many pairs are handed to the threads at a time: waiting work takes memory too."""


def check_dataset(
    dataset: Dataset,
    problems: Sequence[Problem] = (),
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> CheckResult:
    """Reads every pair, several at a time, and goes on where one is bad.

    Of each pair one or two kilobytes stay in memory.

    Args:
        dataset: The data set.
        problems: What loading it found (see `load_dataset`).
        workers: Threads that read; Pillow decodes, and hashing runs, without Python's global
            lock. Defaults to the number of CPUs.
        progress: Called with 1 after each pair.
    """
    splits = {name: SplitStatistics(samples) for name, samples in dataset.splits.items()}
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        for split in splits.values():
            for start in range(0, len(split.samples), CHUNK):
                chunk = split.samples[start : start + CHUNK]
                for statistics in pool.map(partial(read_statistics, dataset), chunk):
                    split.add(statistics)
                    if progress:
                        progress(1)
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupted check ends at once
    issues = find(dataset, splits, problems)
    return CheckResult(dataset, splits, issues, suggest(dataset, splits, issues))
