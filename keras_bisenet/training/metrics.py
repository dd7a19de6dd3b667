"""Scores from one confusion matrix over a whole split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_bisenet.label_map import VOID


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts pixels by true class (rows) and predicted class (columns), void left out.

    Args:
        truth: uint8 class ids of any shape, `VOID` where no pixel counts.
        predicted: uint8 class ids of the same shape.
        num_classes: int.

    Returns:
        int64 `[num_classes, num_classes]`.

    Raises:
        ValueError: When a prediction is no class, which would count as another.
    """
    counted = truth != VOID
    if predicted[counted].max(initial=0) >= num_classes:
        raise ValueError(f"predictions of {num_classes} classes hold {predicted[counted].max()}")
    pairs = truth[counted].astype(np.intp) * num_classes + predicted[counted]
    counts = np.bincount(pairs, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


@dataclass(frozen=True)
class Scores:
    """What a split's confusion matrix says. All shares lie between 0 and 1.

    Args:
        names: Class names.
        confusion: int64 `[N, N]`; rows are the truth, columns the prediction.
    """

    names: tuple[str, ...]
    confusion: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union per class, float64 `[N]`; NaN where a class never occurs,
        neither in the truth nor in the prediction."""
        hits = np.diag(self.confusion).astype(np.float64)
        union = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) - hits
        return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur; NaN when no pixel counts."""
        iou = self.iou
        return float(np.mean(iou[~np.isnan(iou)])) if not np.isnan(iou).all() else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        """Share of pixels whose class is right; NaN when no pixel counts."""
        total = self.confusion.sum()
        return float(np.trace(self.confusion) / total) if total else float("nan")

    def to_json(self) -> dict:
        """The scores as JSON has them: null where a class never occurs."""
        return {
            "miou": _or_none(self.miou),
            "pixel_accuracy": _or_none(self.pixel_accuracy),
            "per_class": {name: _or_none(v) for name, v in zip(self.names, self.iou)},
            "confusion_matrix": self.confusion.tolist(),
        }


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
