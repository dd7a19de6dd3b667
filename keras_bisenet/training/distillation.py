"""Where a run's soft labels come from: `--teacher`, `--soft-labels` and `--extra`.

A teacher is asked once, before training: what it says of each image is kept in the run directory,
in `soft/` for the training split and in `extra-soft/` for extra images without soft labels of
their own. A run that goes on finds it there, and another run can take it by `--soft-labels`.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keras_bisenet.console import log
from keras_bisenet.data.bit_depth import find_image_range
from keras_bisenet.data.dataset import Dataset, Sample
from keras_bisenet.data.problems import print_warning
from keras_bisenet.data.soft_labels import SoftLabels, left_out, unlabelled_images
from keras_bisenet.data.training_samples import Extra
from keras_bisenet.errors import UsageError, UserError, listed
from keras_bisenet.progress import progress_bar
from keras_bisenet.training.config import TrainingConfig
from keras_bisenet.training.run import Run
from keras_bisenet.training.teacher import check_teacher, open_teacher


def check_sources(config: TrainingConfig, dataset: Dataset, run: Run | None = None) -> None:
    """Finds out before work, whether all soft labels are there and fit.

    Args:
        config: The configuration.
        dataset: The data set.
        run: The run that goes on, whose teacher is not needed where it has answered all images.

    Raises:
        UserError: When a teacher has other classes, or soft labels are missing or of another size.
        UsageError: When extra images have no soft labels, nor a teacher.
    """
    num_classes = dataset.label_map.num_classes
    if config.teacher or config.soft_labels:
        _check_distinct(dataset.split("train"))
    if config.teacher and not (run and not _unanswered(config, run, dataset)):
        check_teacher(Path(config.teacher), dataset.label_map, config.size)
    if config.soft_labels:
        samples = dataset.split("train")
        images = [sample.image for sample in samples]
        soft = SoftLabels.of(images, Path(config.soft_labels), num_classes)
        soft.check(images, map(dataset.image_size, samples))
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
    check_sources(config, dataset, run)
    soft, extra = _sources(config, run, dataset)
    if extra and (folders := left_out(Path(config.extra))):
        log.warning("%s: left out the folders in it: %s", config.extra, listed(folders))
    if extra:
        images = [sample.image for sample in extra.samples]
        white = find_image_range(images, Path(config.extra), print_warning)
        extra = dataclasses.replace(extra, image_range=white)
    missing = _unanswered(config, run, dataset)
    if missing:
        shares = open_teacher(Path(config.teacher), dataset.label_map, config.size)

        def ask(sample, labels) -> None:
            # As each will be read in training.
            is_extra = labels.directory == run.extra_soft
            image = (extra if is_extra else dataset).read_image(sample)
            labels.write(sample.image, shares(image))

        # Most of the time goes into reading, shrinking and packing, which many cores share.
        with (
            progress_bar("asking the teacher", len(missing)) as bar,
            ThreadPoolExecutor(os.cpu_count()) as threads,
        ):
            for _ in threads.map(ask, *zip(*missing)):
                bar(1)
    return soft, extra


def _check_distinct(samples: Sequence[Sample]) -> None:
    """Refuses packed images that have one name in one file, which nothing can tell apart."""
    count = Counter(sample.image for sample in set(samples))
    for image, times in count.items():
        if times > 1 and not image.is_file():
            raise UserError(
                f"{image}: {times} packed images have this name, and soft labels go by names: "
                "give them other names and pack them again, or train on the folder"
            )


def _sources(
    config: TrainingConfig, run: Run, dataset: Dataset
) -> tuple[SoftLabels | None, Extra | None]:
    """Where the soft labels are, or will be when the teacher has answered."""
    num_classes = dataset.label_map.num_classes
    soft = extra = None
    if config.soft_labels or config.teacher:
        images = [sample.image for sample in dataset.split("train")]
        folder = Path(config.soft_labels) if config.soft_labels else run.soft
        soft = SoftLabels.of(images, folder, num_classes)
    if config.extra:
        samples = unlabelled_images(Path(config.extra))
        own = Path(config.extra) / "soft"
        folder = own if own.is_dir() else run.extra_soft
        of_extra = SoftLabels.of([sample.image for sample in samples], folder, num_classes)
        until = round(config.extra_until * config.epochs)
        extra = Extra(samples, of_extra, config.extra_rows, until)
    return soft, extra


def _unanswered(
    config: TrainingConfig, run: Run, dataset: Dataset
) -> list[tuple[Sample, SoftLabels]]:
    """What the teacher has to be asked yet, and where the answers go."""
    soft, extra = _sources(config, run, dataset)
    asked = []
    if soft and soft.directory == run.soft:
        asked += [(sample, soft) for sample in dataset.split("train")]
    if extra and extra.soft.directory == run.extra_soft:
        asked += [(sample, extra.soft) for sample in extra.samples]
    return [(sample, labels) for sample, labels in asked if not labels.path(sample.image).is_file()]
