"""The rules of `dataset check`: from what was read to what is wrong, and what to do."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import exp, lgamma

import numpy as np

from keras_bisenet.data.check.duplicates import find_leaks
from keras_bisenet.data.check.issue import Issue
from keras_bisenet.data.check.split_statistics import SplitStatistics
from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.data.problems import Problem
from keras_bisenet.data.splits import SEQUENCE_WORDS, sequence_of
from keras_bisenet.errors import listed
from keras_bisenet.label_map import VOID, LabelMap

Splits = dict[str, SplitStatistics]

# What is the matter with several files, and what to do where each file's own cure differs.
GROUPS = {
    "missing-mask": ("images without a mask", "add the masks, or remove the images"),
    "missing-image": ("masks without an image", "add the images, or remove the masks"),
    "duplicate-name": ("names that several files have", "rename or remove all but one of each"),
    "unreadable-image": ("images that cannot be read", "copy them again"),
    "unreadable-mask": ("masks that cannot be read", "copy them again"),
    "jpeg-mask": ("masks saved with losses, which change ids and colours along edges", ""),
    "colour-mask": ("masks of colours where class ids are expected", ""),
    "size-mismatch": ("masks of another shape than their images", ""),
    "unknown-ids": ("masks with ids that no class has", ""),
    "unknown-colours": ("masks with colours that no class has", ""),
    "mask-resized": ("masks of another size than their images", ""),
    "mask-thresholded": ("black and white masks with grey edges", ""),
    "turned-image": ("images that EXIF data turn, whose masks have none", ""),
}

CHANCE = 0.1
"""How likely a warning about the classes that a split lacks may be where nothing but chance is at
work: each class gets its part of it."""

CONSTANT = 0.995
"""A mask is near-constant if one class has more than this share of its pixels that count."""

DARK = 16
"""An image is near-black if none of its thumbnail's grey values, 0 to 255, exceeds this."""

FLAT = 4
"""An image is near-constant if its thumbnail's grey values differ by less."""

MOSTLY = 0.95
"""Where many masks have a class with more than this share, near-constant ones are no surprise."""


def find(dataset: Dataset, splits: Splits, problems: Sequence[Problem]) -> list[Issue]:
    """All that is wrong with a data set, errors first.

    Args:
        dataset: The data set.
        splits: What was read.
        problems: What loading it found.
    """
    labels = dataset.label_map
    unknown = list(_unknown_ids(labels, splits))
    issues = [
        *_grouped((problem, None) for problem in problems),
        *_grouped(_problems_of_pairs(splits)),
        *unknown,
        *_scattered_ids(dataset, problems),
        *find_leaks(splits),
        *_missing_classes(labels, splits, {issue.rule for issue in unknown}),
        *_void_masks(splits),
        *_constant_masks(labels, splits),
        *_dark_and_constant_images(splits),
        *_sequences(splits, problems),
    ]
    return sorted(issues, key=lambda issue: issue.severity != "error")


# --- one problem in many files ---


def _problems_of_pairs(splits: Splits) -> Iterator[tuple[Problem, Sample]]:
    """What is wrong with single pairs; unknown ids that could be read have rules of their own."""
    for split in splits.values():
        for number, problem in split.problems:
            if not (problem.rule == "unknown-ids" and number in split.unknown_ids):
                yield problem, split.samples[number]


def _grouped(problems: Iterable[tuple[Problem, Sample | None]]) -> Iterator[Issue]:
    """One issue for each rule."""
    by_rule: dict[str, list] = {}
    for problem, sample in problems:
        by_rule.setdefault(problem.rule, []).append((problem, sample))
    for rule, found in by_rule.items():
        yield _issue_of_group(rule, *zip(*found))


def _issue_of_group(rule: str, problems: Sequence[Problem], samples: Sequence) -> Issue:
    first = problems[0]
    if rule not in GROUPS:
        files = tuple(itertools.chain.from_iterable(problem.files for problem in problems))
        details = tuple(p.message for p in problems) if len(problems) == len(files) > 1 else ()
        return Issue(rule, first.severity, first.message, first.cure, files, details)
    files = tuple(problem.files[0] for problem in problems)
    samples = tuple(sample for sample in samples if sample)
    if len(problems) == 1:
        return Issue(rule, first.severity, first.message, first.cure, files, (), samples)
    what, cure = GROUPS[rule]
    if all(problem.cure == first.cure for problem in problems):
        cure = first.cure
    details = tuple(problem.message for problem in problems)
    message = f"{what}: {len(problems)}"
    return Issue(rule, first.severity, message, cure or first.cure, files, details, samples)


