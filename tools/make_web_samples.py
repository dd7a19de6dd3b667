#!/usr/bin/env python3
"""Draws the sample streets of the browser page, keras_bisenet/web/page/samples.

They are pictures of the generated street data set, so that the page, which comes without the
training half, has something to segment.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import keras_bisenet.web
from keras_bisenet.data.streets import render_street

SEEDS = (1, 4, 10)
SIZE = (480, 640)

if __name__ == "__main__":
    folder = Path(keras_bisenet.web.__file__).with_name("page") / "samples"
    for number, seed in enumerate(SEEDS, start=1):
        image, _ = render_street(np.random.default_rng(seed), *SIZE)
        Image.fromarray(image).save(folder / f"street_{number}.jpg", quality=88)
