"""The run directory: everything that a result came from.

    RUN/config.yaml          the training configuration
    RUN/label_map.json       class names, colours and mask ids
    RUN/metrics.csv          one row per validated epoch
    RUN/model.keras          the best model by validation mIoU, without boosters
    RUN/checkpoints/         the state that --resume goes on from
    RUN/logs/                TensorBoard
    RUN/samples/             overlays of validation images

A quantized run keeps the float model.keras that it started from, and has beside it

    RUN/quantization.yaml    how it was quantized
    RUN/model.weights.h5     QAT: the weights with their learned ranges, best by validation mIoU
    RUN/calibration.npz      PTQ: images for the converter
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from keras_bisenet.errors import UsageError, UserError
from keras_bisenet.files import write_csv, write_json
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


class Run:
    """A run directory at `path`, existing or to be made."""

    def __init__(self, path):
        self.path = Path(path)
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

    @classmethod
    def open(cls, path) -> Run:
        """An existing run.

        Raises:
            UserError: When there is none at `path`.
        """
        run = cls(path)
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
    ) -> Run:
        """A new run with its configuration written.

        Raises:
            UsageError: When something is at `path` already.
        """
        run = cls(path)
        if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
            raise UsageError(
                f"{path}: something is here already: choose another --run, or --resume it"
            )
        write_json(run.label_map_file, label_map.to_json())
        if quantization:
            write_config(run.quantization_file, quantization)
        write_config(run.config_file, config)
        return run

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
                return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{self.metrics_file}: no readable metrics ({error})") from error

    def write_metrics(self, rows: list[dict[str, float]]) -> None:
        """Writes `metrics.csv`, whole or not at all."""
        write_csv(self.metrics_file, rows)

    def best_miou(self) -> float | None:
        """The largest validation mIoU so far: that of the model the run keeps."""
        return max((row["val_miou"] for row in self.read_metrics()), default=None)

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
