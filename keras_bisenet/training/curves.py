"""What TensorBoard shows of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_bisenet.console import log
from keras_bisenet.training.metrics import Scores


class Curves:
    """Writes a run's curves and pictures for TensorBoard; nothing where there is no TensorFlow."""

    def __init__(self, directory: Path):
        try:
            import tensorflow as tf
        except ModuleNotFoundError:
            log.info("no curves for TensorBoard: TensorFlow is not installed; see metrics.csv")
            self._writer = None
            return
        self._summary = tf.summary
        self._writer = tf.summary.create_file_writer(str(directory))

    def write(self, row: dict[str, float], scores: Scores, sheet: np.ndarray) -> None:
        """Writes what a validated epoch gave.

        Args:
            row: Of `metrics.csv`.
            scores: Of the validation split.
            sheet: Pictures of some of it, uint8 `[height, width, 3]`.
        """
        if not self._writer:
            return
        epoch = int(row["epoch"])
        with self._writer.as_default():
            for name, value in row.items():
                if name != "epoch":
                    self._summary.scalar(name, value, epoch)
            for name, value in zip(scores.names, scores.iou):
                self._summary.scalar(f"iou/{name}", value, epoch)
            self._summary.image("samples", sheet[None], epoch)
        self._writer.flush()
