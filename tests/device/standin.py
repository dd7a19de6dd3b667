"""A stand-in for the Edge TPU: `standin_delegate.c`, built where there is a C compiler.

Tests take the fixture `standin` and set its behaviour by the environment:

    def test_a_lost_device(standin, monkeypatch, tmp_path):
        model = tmp_path / "model_edgetpu.tflite"
        model.write_bytes(compiled(tiny_model((32, 48))))
        monkeypatch.setenv("STANDIN_LOST_AFTER", "3")
        ... --delegate {standin.library}           # in this process
        subprocess.run(..., env=standin.environment())   # finds it as --delegate edgetpu
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from tflite_models import Graph, Op, T, model_bytes

from keras_bisenet.lite.model_file import read_model_file

SOURCE = Path(__file__).with_name("standin_delegate.c")
CUSTOM_OPERATOR = "edgetpu-custom-op"


@dataclass(frozen=True)
class Standin:
    """The stand-in's library.

    Attributes:
        library: Its path, whose last part is that of the real one: libedgetpu.so.1.
    """

    library: Path

    def environment(self, **behaviour) -> dict[str, str]:
        """The environment of a process that finds the library by name.

        Args:
            behaviour: `sleep_ms=40` for STANDIN_SLEEP_MS=40, and so on.
        """
        asked = {f"STANDIN_{name.upper()}": str(value) for name, value in behaviour.items()}
        return {**os.environ, "LD_LIBRARY_PATH": str(self.library.parent), **asked}


@pytest.fixture(scope="session")
def standin(tmp_path_factory) -> Standin:
    """The stand-in, or a skip where it cannot be built."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the stand-in for the Edge TPU is built on Linux")
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("no C compiler here to build the stand-in for the Edge TPU")
    library = tmp_path_factory.mktemp("standin") / "libedgetpu.so.1"
    # Without a soname: a process that has once loaded it by its path would find it by that name
    # ever after, and no test could see what happens where there is none.
    flags = ("-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
    subprocess.run([compiler, *flags, "-o", library, SOURCE], check=True)
    return Standin(library)


def compiled(content: bytes, archive: bool = True) -> bytes:
    """A model as the Edge TPU compiler would leave it, if it took the whole: one operator.

    Args:
        content: A `.tflite` file.
        archive: Whether to keep the files that are packed behind the flatbuffer.
    """
    main = read_model_file(content).main
    tensors = [
        T(t.name, t.shape, t.dtype, None, tuple(t.scales), tuple(t.zero_points))
        for t in (main.tensors[i] for i in (*main.inputs, *main.outputs))
    ]
    inputs = tuple(range(len(main.inputs)))
    outputs = tuple(range(len(inputs), len(tensors)))
    operator = Op(CUSTOM_OPERATOR, inputs, outputs, custom=True)
    result = io.BytesIO(model_bytes(Graph(tensors, [operator], inputs, outputs)))
    if archive and zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, "a") as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))
    return result.getvalue()
