"""Measuring latency: models side by side on one image, and on what machine."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from keras_bisenet.progress import progress_bar
from keras_bisenet.runtime.segmenter import Segmenter, Timings


def measure(
    segmenters: Sequence[Segmenter], images: Sequence[np.ndarray], runs: int, warmup: int
) -> list[list[Timings]]:
    """Runs the models in turns (A B A B ...), each on its image.

    Returns:
        For each model the timings of its `runs`, those of the `warmup` left out.
    """
    timings: list[list[Timings]] = [[] for _ in segmenters]
    with progress_bar("measuring", warmup + runs) as update:
        for run in range(warmup + runs):
            for segmenter, image, of_model in zip(segmenters, images, timings):
                answer = segmenter.segment(image)
                if run >= warmup:
                    of_model.append(answer.timings)
            update(1)
    return timings


def synthetic_image(size: tuple[int, int]) -> np.ndarray:
    """Soft blobs of colour, always the same: RGB uint8 [h, w, 3].

    Noise would be as fast for the network, but would give a mask all of borders between
    classes, which takes longer to bring to the image's size than a photograph's.
    """
    blobs = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blobs).resize(size[::-1], Image.Resampling.BICUBIC))


def cpu_name() -> str:
    """The processor's or the board's name, as far as the system tells."""
    board = Path("/proc/device-tree/model")  # "Raspberry Pi 4 Model B Rev 1.4"
    cpuinfo = Path("/proc/cpuinfo")
    if board.exists():
        return board.read_text(errors="replace").strip("\0\n ")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
