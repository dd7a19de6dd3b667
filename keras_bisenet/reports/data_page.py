"""What `dataset check` found as one HTML page with pictures.

What is shown is worked out here, how it looks is in `templates/data.html`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from keras_bisenet.data.check.check_result import CheckResult
from keras_bisenet.data.check.issue import Issue
from keras_bisenet.data.check.split_statistics import SplitStatistics
from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.errors import UserError
from keras_bisenet.imaging.drawing import colorize, overlay
from keras_bisenet.imaging.reading import read_image
from keras_bisenet.reports.pages import base64_text, class_keys, hex_colour, jpeg, render

PER_SPLIT = 8
"""So many pairs of a split are shown, at even distances."""

PER_FINDING = 6
"""So many pairs of a finding are shown."""

FILES_SHOWN = 20

PICTURE_WIDTH = 320
"""Wider pictures are shrunk to this many pixels."""

UNKNOWN = (255, 0, 200)
"""The colour of ids that no class has."""

Progress = Callable[[int], None]


def page(report: CheckResult, progress: Progress | None = None) -> str:
    """The report as an HTML document.

    Args:
        report: What was found.
        progress: Called with 1 after each picture; `num_pictures` says how many there are.
    """
    step = progress or (lambda count: None)
    labels, suggestions = report.dataset.label_map, report.suggestions
    void = {"name": "void", "colour": hex_colour((0, 0, 0))}
    unknown = {"name": "ids that no class has", "colour": hex_colour(UNKNOWN)}
    return render(
        "data.html",
        title=f"{report.dataset.name} - keras-bisenet dataset check",
        name=report.dataset.name,
        verdict=_verdict(report),
        findings=[_finding(report.dataset, finding, step) for finding in report.issues],
        splits=[
            {**_tile(name, split), "pictures": _pictures(report.dataset, _spread(split), step)}
            for name, split in report.splits.items()
        ],
        classes=_class_rows(report),
        keys=[*class_keys(labels), void, unknown],
        options=_options(report),
        classes_file=suggestions.classes if suggestions.classes_differ else "",
    )


def num_pictures(report: CheckResult) -> int:
    """How many pairs of files the page shows."""
    return sum(len(finding.samples[:PER_FINDING]) for finding in report.issues) + sum(
        len(_spread(split)) for split in report.splits.values()
    )


# --- what the template shows ---


def _verdict(report: CheckResult) -> str:
    errors = sum(finding.severity == "error" for finding in report.issues)
    if not report.issues:
        return "Nothing is wrong with this data set."
    return f"Errors: {errors}. Warnings: {len(report.issues) - errors}."


def _tile(name: str, split: SplitStatistics) -> dict:
    bad = len(split.samples) - split.good
    sizes = [f"{height}x{width}" for height, width in sorted(split.sizes)]
    shown = sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes"
    return {
        "name": name,
        "title": f"pairs in {name}",
        "value": len(split.samples),
        "about": f"{bad} of them cannot be used; {shown}" if bad else shown,
    }


def _finding(dataset: Dataset, finding: Issue, step: Progress) -> dict:
    details = finding.details or ("",) * len(finding.files)
    return {
        "severity": finding.severity,
        "rule": finding.rule,
        "message": finding.message,
        "cure": finding.cure,
        "pictures": _pictures(dataset, finding.samples[:PER_FINDING], step),
        "num_files": len(finding.files),
        "files": [(str(p), detail) for p, detail in zip(finding.files[:FILES_SHOWN], details)],
    }


def _class_rows(report: CheckResult) -> list[dict]:
    labels = report.dataset.label_map
    shares = [split.shares(labels.num_classes) for split in report.splits.values()]
    largest = max(max(share.max() for share in shares), 1e-9)
    return [
        {
            **key,
            "shares": [
                {"percent": 100 * share[i] / largest, "text": _share(share[i])} for share in shares
            ],
        }
        for i, key in enumerate([*class_keys(labels), {"name": "void", "colour": ""}])
    ]


def _options(report: CheckResult) -> list[str]:
    suggestions = report.suggestions
    options = [f"--size {suggestions.to_json()['size']}"] if suggestions.size else []
    if suggestions.class_weights:
        options.append(f"--class-weights {suggestions.class_weights_option}")
    return options


def _share(share: float) -> str:
    return f"{share:.2%}" if share else "never"


# --- pictures ---


def _spread(split: SplitStatistics) -> Sequence[Sample]:
    """Some samples, from the first to the last."""
    samples = split.samples
    places = np.linspace(0, len(samples) - 1, min(PER_SPLIT, len(samples)))
    return [samples[place] for place in places.round().astype(int)]


def _pictures(dataset: Dataset, samples: Sequence[Sample], step: Progress) -> list[dict]:
    figures = []
    for sample in samples:
        picture = draw_pair(dataset, sample)
        step(1)
        if picture is not None:
            name = "/".join(sample.image.parts[-2:])  # with its folder's
            figures.append({"jpeg": base64_text(jpeg(picture, quality=82)), "name": name})
    return figures


def draw_pair(dataset: Dataset, sample: Sample) -> np.ndarray | None:
    """An image, and beside it what its mask says: in colours over the image where the pair can be
    used, else the mask alone, with ids that no class has in a colour of their own.

    Returns:
        RGB `[height, width, 3]`; None if neither file can be read.
    """
    try:
        image, ids, _ = dataset.read_pair(sample)
        palette = dataset.label_map.palette
        image, ids = _shrink(image), _shrink(ids)
        return _beside(image, overlay(image, ids, palette, alpha=0.6))
    except UserError:
        parts = [_read_or_none(sample.image, dataset.image_range), _bad_mask(dataset, sample)]
    parts = [_shrink(part) for part in parts if part is not None]
    return _beside(*parts) if parts else None


def _bad_mask(dataset: Dataset, sample: Sample) -> np.ndarray | None:
    try:
        raw = dataset.read_raw(sample)
    except UserError:  # colours where ids are expected, or saved as JPEG
        return _read_or_none(sample.mask)
    if raw.ndim == 3:
        return raw
    labels = dataset.label_map
    table = np.full((256, 3), UNKNOWN, np.uint8)
    table[list(labels.ignored_ids)] = 0
    table[list(labels.file_ids)] = colorize(np.arange(labels.num_classes), labels.palette)
    return table[raw]


def _read_or_none(path: Path, white: float | None = None) -> np.ndarray | None:
    try:
        return read_image(path, white)
    except UserError:
        return None


def _shrink(picture: np.ndarray) -> np.ndarray:
    """At most `PICTURE_WIDTH` wide, and as tall; of a mask, single pixels are kept as they are."""
    scale = PICTURE_WIDTH / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = tuple(max(1, round(side * scale)) for side in picture.shape[1::-1])
    how = Image.Resampling.LANCZOS if picture.ndim == 3 else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize(size, how))


def _beside(*pictures: np.ndarray) -> np.ndarray:
    height = max(picture.shape[0] for picture in pictures)
    sheet = np.full((height, sum(p.shape[1] + 4 for p in pictures) - 4, 3), 255, np.uint8)
    x = 0
    for picture in pictures:
        sheet[: picture.shape[0], x : x + picture.shape[1]] = picture
        x += picture.shape[1] + 4
    return sheet