# --- unknown ids ---


def _unknown_ids(labels: LabelMap, splits: Splits) -> Iterator[Issue]:
    """Why masks hold ids that no class has: each mask is in one of the issues."""
    left = {
        (split, number): ids
        for split, statistics in splits.items()
        for number, ids in statistics.unknown_ids.items()
    }
    if not left:
        return
    found = sum(statistics.file_ids for statistics in splits.values())
    smeared = {key for key, ids in left.items() if ids.solid < 0.3}
    held = sum((left[key].pixels for key in smeared), np.zeros(256, np.int64))
    if len(np.setdiff1d(np.flatnonzero(held), (*labels.file_ids, *labels.ignored_ids))) < 4:
        smeared = set()  # a stray pixel, or a thin object
    if smeared:
        yield _issue_of_masks(
            "smeared-ids",
            splits,
            smeared,
            f"masks whose unknown ids lie along edges alone: {len(smeared)}. They were saved as "
            "JPEG, or resized smoothly, before they became PNG",
            "export them again from where they were made, as PNG; resize masks with nearest "
            "neighbour alone",
            labels,
        )
    left = {key: ids for key, ids in left.items() if key not in smeared}
    shift, everywhere = _shift(labels, found, list(left.values()))
    if shift:
        held = np.flatnonzero(sum(ids.pixels for ids in left.values()))
        held = held[held != VOID]
        what = (
            "the ids of all masks are off by one"
            if everywhere
            else f"masks whose ids seem to be off by one: {len(left)}"
        )
        yield _issue_of_masks(
            "shifted-ids",
            splits,
            left,
            f"{what}; ids {held[0]} to {held[-1]} occur, the classes have "
            f"{min(labels.file_ids)} to {max(labels.file_ids)}",
            f"{'subtract 1 from' if shift > 0 else 'add 1 to'} every id but void, or declare the "
            "ids that the masks have",
            labels,
        )
    elif left and _looks_like_grey_levels(labels, splits, list(left.values())):
        yield _issue_of_masks(
            "colours-as-ids",
            splits,
            left,
            f"masks whose values are scattered like the grey levels of colours: {len(left)}. They "
            "were masks of colours once, read or saved as grey",
            "take the masks of colours themselves (--dataset folder reads them, with the colours "
            "in a classes file), or export ids",
            labels,
        )
    elif left:
        problem = next(
            problem
            for split, statistics in splits.items()
            for number, problem in statistics.problems
            if (split, number) in left and problem.rule == "unknown-ids"
        )
        what = GROUPS["unknown-ids"][0]
        yield _issue_of_masks(
            "unknown-ids", splits, left, f"{what}: {len(left)}", problem.cure, labels
        )


def _shift(labels: LabelMap, found: np.ndarray, masks: Sequence) -> tuple[int, bool]:
    """1 if the ids of these masks are one too large, -1 if one too small, else 0; and whether
    those of all masks are.

    The ids 1 to N where 0 to N - 1 are declared: 0 never occurs, in no mask at all, or in none
    of several that are shifted where others are not; and each id is declared once 1 is taken off.
    """
    declared = set(labels.file_ids) | set(labels.ignored_ids) - {VOID}
    held = set(np.flatnonzero(sum(ids.pixels for ids in masks)).tolist()) - {VOID}
    for shift in (1, -1):
        absent = min(declared) if shift > 0 else max(declared)
        fits = {i - shift for i in held} <= declared and absent not in held
        if fits and len(held) > 1 and (not found[absent] or len(masks) > 2):
            return shift, not found[absent]
    return 0, False


def _scattered_ids(dataset: Dataset, problems: Sequence[Problem]) -> Iterator[Issue]:
    """Classes that were inferred from masks, and have ids as far apart as grey levels."""
    ids = np.sort(dataset.label_map.file_ids)
    gaps = np.diff(ids)
    inferred = any(problem.rule == "inferred-classes" for problem in problems)
    if inferred and not dataset.colours and len(ids) > 2 and np.median(gaps) > 2:
        if len(set(gaps)) > 1:  # 0, 50, 100, 150 are ids made visible
            yield Issue(
                "colours-as-ids",
                "warning",
                f"the masks' values, {', '.join(map(str, ids[:8]))}, are scattered like the grey "
                "levels of colours",
                "if they were masks of colours once, take those; else declare the ids in a "
                "classes file",
                classes=dataset.label_map.names,
            )


