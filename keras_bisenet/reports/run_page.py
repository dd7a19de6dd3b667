"""A run as one HTML page: what it was made of, how it learnt, where it is right and where wrong.

What is shown is worked out here, how it looks is in `templates/run.html` and `run_parts.html`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from keras_bisenet.label_map import LabelMap
from keras_bisenet.reports.pages import (
    base64_text,
    class_key,
    class_keys,
    hex_colour,
    part,
    render,
)
from keras_bisenet.training.examination import (
    ERROR_COLOUR,
    Examination,
    ImageResult,
    largest_confusion,
    ranked_classes,
)
from keras_bisenet.training.metrics import Scores
from keras_bisenet.training.run import Run
from keras_bisenet.version import __version__

PARTS = "run_parts.html"

CURVES = (
    ("loss", "training loss"),
    ("val_miou", "val mIoU"),
    ("val_pixel_accuracy", "val pixel accuracy"),
    ("learning_rate", "learning rate"),
)
"""The columns of `metrics.csv` that are drawn, and their titles."""


def page(run: Run, found: Examination) -> str:
    """The run's report as an HTML document.

    Args:
        run: A run with at least one row in `metrics.csv`.
        found: How its model did on a split.
    """
    config, quantization, labels = run.config, run.quantization, run.label_map
    rows = run.read_metrics()
    kept = max(rows, key=lambda row: row["val_miou"])["epoch"]
    kind = f"int8 for {quantization.target}" if quantization else "float"
    name = run.path.resolve().name
    configs = {"Training": config, "Quantization": quantization}
    return render(
        "run.html",
        title=f"{name} - keras-bisenet report",
        name=name,
        facts=(config.model, config.dataset, "{}x{}".format(*config.size), kind),
        headline=headline(found),
        kept=f"{kept:g}",
        curves=_curves(rows, kept),
        metrics=metrics_table(rows),
        classes=class_table(found.scores, labels),
        matrix=matrix_table(found.scores, labels),
        error_colour=hex_colour(ERROR_COLOUR),
        keys=class_keys(labels),
        images=[
            (title, [_image(result) for result in results])
            for title, results in (("Worst", found.worst), ("Best", found.best))
        ],
        configurations=[configuration_table(t, config) for t, config in configs.items() if config],
        label_map=label_map_table(labels),
        path=str(run.path),
        version=__version__,
    )


def headline(found: Examination) -> str:
    """The scores that one looks for first."""
    scores, order = found.scores, ranked_classes(found.scores)
    tiles = [
        ("mIoU", _score(scores.miou), f"{found.split}, {found.num_images} images"),
        ("pixel accuracy", _score(scores.pixel_accuracy), f"{scores.confusion.sum():,} pixels"),
    ]
    for title, ids in (("best class", order[:1]), ("worst class", order[-1:])):
        tiles += [(title, _score(scores.iou[i]), scores.names[i]) for i in ids]
    for title, results in (("best image", found.best), ("worst image", found.worst)):
        tiles += [(title, _score(one.scores.miou), one.name) for one in results[:1]]
    entries = [{"title": t, "value": value, "about": about} for t, value, about in tiles]
    return part(PARTS, "headline", entries=entries)


def _curves(rows: Sequence[dict[str, float]], kept: float) -> list[str]:
    figures = []
    for column, title in CURVES:
        points = [(row["epoch"], row[column]) for row in rows if math.isfinite(row[column])]
        if points:
            figures.append(curve(title, points, kept))
    return figures


LEFT, TOP, RIGHT, BOTTOM = 52, 10, 350, 170
"""Where a curve's axes lie in its 360x200 units."""


def curve(title: str, points: Sequence[tuple[float, float]], kept: float) -> str:
    """A curve over epochs as an HTML figure with an SVG.

    Args:
        title: What the values are.
        points: (epoch, value) in order; at least one, all finite.
        kept: The epoch that a ring marks.
    """
    epochs, values = zip(*points)
    ticks = nice_ticks(min(values), max(values))
    x_range = (epochs[0], epochs[-1]) if len(points) > 1 else (epochs[0] - 1, epochs[0] + 1)

    def x(epoch: float) -> float:
        return LEFT + (epoch - x_range[0]) / (x_range[1] - x_range[0]) * (RIGHT - LEFT)

    def y(value: float) -> float:
        return BOTTOM - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (BOTTOM - TOP)

    # Many dots would hide the line: unseen, they still tell their values to the mouse.
    dot = "dot" if len(points) <= 40 else "spot"
    dots = []
    for epoch, value in sorted(points, key=lambda point: point[0] == kept):  # the ring on top
        kind, radius = ("ring", 5) if epoch == kept else (dot, 2.5)
        about = f"epoch {epoch:g}: {value:.4g}"
        dots.append(
            {"kind": kind, "x": f"{x(epoch):.1f}", "y": f"{y(value):.1f}", "radius": radius}
            | {"about": about}
        )
    at_kept = dict(points).get(kept)
    first, last = (f"{value:.4g} in epoch {epoch:g}" for epoch, value in (points[0], points[-1]))
    return part(
        PARTS,
        "curve",
        title=title,
        shown="" if at_kept is None else f"{at_kept:.4g}",
        label=f"{title}: {first}, {last}",
        axes={"left": LEFT, "right": RIGHT, "bottom": BOTTOM},
        ticks={
            "y": [
                {"at": f"{y(tick):.1f}", "text_at": f"{y(tick) + 4:.1f}", "text": f"{tick:g}"}
                for tick in ticks
            ],
            "x": [
                {"at": f"{x(tick):.1f}", "text": f"{tick:g}"}
                for tick in nice_ticks(epochs[0], epochs[-1], 5, smallest_step=1)
                if epochs[0] <= tick <= epochs[-1]
            ],
        },
        dots=dots,
        line=" ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in points),
    )


