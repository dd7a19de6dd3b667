"""The run directory: everything that a result came from.

    RUN/config.yaml          the training configuration
    RUN/label_map.json       class names, colours and mask ids
    RUN/metrics.csv          one row per validated epoch
    RUN/model.keras          the best model by validation mIoU, without boosters
    RUN/checkpoints/         the state that --resume goes on from
    RUN/logs/                TensorBoard
    RUN/samples/             overlays of validation images
    RUN/soft/                what the teacher says of training images, where there is one
    RUN/extra-soft/          and of extra images
    RUN/leave_out.txt        training images that are not trained on, where --suggested found some

A quantized run keeps the float model.keras that it started from, and has beside it

    RUN/quantization.yaml    how it was quantized
    RUN/model.weights.h5     QAT: the weights with their learned ranges, best by validation mIoU
    RUN/calibration.npz      PTQ: images for the converter
"""

from __future__ import annotations

import csv
import dataclasses
import filecmp
import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from keras_bisenet.data import load_dataset
from keras_bisenet.data.class_agreement import with_classes_of
from keras_bisenet.data.dataset import Dataset
from keras_bisenet.data.splits import trained_on_val
from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.files import check_output_folder, write_csv, write_json, write_text
from keras_bisenet.label_map import LabelMap
from keras_bisenet.training.config import (
    QuantizationConfig,
    TrainingConfig,
    make_config,
    read_config,
    write_config,
)

BEFORE = {"precision": "float32", "loss_stride": 1, "full_boosters": True}
"""What runs did whose configuration does not say, since it was written before there was a choice:
they go on as they began."""


def configured_dataset(config: TrainingConfig) -> Dataset:
    """The data set that a configuration names, with the splits that it asks for.

    Raises:
        UserError: When it is not there.
        UsageError: When nothing is held out or left.
    """
    dataset = load_dataset(config.dataset, config.data_dir, hold_out=config.hold_out)
    return trained_on_val(dataset) if config.train_on_val else dataset


def left_out_as(image: Path, config: TrainingConfig) -> str:
    """What stands in `leave_out.txt` for an image: its path below the data set's folder, from
    `./` on, so that it holds where the data have moved."""
    return f"./{Path(os.path.relpath(image, config.data_dir)).as_posix()}"


