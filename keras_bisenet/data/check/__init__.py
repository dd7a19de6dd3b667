"""Reading a whole data set to find what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from keras_bisenet.data.check.facts import read_facts
from keras_bisenet.data.check.findings import find
from keras_bisenet.data.check.report import Finding, Report, SplitReport
from keras_bisenet.data.check.suggestions import Suggestions, suggest
from keras_bisenet.data.dataset import Dataset
from keras_bisenet.data.problems import Problem

__all__ = ["Finding", "Report", "SplitReport", "Suggestions", "check_dataset"]


CHUNK = 1024
"""So many pairs are handed to the threads at a time: waiting work takes memory too."""


def check_dataset(
    dataset: Dataset,
    problems: Sequence[Problem] = (),
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Reads every pair, several at a time, and goes on where one is bad.

    Of each pair one or two kilobytes stay in memory.

    Args:
        dataset: The data set.
        problems: What loading it found (see `load_dataset`).
        workers: Threads that read; Pillow decodes, and hashing runs, without Python's global
            lock. Defaults to the number of CPUs.
        progress: Called with 1 after each pair.
    """
    splits = {name: SplitReport(samples) for name, samples in dataset.splits.items()}
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        for split in splits.values():
            for start in range(0, len(split.samples), CHUNK):
                chunk = split.samples[start : start + CHUNK]
                for facts in pool.map(partial(read_facts, dataset), chunk):
                    split.add(facts)
                    if progress:
                        progress(1)
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupted check ends at once
    findings = find(dataset, splits, problems)
    return Report(dataset, splits, findings, suggest(dataset, splits, findings))