def _looks_like_grey_levels(labels: LabelMap, splits: Splits, masks: Sequence) -> bool:
    """Whether most masks hold regions of unknown ids, which lie far apart."""
    readable = sum(statistics.good + len(statistics.unknown_ids) for statistics in splits.values())
    pixels = sum(ids.pixels for ids in masks)
    held = np.flatnonzero(pixels)
    unknown = np.setdiff1d(held, (*labels.file_ids, *labels.ignored_ids))
    return (
        len(masks) >= readable / 2
        and len(unknown) > 1
        and pixels[unknown].sum() >= 0.3 * pixels.sum()
        and np.median(np.diff(held)) > 2
    )


def _issue_of_masks(rule: str, splits: Splits, keys, message, cure, labels) -> Issue:
    """An error in the masks with unknown ids that `keys` names."""
    keys = [(s, n) for s, split in splits.items() for n in split.unknown_ids if (s, n) in keys]
    samples = tuple(splits[split].samples[number] for split, number in keys)
    known = (*labels.file_ids, *labels.ignored_ids)
    details = []
    for split, number in keys:
        pixels = splits[split].unknown_ids[number].pixels
        unknown = np.setdiff1d(np.flatnonzero(pixels), known)
        share = pixels[unknown].sum() / pixels.sum()
        details.append(f"unknown ids {listed(unknown)} ({share:.2%} of the pixels)")
    return Issue(
        rule, "error", message, cure, tuple(s.mask for s in samples), tuple(details), samples
    )


# --- classes ---


def _missing_classes(labels: LabelMap, splits: Splits, causes: set[str]) -> Iterator[Issue]:
    """Classes that never occur, where that is not mere chance, nor due to one of the `causes`."""
    if causes & {"shifted-ids", "colours-as-ids"}:
        return
    read = {name: split for name, split in splits.items() if split.good}
    pairs = sum(split.good for split in read.values())
    if not pairs:
        return
    images = sum(split.images for split in read.values())
    never = np.flatnonzero(images[: labels.num_classes] == 0)
    shift = _shift_into_void(labels, splits, never)
    if shift and pairs >= 5:
        yield shift
    elif len(never) and pairs >= 2 * labels.num_classes:
        yield Issue(
            "missing-class",
            "warning",
            f"classes that never occur in the {pairs} pairs: {_named(labels, never)}",
            "leave them out of the classes, or see whether the masks have other ids for them",
            classes=tuple(labels.names[i] for i in never),
        )
    limit = CHANCE / labels.num_classes
    for name, split in read.items():
        missing = [
            i
            for i in np.flatnonzero(images[: labels.num_classes])
            if not split.images[i] and _chance(pairs, images[i], split.good) < limit
        ]
        if missing:
            yield Issue(
                "missing-class",
                "warning",
                f"classes that never occur in {name}, and do in other splits: "
                f"{_named(labels, missing)}",
                "divide the pairs into splits anew: a class that training does not see is not "
                "learnt"
                if name == "train"
                else f"divide the pairs into splits anew: {name} does not measure these classes",
                classes=tuple(labels.names[i] for i in missing),
            )


def _shift_into_void(labels: LabelMap, splits: Splits, never: Sequence[int]) -> Issue | None:
    """Ids that are off by one and leave none unknown, since the id beyond the last is void."""
    first, last = min(labels.file_ids), max(labels.file_ids)
    if len(never) != 1 or last - first + 1 != labels.num_classes or labels.num_classes < 3:
        return None
    found = sum(split.file_ids for split in splits.values())
    absent = labels.file_ids[never[0]]
    beyond = {first: last + 1, last: first - 1}.get(absent)
    if beyond is None or beyond not in labels.ignored_ids or beyond == VOID or not found[beyond]:
        return None
    return Issue(
        "shifted-ids",
        "warning",
        f"the masks' ids may be off by one: {absent} ({labels.names[never[0]]}) never occurs, and "
        f"{beyond}, which is void, does",
        f"look at the masks; if so, {'subtract 1 from' if absent == first else 'add 1 to'} every "
        "id but void",
        classes=(labels.names[never[0]],),
    )


def _chance(pairs: int, holders: int, size: int) -> float:
    """How likely a random split of `size` has none of the `holders` of a class."""
    return exp(_log_choices(pairs - size, holders) - _log_choices(pairs, holders))


