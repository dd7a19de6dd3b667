"""The training loop that float and quantization-aware training share.

How steps are taken is another's affair (`keras_bisenet.training.steps`), so the same loop drives
Keras 3 and tf_keras, on every backend. What survives an interruption, and in which order it is
written:

1. `checkpoints/epoch-N.npz`: the state after epoch N
2. `model.keras` (or what `save_best` writes), where epoch N is validated and the best so far
3. row N of `metrics.csv`, where epoch N is validated
4. the checkpoint before is removed

Whenever the process dies, there is the checkpoint of the newest row of `metrics.csv` or of a later
epoch that asks for no row, and the run goes on from the newest of these. Views of the data depend
on the seed and their number alone, so it goes on to the same result.

Of several processes that train together each runs this loop, on its share of every batch and of the
validation images; process 0 alone writes and prints.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from keras_bisenet.console import log
from keras_bisenet.data.dataset import Dataset
from keras_bisenet.data.training_samples import TrainingSamples
from keras_bisenet.errors import UserError
from keras_bisenet.files import replacing
from keras_bisenet.imaging.drawing import contact_sheet, overlay
from keras_bisenet.progress import progress_bar
from keras_bisenet.training import distributed
from keras_bisenet.training.checkpoint import load_state, save_state
from keras_bisenet.training.curves import Curves
from keras_bisenet.training.evaluation import score
from keras_bisenet.training.metrics import Scores
from keras_bisenet.training.run import Run, best_row, is_stale, rank_of
from keras_bisenet.training.steps import StepByStep

CHECKPOINT = re.compile(r"epoch-(\d+)\.npz")

NUM_SAMPLES = 4
"""Validation images drawn after each validation."""


@dataclass
class TrainingLoop:
    """Trains a compiled model for a number of epochs, validating, logging and saving.

    Args:
        run: The run directory.
        model: A compiled model that learns from images and labels as the pipeline gives them.
        pipeline: Its batches.
        dataset: Where validation images come from, the split `val`.
        segment: From a uint8 image to uint8 class ids, by the model as it stands.
        save_best: Writes the model, called when validation mIoU has risen.
        learning_rate: From a number of batches to the learning rate, for the log.
        epochs: int. Epochs in all.
        validate_every: int. Epochs between validations; the last epoch is always validated.
        early_stop: int or None. Stops after so many epochs without a better mIoU.
        evaluating: Wraps validation: swaps averaged weights in and out, where there are any.
        steps: From the model, its batches and the epochs trained before to what takes the steps.
    """

    run: Run
    model: object
    pipeline: TrainingSamples
    dataset: Dataset
    segment: Callable[[np.ndarray], np.ndarray]
    save_best: Callable[[], None]
    learning_rate: Callable[[float], float]
    epochs: int
    validate_every: int = 1
    early_stop: int | None = None
    evaluating: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext
    steps: Callable = StepByStep

    def __call__(self) -> list[dict[str, float]]:
        """Trains, from the newest checkpoint if there is one.

        Returns:
            The rows of `metrics.csv`.

        Raises:
            UserError: When a file of the data is bad, or the loss is no number any more.
        """
        rows = self.run.read_metrics()
        epoch = self._newest_state(rows)
        if epoch:
            load_state(self._checkpoint(epoch), self.model)
        steps = self.steps(self.model, self.pipeline, epoch)
        is_main = distributed.is_main()
        curves = Curves(self.run.logs) if is_main else None
        while epoch < self.epochs and not is_stale(rows, self.early_stop):
            epoch += 1
            loss, speed = self._train_epoch(epoch, steps)
            steps.bring_back()
            if is_main:
                save_state(self._checkpoint(epoch), self.model)
            if not self._is_validated(epoch):
                if is_main:
                    self._remove_checkpoints_but(epoch)
                    log.info(f"epoch {epoch}/{self.epochs}  loss {loss:.4f}  {speed:.2f} images/s")
                continue
            with self.evaluating():
                scores = self._validate(epoch)
                is_best = not rows or rank_of(scores.miou) > rank_of(best_row(rows)["val_miou"])
                rows.append(self._row(epoch, loss, speed, scores))
                if is_main:
                    self._write(epoch, rows, scores, is_best, curves)
        return rows

    def _newest_state(self, rows: list[dict[str, float]]) -> int:
        """The epoch to go on from, or 0. One that was to be validated and has no row is not it."""
        with_row = int(rows[-1]["epoch"]) if rows else 0
        later = [n for n in self._saved() if n > with_row and not self._is_validated(n)]
        return max(later, default=with_row)

    def _is_validated(self, epoch: int) -> bool:
        return epoch % self.validate_every == 0 or epoch == self.epochs

    def _validate(self, epoch: int) -> Scores:
        """Scores the split `val`, each process a part of it."""
        process, num_processes = distributed.share()
        samples = self.dataset.split("val")[process::num_processes]
        with progress_bar(f"validating {epoch}/{self.epochs}", len(samples)) as bar:
            scores = score(self.segment, self.dataset, samples, bar)
        return Scores(scores.names, distributed.gather(scores.confusion).sum(axis=0))

    def _write(self, epoch: int, rows, scores: Scores, is_best: bool, curves) -> None:
        """Writes what epoch `epoch` gave, and says it."""
        if is_best:
            self.save_best()
        validation = self.dataset.split("val")
        # Spread over the split: neighbours in a video look alike.
        sheet = self._draw_samples(validation[:: -(-len(validation) // NUM_SAMPLES)])
        curves.write(rows[-1], scores, sheet)
        if is_best:
            with replacing(self.run.samples / "best.png") as temporary:
                Image.fromarray(sheet).save(temporary)
        self.run.write_metrics(rows)
        self._remove_checkpoints_but(epoch)
        log.info(
            f"epoch {epoch}/{self.epochs}  loss {rows[-1]['loss']:.4f}  "
            f"val mIoU {scores.miou:.4f}{' (best)' if is_best else ''}  "
            f"{rows[-1]['images_per_second']:.2f} images/s"
        )

    def _train_epoch(self, epoch: int, steps) -> tuple[float, float]:
        """One epoch; returns the mean loss and images per second."""
        losses = []
        started = time.perf_counter()
        best = self.run.best_miou()
        with progress_bar(f"epoch {epoch}/{self.epochs}", self.pipeline.steps_per_epoch) as bar:
            for step, loss in enumerate(steps.epoch(epoch), 1):
                losses.append(loss)
                if not np.isfinite(loss):
                    raise UserError(
                        f"{self.run.path}: the loss became {loss} in epoch {epoch}: "
                        "train again with a smaller --learning-rate"
                    )
                speed = step * self.pipeline.batch_size / (time.perf_counter() - started)
                miou = "" if best is None else f"  mIoU {best:.4f}"
                bar(1, f"loss {np.mean(losses):.4f}{miou}  {speed:.2f} images/s")
        return float(np.mean(losses)), speed

    def _row(self, epoch: int, loss: float, speed: float, scores: Scores) -> dict[str, float]:
        last_step = epoch * self.pipeline.steps_per_epoch - 1
        return {
            "epoch": epoch,
            "loss": loss,
            "val_miou": scores.miou,
            "val_pixel_accuracy": scores.pixel_accuracy,
            "learning_rate": float(self.learning_rate(last_step)),
            "images_per_second": round(speed, 3),
        }

    def _draw_samples(self, samples) -> np.ndarray:
        labels = self.dataset.label_map
        rows = []
        for sample in samples:
            image, truth = self.dataset.read(sample)
            answers = (truth, self.segment(image))
            rows.append([image, *(overlay(image, ids, labels.palette) for ids in answers)])
        titles = ("image", "truth", "prediction")
        return contact_sheet(rows, titles, labels.names, labels.palette)

    def _checkpoint(self, epoch: int) -> Path:
        return self.run.checkpoints / f"epoch-{epoch:04d}.npz"

    def _saved(self) -> list[int]:
        """The epochs that have a checkpoint."""
        found = (CHECKPOINT.fullmatch(path.name) for path in self.run.checkpoints.glob("*"))
        return [int(match[1]) for match in found if match]

    def _remove_checkpoints_but(self, epoch: int) -> None:
        for other in self._saved():
            if other != epoch:
                self._checkpoint(other).unlink()
