"""How fast the input pipeline is, beside what training consumes.

    python tools/bench_pipeline.py --camvid DIR
    python tools/bench_pipeline.py --images 40 --image-size 1024x2048 --size 512x1024

For CamVid, or for smooth random images of a size, it prints images per second, and CPU seconds
per image, of the pipeline alone: from the files, from packed shards, and from memory where the
data fit there. `--train` adds a training step of the same crops, with what it makes of a machine
whose processors it has for itself.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from PIL import Image

from keras_bisenet.data import load_dataset, training_samples
from keras_bisenet.data import pipeline as pipelines
from keras_bisenet.data.shards import pack
from keras_bisenet.training.config import parse_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--camvid", help="CamVid's folder; without it images are made")
    parser.add_argument("--images", type=int, default=40, help="how many to make")
    parser.add_argument("--image-size", type=parse_size, default=(1024, 2048))
    parser.add_argument("--jpeg", action="store_true", help="make JPEGs rather than PNGs")
    parser.add_argument("--size", type=parse_size, default=(384, 480), help="of the crops")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20, help="for each measurement")
    parser.add_argument("--train", action="store_true", help="measure training too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if arguments.camvid:
            dataset = load_dataset("camvid", arguments.camvid)
        else:
            make_images(folder / "files", arguments.images, arguments.image_size, arguments.jpeg)
            dataset = load_dataset("streets", folder / "files")
        pack(dataset, folder / "shards")
        sources = {
            "files": (dataset, False),
            "shards": (load_dataset("shards", folder / "shards"), False),
            "memory": (dataset, True),
        }
        print(f"{'source':<10}{'images/s':>10}{'CPU s/image':>13}")
        for name, (source, in_memory) in sources.items():
            pipeline = make_pipeline(source, arguments)
            if in_memory and not pipeline.preload():
                print(f"{name:<10}  larger than {training_samples.CACHE_LIMIT >> 30} GiB")
                continue
            print_speed(name, *pipeline_speed(pipeline, arguments.seconds))
        if arguments.train:
            print_speed("training", *training_speed(dataset, arguments))


def make_images(folder: Path, count: int, size, jpeg: bool) -> None:
    """Smooth random images with some noise, in CamVid's folders; they compress like photographs."""
    height, width = size
    random = np.random.default_rng(0)
    for split, number in (("train", count), ("val", 1), ("test", 1)):
        (folder / split).mkdir(parents=True)
        (folder / f"{split}annot").mkdir()
        for i in range(number):
            coarse = random.integers(0, 256, (height // 32, width // 32, 3), np.uint8)
            image = Image.fromarray(coarse).resize((width, height), Image.BICUBIC)
            noise = random.normal(0, 4, (height, width, 1))
            pixels = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
            path = folder / split / f"{i:04d}"
            Image.fromarray(pixels).save(path.with_suffix(".jpg" if jpeg else ".png"))
            ids = random.integers(0, 12, (height // 64, width // 64), np.uint8)
            mask = Image.fromarray(ids).resize((width, height), Image.NEAREST)
            mask.save(folder / f"{split}annot" / f"{i:04d}.png")


def make_pipeline(dataset, arguments) -> pipelines.TrainingPipeline:
    return pipelines.TrainingPipeline(
        dataset, dataset.split("train"), arguments.size, arguments.batch_size
    )


def pipeline_speed(pipeline, seconds: float) -> tuple[float, float]:
    """Images per second, and CPU seconds per image, after a first batch."""
    batches = iter(pipeline.batches())
    return speed_of(lambda: next(batches), pipeline.batch_size, seconds)


def training_speed(dataset, arguments) -> tuple[float, float]:
    """The same of training steps, on one batch again and again."""
    from keras_bisenet.models import build_model
    from keras_bisenet.training.losses import cross_entropy

    model = build_model("bisenetv2", dataset.label_map.num_classes)
    model.compile("sgd", [cross_entropy] * len(model.outputs))
    images, masks = next(iter(make_pipeline(dataset, arguments).batches()))
    targets = [masks] * len(model.outputs)
    return speed_of(
        lambda: model.train_on_batch(images, targets), arguments.batch_size, arguments.seconds
    )


def speed_of(step, batch_size: int, seconds: float) -> tuple[float, float]:
    step()
    steps, started, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds:
        step()
        steps += 1
    count = steps * batch_size
    return count / (time.perf_counter() - started), (time.process_time() - cpu) / count


def print_speed(name: str, images_per_second: float, cpu_seconds: float) -> None:
    print(f"{name:<10}{images_per_second:>10.2f}{cpu_seconds:>13.4f}", flush=True)


if __name__ == "__main__":
    main()