def _log_choices(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _named(labels: LabelMap, class_ids: Sequence[int]) -> str:
    return listed([labels.names[i] for i in class_ids], 12)


# --- masks that say nothing ---


def _void_masks(splits: Splits) -> Iterator[Issue]:
    """Masks, or whole splits, without any class."""
    for name, split in splits.items():
        void = [n for n, d in enumerate(split.dominance) if d and d.class_id == VOID]
        if not void:
            continue
        samples = tuple(split.samples[number] for number in void)
        files = tuple(sample.mask for sample in samples)
        every = len(void) == split.good
        yield Issue(
            "void-mask",
            "warning",
            f"every mask of {name} is void all over"
            if every
            else f"masks of {name} that are void all over: {len(void)}",
            "do not evaluate on it: its labels are held back, or its ids are not the classes'"
            if every
            else "label them, or remove them with their images: they teach nothing",
            files,
            samples=samples,
        )


def _constant_masks(labels: LabelMap, splits: Splits) -> Iterator[Issue]:
    """Masks of one class, where they stand out from the others.

    Many data sets have such masks (no crack on this wall), and most of theirs others come close.
    They stand out where hardly a mask lies between them and the rest; with two classes, where
    an image without the one is as good as any, they must also be few.
    """
    masks = [
        (dominance, sample)
        for split in splits.values()
        for dominance, sample in zip(split.dominance, split.samples)
        if dominance and dominance.class_id != VOID
    ]
    constant = [(d, sample) for d, sample in masks if d.share > CONSTANT]
    others = len(masks) - len(constant)
    close = sum(MOSTLY < d.share <= CONSTANT for d, _ in masks)
    few = max(1, len(masks) // 20) if labels.num_classes < 3 else len(masks) // 2
    if not constant or len(masks) < 5 or len(constant) > few or close > 0.05 * others:
        return
    samples = tuple(sample for _, sample in constant)
    yield Issue(
        "constant-mask",
        "warning",
        f"masks of almost one class alone, unlike the others: {len(constant)} of {len(masks)}",
        "see whether they are finished",
        tuple(sample.mask for sample in samples),
        tuple(f"{labels.names[d.class_id]} {d.share:.2%}" for d, _ in constant),
        samples,
    )


# --- images that show nothing ---


def _dark_and_constant_images(splits: Splits) -> Iterator[Issue]:
    """Images that are black or of one colour, as those of a range that was misread are."""
    dark, flat = [], []
    for split in splits.values():
        for sample, fingerprint in zip(split.samples, split.fingerprints):
            if fingerprint is None:
                continue
            grey = np.frombuffer(fingerprint.thumbnail, np.uint8)
            if grey.max() <= DARK:
                dark.append(sample)
            elif int(grey.max()) - int(grey.min()) < FLAT:
                flat.append(sample)
    cure = "look at them (dataset show); save images with 8 bits per channel, 0 to 255"
    for rule, what, samples in (
        ("dark-image", "images that are black, or nearly so", dark),
        ("constant-image", "images of one colour, or nearly so", flat),
    ):
        if samples:
            files = tuple(sample.image for sample in samples)
            message = f"{what}: {len(samples)}"
            yield Issue(rule, "warning", message, cure, files, samples=tuple(samples))


# --- sequences ---


def _sequences(splits: Splits, problems: Sequence[Problem]) -> Iterator[Issue]:
    """Frames of one video or place on both sides of a split that was made by the names."""
    made_here = any(p.rule == "missing-split" and "by their names" in p.message for p in problems)
    if not made_here:
        return
    held: dict[str, Counter] = {}
    for name, split in splits.items():
        for sample in split.samples:
            held.setdefault(sequence_of(sample.image.stem), Counter())[name] += 1
    torn = {key: counts for key, counts in held.items() if len(counts) > 1}
    frames = sum(sum(counts.values()) for counts in torn.values())
    telling = len(held) > 1 or any(re.search(SEQUENCE_WORDS, key.lower()) for key in torn)
    if not telling or frames < 0.5 * sum(len(split.samples) for split in splits.values()):
        return
    key, counts = max(torn.items(), key=lambda item: sum(item[1].values()))
    yield Issue(
        "torn-sequence",
        "warning",
        f"the names look like sequences, such as {key}*, of which {counts['train']} frames are "
        f"for training and {counts['val']} for validation: neighbours are alike, and the score "
        "would be of what was learnt by heart",
        "divide by sequence: keras-bisenet dataset split --split-by sequence",
    )
