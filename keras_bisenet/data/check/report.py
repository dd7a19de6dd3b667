"""What `dataset check` found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_bisenet.data.check.facts import Facts, Fingerprint, UnknownIds
from keras_bisenet.data.check.suggestions import Suggestions
from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.data.problems import Problem
from keras_bisenet.label_map import VOID


class Dominance(NamedTuple):
    """A good mask's most frequent class.

    Attributes:
        share: Its share of the pixels that count; 0 where all are void.
        class_id: The class; `VOID` where all pixels are void.
    """

    share: float
    class_id: int


@dataclass
class SplitReport:
    """What is in a split. The lists with an entry per sample have None where it has no such fact.

    Args:
        samples: Its samples.
        pixels: int64 `[256]`, pixels by class id; `VOID` for void.
        images: int64 `[256]`, images that hold each class id.
        file_ids: int64 `[256]`, pixels by id in the mask files.
        sizes: How many images have each `(height, width)`.
        good: How many pairs can be used.
        problems: The number of a sample and what is wrong with it.
        fingerprints: The images', an entry per sample.
        dominance: The good masks', an entry per sample.
        unknown_ids: Masks with unknown ids, by the number of the sample.
        unknown_colours: How many masks hold each colour that no class has.
    """

    samples: Sequence[Sample]
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    images: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    file_ids: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    sizes: Counter = field(default_factory=Counter)
    good: int = 0
    problems: list[tuple[int, Problem]] = field(default_factory=list)
    fingerprints: list[Fingerprint | None] = field(default_factory=list)
    dominance: list[Dominance | None] = field(default_factory=list)
    unknown_ids: dict[int, UnknownIds] = field(default_factory=dict)
    unknown_colours: Counter = field(default_factory=Counter)

    def add(self, facts: Facts) -> None:
        """Counts the next sample in."""
        number = len(self.fingerprints)
        self.problems += [(number, problem) for problem in facts.problems]
        self.fingerprints.append(facts.fingerprint)
        self.dominance.append(None if facts.pixels is None else _dominance(facts.pixels))
        self.unknown_colours.update(facts.found)
        if facts.size:
            self.sizes[facts.size] += 1
        if facts.file_ids is not None:
            self.file_ids += facts.file_ids
        if facts.unknown_ids:
            self.unknown_ids[number] = facts.unknown_ids
        if facts.pixels is not None:
            self.good += 1
            self.pixels += facts.pixels
            self.images += facts.pixels > 0

    def shares(self, num_classes: int) -> np.ndarray:
        """Share of the good masks' pixels by class, void last: float64 `[num_classes + 1]`."""
        counts = np.append(self.pixels[:num_classes], self.pixels[VOID])
        return counts / max(counts.sum(), 1)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a data set, in all the files that it is wrong with.

    Args:
        rule: What kind of finding, such as `missing-mask`.
        severity: `error`, where training or evaluation cannot use a file or would count wrongly;
            else `warning`.
        message: What was found.
        cure: What to do.
        files: The files that it concerns.
        details: What is the matter with each file; empty where the message says it all.
        samples: Those of the files' samples that a picture can be made of.
        classes: The classes that it concerns, where it is not about files.
    """

    rule: str
    severity: str
    message: str
    cure: str
    files: tuple[Path, ...] = ()
    details: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()
    classes: tuple[str, ...] = ()

    def to_json(self) -> dict:
        """For programs: `files` and their `details` name 1000 files at most; `count` is of all
        files, or of `classes`."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "message": self.message,
            "files": [str(path) for path in self.files[:1000]],
            "details": list(self.details[:1000]),
            "classes": list(self.classes),
            "count": len(self.files) or len(self.classes),
            "cure": self.cure,
        }


@dataclass(frozen=True)
class Report:
    """What was found.

    Args:
        dataset: The data set that was read.
        splits: What is in each split.
        findings: What is wrong, errors first.
        suggestions: What to train with.
    """

    dataset: Dataset
    splits: dict[str, SplitReport]
    findings: list[Finding]
    suggestions: Suggestions

    @property
    def passed(self) -> bool:
        """Whether there is no error."""
        return all(finding.severity != "error" for finding in self.findings)

    def to_json(self) -> dict:
        """The report for programs.

        Returns:
            `dataset` and `passed`; `splits`, by name: `pairs`, `good` (those that can be used),
            `sizes` (images by `HxW`), `shares` (of the pixels, by class name, and `void`) and
            `images` (that hold the class, by its name); `ids`, for masks of ids: `declared` (by
            class name), `void` and `found` (pixels by id); `findings`: see `Finding.to_json`;
            `suggestions`: see `Suggestions.to_json`.
        """
        labels = self.dataset.label_map
        report = {
            "dataset": self.dataset.name,
            "passed": self.passed,
            "splits": {name: self._split_json(split) for name, split in self.splits.items()},
        }
        if self.dataset.colours is None:
            found = sum(split.file_ids for split in self.splits.values())
            report["ids"] = {
                "declared": dict(zip(labels.names, labels.file_ids)),
                "void": list(labels.ignored_ids),
                "found": {str(i): int(found[i]) for i in np.flatnonzero(found)},
            }
        report["findings"] = [finding.to_json() for finding in self.findings]
        report["suggestions"] = self.suggestions.to_json()
        return report

    def _split_json(self, split: SplitReport) -> dict:
        names = self.dataset.label_map.names
        return {
            "pairs": len(split.samples),
            "good": split.good,
            "sizes": {f"{h}x{w}": n for (h, w), n in sorted(split.sizes.items())},
            "shares": dict(zip((*names, "void"), split.shares(len(names)).tolist())),
            "images": dict(zip(names, split.images[: len(names)].tolist())),
        }


def _dominance(pixels: np.ndarray) -> Dominance:
    counted = pixels[:VOID]
    total = counted.sum()
    if not total:
        return Dominance(0.0, VOID)
    return Dominance(float(counted.max() / total), int(counted.argmax()))
