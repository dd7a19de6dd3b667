"""What `dataset check` found: statistics, issues and suggestions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_bisenet.data.check.issue import Issue
from keras_bisenet.data.check.split_statistics import SplitStatistics
from keras_bisenet.data.check.suggestions import Suggestions
from keras_bisenet.data.dataset import Dataset


@dataclass(frozen=True)
class CheckResult:
    """What was found.

    Args:
        dataset: The data set that was read.
        splits: What is in each split.
        issues: What is wrong, errors first.
        suggestions: What to train with.
    """

    dataset: Dataset
    splits: dict[str, SplitStatistics]
    issues: list[Issue]
    suggestions: Suggestions

    @property
    def passed(self) -> bool:
        """Whether there is no error."""
        return all(issue.severity != "error" for issue in self.issues)

    def to_json(self) -> dict:
        """The result for programs.

        Returns:
            `dataset` and `passed`; `splits`, by name: `pairs`, `good` (those that can be used),
            `sizes` (images by `HxW`), `shares` (of the pixels, by class name, and `void`) and
            `images` (that hold the class, by its name); `ids`, for masks of ids: `declared` (by
            class name), `void` and `found` (pixels by id); `findings`: see `Issue.to_json`;
            `suggestions`: see `Suggestions.to_json`.
        """
        labels = self.dataset.label_map
        values = {
            "dataset": self.dataset.name,
            "passed": self.passed,
            "splits": {name: self._split_json(split) for name, split in self.splits.items()},
        }
        if self.dataset.colours is None:
            found = sum(split.file_ids for split in self.splits.values())
            values["ids"] = {
                "declared": dict(zip(labels.names, labels.file_ids)),
                "void": list(labels.ignored_ids),
                "found": {str(i): int(found[i]) for i in np.flatnonzero(found)},
            }
        values["findings"] = [issue.to_json() for issue in self.issues]
        values["suggestions"] = self.suggestions.to_json()
        return values

    def _split_json(self, split: SplitStatistics) -> dict:
        names = self.dataset.label_map.names
        return {
            "pairs": len(split.samples),
            "good": split.good,
            "sizes": {f"{h}x{w}": n for (h, w), n in sorted(split.sizes.items())},
            "shares": dict(zip((*names, "void"), split.shares(len(names)).tolist())),
            "images": dict(zip(names, split.images[: len(names)].tolist())),
        }