def nice_ticks(low: float, high: float, count: int = 4, smallest_step: float = 0.0) -> list[float]:
    """Round numbers that span `low` to `high`, at steps of 1, 2 or 5 times a power of ten.

    Args:
        low: The smallest value.
        high: The largest value.
        count: About how many steps there shall be; one more or less may come out.
        smallest_step: Steps are no smaller than this.

    Returns:
        Two or more numbers, ascending, the first at most `low` and the last at least `high`.
    """
    if low == high:
        low, high = (low - 1, high + 1) if smallest_step or not low else sorted((0, 2 * low))
    rough = max((high - low) / count, smallest_step)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    # The tolerance keeps 0.3 / 0.1 from becoming one step more than 3.
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


def metrics_table(rows: Sequence[dict[str, float]]) -> str:
    """The rows of `metrics.csv` as a table."""
    values = [[f"{value:g}" for value in row.values()] for row in rows]
    return part(PARTS, "metrics_table", columns=list(rows[0]), rows=values)


def class_table(scores: Scores, labels: LabelMap) -> str:
    """IoU per class as a table with bars, the best class first, those that never occur last."""
    pixels = scores.confusion.sum(axis=1)
    shares = pixels / max(pixels.sum(), 1)
    order = ranked_classes(scores)
    order += [i for i in range(labels.num_classes) if i not in order]
    rows = [
        {
            **class_key(labels, i),
            "iou": _score(scores.iou[i]),
            "percent": 0 if np.isnan(scores.iou[i]) else 100 * scores.iou[i],
            "share": f"{100 * shares[i]:.2f}%",
        }
        for i in order
    ]
    return part(PARTS, "class_table", rows=rows)


def matrix_table(scores: Scores, labels: LabelMap) -> str:
    """The confusion matrix as a table; each row is where a true class's pixels went, in percent.

    Cells below half a percent are left without a number; so is the row of a class without pixels.
    """
    totals = scores.confusion.sum(axis=1, keepdims=True)
    shares = scores.confusion / np.maximum(totals, 1)
    keys = class_keys(labels)
    rows = [
        {
            **row,
            "cells": [
                _matrix_cell(share, f"{row['name']}, seen as {column['name']}")
                for share, column in zip(shares[i], keys)
            ],
        }
        for i, row in enumerate(keys)
    ]
    return part(PARTS, "matrix_table", classes=keys, rows=rows)


def _matrix_cell(share: float, about: str) -> dict | None:
    if share < 0.0005:
        return None
    return {
        # Above this share white letters stand out from the cell's colour better than black ones.
        "is_high": share > 0.66,
        "share": f"{share:.3f}",
        "about": f"{about}: {share:.1%}",
        "text": f"{100 * share:.0f}" if share >= 0.005 else "",
    }


def _image(result: ImageResult) -> dict:
    scores, confusion = result.scores, largest_confusion(result.scores)
    facts = [f"pixel accuracy {_score(scores.pixel_accuracy)}"]
    if confusion:
        true, predicted, share = confusion
        facts.append(f"{share:.1%} of the pixels: {true} seen as {predicted}")
    return {
        "name": result.name,
        "miou": _score(scores.miou),
        "facts": facts,
        "pictures": {kind: base64_text(data) for kind, data in result.pictures.items()},
    }


def configuration_table(title: str, config) -> str:
    """A configuration's options and values, those that differ from the defaults in bold."""
    rows = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        is_own = value != _default(field)
        rows.append({"name": field.name, "value": _value(field.name, value), "is_own": is_own})
    return part(PARTS, "configuration_table", title=title, rows=rows)


def _default(field: dataclasses.Field):
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _value(name: str, value) -> str:
    if name == "size":
        return "{}x{}".format(*value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(key, item)}" for key, item in value.items()) or "none"
    if isinstance(value, tuple):
        return ", ".join(_value("", item) for item in value)
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def label_map_table(labels: LabelMap) -> str:
    """The classes: id, name and colour, and the id that stands for each in mask files."""
    rows = [
        {**key, "id": i, "file_id": labels.file_ids[i]} for i, key in enumerate(class_keys(labels))
    ]
    ignored = ", ".join(str(i) for i in labels.ignored_ids)
    return part(PARTS, "label_map_table", rows=rows, ignored=ignored)


def _score(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"