class Run:
    """A run directory at `path`, existing or to be made.

    Args:
        path: Where it is.
        any_classes: Takes a data set's classes by their numbers where their names are others.
    """

    def __init__(self, path, any_classes: bool = False):
        self.path = Path(path)
        self.any_classes = any_classes
        self.config_file = self.path / "config.yaml"
        self.label_map_file = self.path / "label_map.json"
        self.quantization_file = self.path / "quantization.yaml"
        self.metrics_file = self.path / "metrics.csv"
        self.model_file = self.path / "model.keras"
        self.quantized_weights_file = self.path / "model.weights.h5"
        self.calibration_file = self.path / "calibration.npz"
        self.checkpoints = self.path / "checkpoints"
        self.logs = self.path / "logs"
        self.samples = self.path / "samples"
        self.soft = self.path / "soft"
        self.extra_soft = self.path / "extra-soft"
        self.leave_out_file = self.path / "leave_out.txt"

    @classmethod
    def open(cls, path, any_classes: bool = False) -> Run:
        """An existing run.

        Raises:
            UserError: When there is none at `path`.
        """
        run = cls(path, any_classes)
        if not run.config_file.is_file():
            raise UserError(f"{path}: no run directory (it has no config.yaml): train one first")
        return run

    @classmethod
    def create(
        cls,
        path,
        config: TrainingConfig,
        label_map: LabelMap,
        quantization: QuantizationConfig | None = None,
        leave_out: Sequence[Path] = (),
    ) -> Run:
        """A new run with its configuration written, and the images that it does not train on.

        What a run left that was stopped before its first checkpoint makes room for it.

        Raises:
            UsageError: When something else is at `path` already, or nothing can be made there.
        """
        run = cls(path)
        run.check_place()
        if run.is_left_over:
            shutil.rmtree(run.path)
        write_json(run.label_map_file, label_map.to_json())
        if quantization:
            write_config(run.quantization_file, quantization)
        if leave_out:
            lines = [f"{left_out_as(image, config)}\n" for image in leave_out]
            write_text(run.leave_out_file, "".join(lines))
        write_config(run.config_file, config)
        return run

    def check_place(self, can_resume: bool = True) -> None:
        """Finds out, before anything is written, whether a new run can be made here.

        Args:
            can_resume: Whether what asks for it may go on with a run that is here.

        Raises:
            UsageError: When something is here already, or nothing can be made here.
        """
        if self.is_left_over:
            return
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            resume = ", or --resume it" if can_resume else ""
            raise UsageError(
                f"{self.path}: something is here already: choose another --run{resume}"
            )
        check_output_folder(self.path, "--run")

    @property
    def is_left_over(self) -> bool:
        """Whether this is a run that was stopped before its first checkpoint, and no more."""
        if not self.path.is_dir() or self.metrics_file.exists():
            return False
        names = {path.name for path in self.path.iterdir()}
        own = {self.config_file, self.label_map_file, self.quantization_file, self.leave_out_file}
        if self.config_file.is_file():  # which is the last of these that `create` writes
            own |= {self.checkpoints, self.logs, self.samples, self.soft, self.extra_soft}
            if self.quantization_file.is_file():
                own.add(self.model_file)
        # What `replacing` leaves where the process is killed.
        known = {path.name for path in own}
        half = {name for name in names if name[0] == "." and name[1:].rpartition(".")[0] in known}
        has_checkpoint = self.checkpoints.is_dir() and any(self.checkpoints.glob("[!.]*"))
        return bool(names) and not has_checkpoint and names <= known | half

    def load_dataset(self, config: TrainingConfig | None = None) -> Dataset:
        """The run's data set, with its classes numbered as the run's.

        Args:
            config: Where the data are, and what is held out. Defaults to the run's own.

        Raises:
            UsageError: When the run was imported without a folder, and none is given.
            UserError: When it is not there, or has other classes.
        """
        config = config or self.config
        if not config.data_dir:
            raise UsageError(
                f"{self.path}: imported without the folder of its data set: give --data-dir"
            )
        dataset = configured_dataset(config)
        if self.leave_out_file.is_file():
            lines = self.leave_out_file.read_text(encoding="utf-8").splitlines()
            images = [sample.image for sample in dataset.split("train")]
            # Earlier runs have bare names, which stand for every image of that name.
            left = {i for i in images if i.name in lines or left_out_as(i, config) in lines}
            dataset = dataset.without("train", left)
        if not self.label_map_file.is_file():  # of a run that another process is about to make
            return dataset
        return with_classes_of(dataset, self.label_map.names, self.path, self.any_classes)

    def move_data(self, data_dir) -> TrainingConfig:
        """Writes a new folder of the data set into the configuration, and returns it."""
        config = dataclasses.replace(self.config, data_dir=str(data_dir))
        write_config(self.config_file, config)
        return config

    @property
    def config(self) -> TrainingConfig:
        """The configuration that the float model was trained with."""
        values = {**BEFORE, **read_config(self.config_file)}
        return make_config(TrainingConfig, values, str(self.config_file))

    @property
    def label_map(self) -> LabelMap:
        """Its classes.

        Raises:
            UserError: When the file is missing or damaged.
        """
        try:
            return LabelMap.from_json(json.loads(self.label_map_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{self.label_map_file}: no readable label map ({error})") from error

    @property
    def quantization(self) -> QuantizationConfig | None:
        """How the run was quantized; None for a float run."""
        if not self.quantization_file.is_file():
            return None
        values = read_config(self.quantization_file)
        return make_config(QuantizationConfig, values, str(self.quantization_file))

    def read_metrics(self) -> list[dict[str, float]]:
        """The rows of `metrics.csv`, oldest first; empty before the first.

        Raises:
            UserError: When the file is damaged.
        """
        if not self.metrics_file.is_file():
            return []
        try:
            with self.metrics_file.open(newline="", encoding="utf-8") as file:
                rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
            for column in ("epoch", "val_miou"):
                if any(column not in row for row in rows):
                    raise ValueError(f"it has no column {column}")
            return rows
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{self.metrics_file}: no readable metrics ({error})") from error

    def write_metrics(self, rows: list[dict[str, float]]) -> None:
        """Writes `metrics.csv`, whole or not at all."""
        write_csv(self.metrics_file, rows)

    def best_miou(self) -> float | None:
        """The largest validation mIoU so far: that of the model the run keeps."""
        rows = self.read_metrics()
        return best_row(rows)["val_miou"] if rows else None

    def require_model(self) -> Path:
        """The path of `model.keras`.

        Raises:
            UserError: When no epoch has been finished yet.
        """
        if not self.model_file.is_file():
            raise UserError(
                f"{self.path}: no model.keras here yet: finish an epoch of training "
                f"(keras-bisenet train --run {self.path} --resume)"
            )
        return self.model_file

    def check_source(self, source: Run) -> None:
        """Finds out whether a quantized run goes on with the float model that it began with.

        Args:
            source: The float run that it is to go on from.

        Raises:
            UsageError: When it began with another.
        """
        if self.model_file.is_file():
            is_same = filecmp.cmp(self.model_file, source.require_model(), shallow=False)
        else:  # stopped before it was copied; the data may have moved
            own = dataclasses.replace(self.config, data_dir=source.config.data_dir)
            is_same = (own, self.label_map) == (source.config, source.label_map)
        if not is_same:
            raise UsageError(
                f"{self.path}: began with another float model than that of {source.path}: name the "
                "run that it began with, or start a new run"
            )


def best_row(rows: list[dict[str, float]]) -> dict[str, float]:
    """The row of `metrics.csv` with the largest validation mIoU; one that is no number is the
    worst, not the best."""
    return max(rows, key=lambda row: rank_of(row["val_miou"]))


def is_stale(rows: list[dict[str, float]], early_stop: int | None) -> bool:
    """Whether validation mIoU has not risen for `early_stop` epochs."""
    if early_stop is None or not rows:
        return False
    return rows[-1]["epoch"] - best_row(rows)["epoch"] >= early_stop


def rank_of(miou: float) -> float:
    """What to compare mIoUs by."""
    return -1.0 if math.isnan(miou) else miou
