"""Where a run's soft labels come from: `--teacher`, `--soft-labels` and `--extra`.

A teacher is asked once, before training: what it says of each image is kept in the run directory,
in `soft/` for the training split and in `extra-soft/` for extra images without soft labels of
their own. A run that goes on finds it there, and another run can take it by `--soft-labels`.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keras_bisenet.console import log
from keras_bisenet.data.dataset import Dataset
from keras_bisenet.data.soft_labels import SoftLabels, left_out, unlabelled_images
from keras_bisenet.data.training_samples import Extra
from keras_bisenet.errors import UsageError, listed
from keras_bisenet.imaging.reading import read_image
from keras_bisenet.progress import progress_bar
from keras_bisenet.training.config import TrainingConfig
from keras_bisenet.training.run import Run
from keras_bisenet.training.teacher import check_teacher, open_teacher


def check_sources(config: TrainingConfig, dataset: Dataset) -> None:
    """Finds out before work, whether all soft labels are there and fit.

    Raises:
        UserError: When a teacher has other classes, or soft labels are missing or of another size.
        UsageError: When extra images have no soft labels, nor a teacher.
    """
    num_classes = dataset.label_map.num_classes
    if config.teacher:
        check_teacher(Path(config.teacher), dataset.label_map)
    if config.soft_labels:
        images = [sample.image for sample in dataset.split("train")]
        SoftLabels.of(images, Path(config.soft_labels), num_classes).check(images)
    if config.extra:
        images = [sample.image for sample in unlabelled_images(Path(config.extra))]
        own = Path(config.extra) / "soft"
        if own.is_dir():
            SoftLabels.of(images, own, num_classes).check(images)
        elif not config.teacher:
            raise UsageError(
                f"{own}: extra images need soft labels in such a folder, or a --teacher"
            )


def open_sources(
    config: TrainingConfig, run: Run, dataset: Dataset
) -> tuple[SoftLabels | None, Extra | None]:
    """The soft labels of the training split, and the extra images, where a run has them.

    Asks the teacher for what the run directory does not have yet.
    """
    check_sources(config, dataset)
    num_classes = dataset.label_map.num_classes
    soft = extra = None
    asked = []
    images = [sample.image for sample in dataset.split("train")]
    if config.soft_labels:
        soft = SoftLabels.of(images, Path(config.soft_labels), num_classes)
    elif config.teacher:
        soft = SoftLabels.of(images, run.path / "soft", num_classes)
        asked.append((dataset.split("train"), soft))
    if config.extra:
        samples = unlabelled_images(Path(config.extra))
        if folders := left_out(Path(config.extra)):
            log.warning("%s: left out the folders in it: %s", config.extra, listed(folders))
        own = Path(config.extra) / "soft"
        folder = own if own.is_dir() else run.path / "extra-soft"
        of_extra = SoftLabels.of([sample.image for sample in samples], folder, num_classes)
        if not own.is_dir():
            asked.append((samples, of_extra))
        until = round(config.extra_until * config.epochs)
        extra = Extra(samples, of_extra, config.extra_rows, until)
    missing = [
        (sample, labels)
        for samples, labels in asked
        for sample in samples
        if not labels.path(sample.image).is_file()
    ]
    if missing:
        shares = open_teacher(Path(config.teacher), dataset.label_map, config.size)

        def ask(sample, labels) -> None:
            labels.write(sample.image, shares(read_image(sample.image)))

        # Most of the time goes into reading, shrinking and packing, which many cores share.
        with (
            progress_bar("asking the teacher", len(missing)) as bar,
            ThreadPoolExecutor(os.cpu_count()) as threads,
        ):
            for _ in threads.map(ask, *zip(*missing)):
                bar(1)
    return soft, extra
