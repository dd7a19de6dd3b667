"""make_samples.py: the pictures that the app shows without a camera, `app/src/main/assets/samples`.

Streets as `keras-bisenet dataset generate` draws them: nobody's photographs.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from keras_bisenet.data.streets import render_street

OUT = Path(__file__).resolve().parent.parent / "app/src/main/assets/samples"
SEEDS = (1, 4, 10)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(SEEDS, start=1):
        image, _ = render_street(np.random.default_rng(seed), 480, 640)
        Image.fromarray(image).save(OUT / f"street_{i}.jpg", quality=88)


if __name__ == "__main__":
    main()
