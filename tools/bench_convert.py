"""What a conversion takes: seconds, and memory of its own beside what is mapped from the disk.

    python tools/bench_convert.py RUN --size 512x1024

Runs `keras-bisenet convert RUN` in a process of its own and reads, ten times a second, what Linux
says of its memory. TensorFlow's libraries are mapped from files: those pages count as resident,
are shared by all processes that map them, and are dropped when memory is short. What the
conversion cannot do without is its own (anonymous) memory.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
POLL_SECONDS = 0.1


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("run", type=click.Path(exists=True))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def main(run: str, options: tuple[str, ...]):
    """Convert RUN, with OPTIONS of `keras-bisenet convert`, and say what it took."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        program = "from keras_bisenet.cli import main; main()"
        command = [sys.executable, "-c", program, "convert", run, "--output", str(path), *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        begun = time.perf_counter()
        process = subprocess.Popen(command, env=environment)
        peaks = {"RssAnon": 0, "RssFile": 0}
        while process.poll() is None:
            for name, megabytes in resident(process.pid).items():
                peaks[name] = max(peaks[name], megabytes)
            time.sleep(POLL_SECONDS)
        wall = time.perf_counter() - begun
        if process.returncode:
            raise SystemExit(process.returncode)
        size = path.stat().st_size
    used = os.times()
    click.echo(
        f"{size / 1e6:.2f} MB in {wall:.1f} s ({used.children_user + used.children_system:.1f} s "
        f"of CPU); memory of its own {peaks['RssAnon']} MB at most, mapped from files "
        f"{peaks['RssFile']} MB"
    )


def resident(pid: int) -> dict[str, int]:
    """Megabytes of a process, by kind; empty once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    found = re.findall(r"^(RssAnon|RssFile):\s+(\d+) kB", status, re.MULTILINE)
    return {name: int(kilobytes) * 1024 // 1_000_000 for name, kilobytes in found}


if __name__ == "__main__":
    main()
