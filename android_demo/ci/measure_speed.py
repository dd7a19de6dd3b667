"""measure_speed.py [FRAMES]: what surrounds the network, in Kotlin on a JVM and in Python.

The two take turns: a frame of 1280x720 into a network of 480x640, and its answer to an overlay.
Kotlin begins with the camera's planes, Python with RGB, which it is given: converting it would
come on top.

- `at the frame's size`: overlay of 1280x720, the same work on both sides;
- `live`: what the app does, an overlay of the network's size and the frame as a picture beside it.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time

import numpy as np
import pure_tests

sys.path.insert(0, str(pure_tests.PROJECT))

from keras_bisenet.data.streets import render_street  # noqa: E402
from keras_bisenet.imaging.drawing import overlay  # noqa: E402
from keras_bisenet.runtime.segmenter import Segmenter  # noqa: E402

ROUNDS = 3


def main(frames: int) -> None:
    street, _ = render_street(np.random.default_rng(4), 720, 1280)
    segmenter = Segmenter(pure_tests.PACKAGED, threads=1)
    array, fit = segmenter.prepare(street)
    logits = segmenter.invoke(array)
    with tempfile.TemporaryDirectory() as folder:
        class_path = pure_tests.compiled(pure_tests.DEMO / ".toolchain/pure")
        street.tofile(f"{folder}/frame.rgb")
        logits.tofile(f"{folder}/logits.bin")
        found: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            found.setdefault("Python, at the frame's size", []).append(
                python(segmenter, street, logits, frames)
            )
            command = ["java", "-XX:ActiveProcessorCount=2", "-cp", class_path]
            command += ["org.kerasbisenet.demo.core.SpeedKt", folder, str(frames)]
            for line in pure_tests.run(command).splitlines():
                name, value = line.split("\t")
                found.setdefault(name, []).append(float(value))
    for name, times in found.items():
        shown = ", ".join(f"{t:.1f}" for t in times)
        print(f"{name:<32} {statistics.median(times):6.2f} ms  ({shown})")


def python(segmenter: Segmenter, image: np.ndarray, logits: np.ndarray, frames: int) -> float:
    times = []
    for _ in range(frames):
        start = time.perf_counter()
        _, fit = segmenter.prepare(image)
        overlay(image, segmenter.finish(logits, fit), segmenter.info.palette)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
