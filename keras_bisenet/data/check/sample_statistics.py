"""What `dataset check` keeps of a pair of files: a few hundred bytes, whatever its size."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.data.problems import Problem, SampleError
from keras_bisenet.errors import UserError

THUMBNAIL = 32
"""Sides of the grey thumbnails that similar images are found by."""

COLOURS = 8
"""Sides of the thumbnails in colour that tell similar images from those that are alike."""

MOST_FOUND = 65  # more than `suggestions.MOST_COLOURS`
"""So many of the unknown colours of a mask are kept."""


class Fingerprint(NamedTuple):
    """What an image is recognized by.

    Attributes:
        digest: Of its size and pixels.
        thumbnail: Grey values, `THUMBNAIL` by `THUMBNAIL`.
        colours: Red, green and blue, `COLOURS` by `COLOURS`.
    """

    digest: bytes
    thumbnail: bytes
    colours: bytes


class UnknownIds(NamedTuple):
    """A mask with ids that no class has.

    Attributes:
        pixels: Pixels by id in the file, int64 `[256]`.
        solid: The share of the pixels with unknown ids that lie amid their like: most of those of
            a region, none of those that smoothing left along edges.
    """

    pixels: np.ndarray
    solid: float


class SampleStatistics(NamedTuple):
    """What is known of a pair.

    Attributes:
        problems: What is wrong with it.
        size: `(height, width)` of the image; None if it cannot be read.
        fingerprint: Of the image; None likewise.
        pixels: Pixels by class id, int64 `[256]`, with `VOID`; None if the pair cannot be used.
        file_ids: Pixels by id in the mask file, int64 `[256]`; None for masks of colours, and
            where the mask has no ids.
        unknown_ids: Of a mask with unknown ids, else None.
        found: Unknown colours that the mask holds.
    """

    problems: tuple[Problem, ...]
    size: tuple[int, int] | None
    fingerprint: Fingerprint | None
    pixels: np.ndarray | None = None
    file_ids: np.ndarray | None = None
    unknown_ids: UnknownIds | None = None
    found: tuple = ()


def read_statistics(dataset: Dataset, sample: Sample) -> SampleStatistics:
    """Reads a pair of files; what is wrong with it is among the statistics."""
    try:
        pair = dataset.read_pair(sample)
    except SampleError as error:
        return _statistics_of_damage(dataset, sample, error)
    except UserError as error:  # of a packed data set
        cure = "pack the data set again, or copy all of it"
        problem = Problem("unreadable-record", "error", str(error), (sample.image,), cure)
        return SampleStatistics((problem,), size=None, fingerprint=None)
    pixels = np.bincount(pair.class_ids.reshape(-1), minlength=256)
    return SampleStatistics(
        problems=pair.warnings,
        size=pair.image.shape[:2],
        fingerprint=fingerprint(pair.image),
        pixels=pixels,
        file_ids=None if dataset.colours else _file_ids(dataset, sample, pixels),
    )


def fingerprint(image: np.ndarray) -> Fingerprint:
    """What an image, uint8 `[height, width, 3]`, is recognized by."""
    digest = hashlib.sha256(np.array(image.shape, np.int64))
    digest.update(np.ascontiguousarray(image))
    small = Image.fromarray(image).resize(
        (THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=3.0
    )
    return Fingerprint(
        digest=digest.digest()[:16],
        thumbnail=small.convert("L").tobytes(),
        colours=small.resize((COLOURS, COLOURS), Image.Resampling.BOX).tobytes(),
    )


def _statistics_of_damage(dataset: Dataset, sample: Sample, error: SampleError) -> SampleStatistics:
    problems = [error.problem]
    image = unknown = file_ids = None
    try:
        image = dataset.read_image(sample)
    except UserError:
        try:
            dataset.read_raw(sample)
        except SampleError as second:
            problems.append(second.problem)
    if error.problem.rule == "unknown-ids":
        unknown = _unknown_ids(dataset, sample)
        file_ids = unknown and unknown.pixels
    return SampleStatistics(
        problems=tuple(problems),
        size=None if image is None else image.shape[:2],
        fingerprint=None if image is None else fingerprint(image),
        file_ids=file_ids,
        unknown_ids=unknown,
        found=error.found[:MOST_FOUND] if error.problem.rule != "unknown-ids" else (),
    )


def _file_ids(dataset: Dataset, sample: Sample, pixels: np.ndarray) -> np.ndarray:
    """Pixels by id in the file, from those by class; only for void that takes another look."""
    labels = dataset.label_map
    file_ids = np.zeros(256, np.int64)
    file_ids[list(labels.file_ids)] = pixels[: labels.num_classes]
    void = list(labels.ignored_ids)
    if pixels[-1] and len(void) > 1 and not dataset.soft_edges:
        raw = np.bincount(dataset.read_raw(sample).reshape(-1), minlength=256)
        file_ids[void] = raw[void]
    elif pixels[-1] and void:
        file_ids[void[0]] = pixels[-1]
    return file_ids


def _unknown_ids(dataset: Dataset, sample: Sample) -> UnknownIds | None:
    try:
        raw = dataset.read_raw(sample)
    except SampleError:  # ids of more than 8 bits
        return None
    labels = dataset.label_map
    unknown = ~np.isin(raw, (*labels.file_ids, *labels.ignored_ids))
    alike = unknown.copy()
    alike[1:] &= raw[1:] == raw[:-1]
    alike[:-1] &= raw[:-1] == raw[1:]
    alike[:, 1:] &= raw[:, 1:] == raw[:, :-1]
    alike[:, :-1] &= raw[:, :-1] == raw[:, 1:]
    return UnknownIds(
        pixels=np.bincount(raw.reshape(-1), minlength=256),
        solid=np.count_nonzero(alike) / max(np.count_nonzero(unknown), 1),
    )
