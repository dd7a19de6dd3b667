"""Images that are in more than one split, so that a score is of what was learnt by heart.

The same pixels, however they are saved, have one digest. Pictures that were saved anew as JPEG, or
at another size, are found by their thumbnails: the fine structure of two (what is left of 32x32
grey values when the mean of each 4x4 is taken off) correlates to 0.996 or more, and grey values and
colour agree. Neighbouring frames of a video that moves stay below that: in CamVid 0.990 at most
between frames 1/15 s apart, and 0.76 between two splits.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from keras_bisenet.data.check.issue import Issue
from keras_bisenet.data.check.sample_statistics import THUMBNAIL, Fingerprint
from keras_bisenet.data.check.split_statistics import SplitStatistics
from keras_bisenet.data.dataset import Sample

CORRELATION = 0.996
GREY_TOLERANCE = 24  # of each of the 32x32 values
COLOUR_TOLERANCE = 10  # of each of the 8x8 colours
CHUNK = 2048

CURE = "keep each image in one split alone, or scores are too high"


def find_leaks(splits: dict[str, SplitStatistics]) -> Iterator[Issue]:
    """An error for the images that several splits have, a warning for those that look the same."""
    copies = list(_copies(splits))
    if copies:
        yield _issue("leaking-split", "error", "images that are in another split too", "is", copies)
    known = {id(sample) for sample, _ in copies}
    similar = [pair for pair in _similar(splits) if id(pair[0]) not in known]
    if similar:
        yield _issue(
            "similar-images",
            "warning",
            "images that look like one of another split, saved anew",
            "looks like",
            similar,
        )


def _issue(rule: str, severity: str, message: str, verb: str, pairs: Sequence) -> Issue:
    return Issue(
        rule,
        severity,
        f"{message}: {len(pairs)}",
        CURE,
        tuple(sample.image for sample, _ in pairs),
        tuple(f"{verb} {other.image}" for _, other in pairs),
        tuple(itertools.chain.from_iterable(pairs)),
    )


def _copies(splits: dict[str, SplitStatistics]) -> Iterator[tuple[Sample, Sample]]:
    """(sample, one of an earlier split with the same pixels), at most one for each sample."""
    seen: dict[bytes, Sample] = {}
    for statistics in splits.values():
        own = {}
        for sample, fingerprint in zip(statistics.samples, statistics.fingerprints):
            if fingerprint is None or len(set(fingerprint.thumbnail)) == 1:  # a black frame
                continue
            if fingerprint.digest in seen:
                yield sample, seen[fingerprint.digest]
            own[fingerprint.digest] = sample
        seen = {**own, **seen}


def _similar(splits: dict[str, SplitStatistics]) -> Iterator[tuple[Sample, Sample]]:
    """(sample, one of an earlier split that looks the same), at most one for each sample."""
    found: dict[int, tuple[Sample, Sample]] = {}
    for earlier, later in itertools.combinations(splits.values(), 2):
        for first, second in itertools.product(_chunks(earlier), _chunks(later)):
            alike = _structure(first) @ _structure(second).T >= CORRELATION
            for i, j in np.argwhere(alike):
                (sample, one), (other, two) = second[j], first[i]
                if _same_grey_and_colour(one, two):
                    found.setdefault(id(sample), (sample, other))
    yield from found.values()


def _chunks(statistics: SplitStatistics) -> Iterator[list[tuple[Sample, Fingerprint]]]:
    pairs = [(s, f) for s, f in zip(statistics.samples, statistics.fingerprints) if f]
    return (pairs[start : start + CHUNK] for start in range(0, len(pairs), CHUNK))


def _structure(chunk: Sequence[tuple[Sample, Fingerprint]]) -> np.ndarray:
    """Rows of length 1, whose products are correlations; 0 for images without structure."""
    values = b"".join(fingerprint.thumbnail for _, fingerprint in chunk)
    cells = THUMBNAIL // 4
    grey = np.frombuffer(values, np.uint8).astype(np.float32).reshape(-1, cells, 4, cells, 4)
    fine = (grey - grey.mean(axis=(2, 4), keepdims=True)).reshape(len(chunk), -1)
    lengths = np.linalg.norm(fine, axis=1, keepdims=True)
    return np.where(lengths > THUMBNAIL, fine / np.maximum(lengths, 1), 0)


def _same_grey_and_colour(one: Fingerprint, two: Fingerprint) -> bool:
    return (
        _difference(one.thumbnail, two.thumbnail) <= GREY_TOLERANCE
        and _difference(one.colours, two.colours) <= COLOUR_TOLERANCE
    )


def _difference(one: bytes, two: bytes) -> int:
    values = (np.frombuffer(each, np.uint8).astype(int) for each in (one, two))
    return np.abs(np.subtract(*values)).max()
