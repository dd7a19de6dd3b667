"""Writes the site: the page's files as they are in `page`, and what they need to run one model.

index.html, style.css, *.js, samples/    the page
site.json                                what the model is; which files there are
model.tflite                             the model, with uint8 in place of int8
golden/                                  inputs and answers for the self-test
runtime/                                 LiteRT.js, unless it comes from elsewhere
LICENSE.txt, NOTICE.txt, MODEL_CARD.md   whose all this is
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_bisenet.errors import UserError
from keras_bisenet.lite.model_file import ModelFile, read_model_file
from keras_bisenet.lite.record import DeploymentRecord
from keras_bisenet.lite.uint8_io import with_uint8_io
from keras_bisenet.pretrained import PRETRAINED, pretrained_model
from keras_bisenet.runtime.golden import as_uint8, golden_pictures, read_golden
from keras_bisenet.runtime.interpreter import runtime_name
from keras_bisenet.runtime.segmenter import Segmenter, pixel_encoder
from keras_bisenet.version import __version__
from keras_bisenet.web.litert_js import LiteRtJs, copy_litert_js, find_litert_js

PAGE = Path(__file__).with_name("page")
SITE_FILE = "site.json"
CARD = "MODEL_CARD.md"

MAX_MODEL_SIZE = 512 << 20
"""A model is held twice in the 2 GB that many browsers give to WebAssembly; page/segmenter.js
has the same limit."""

_FORMAT = 1
_TYPES = {"uint8": np.uint8, "int32": np.int32, "float32": np.float32}


def write_site(model: str | os.PathLike, folder: str | os.PathLike, runtime: str | None) -> int:
    """Writes a static page that runs a segmentation model, whole or not at all.

    Args:
        model: The `.tflite` file.
        folder: Where to write. A page that is there is replaced; what else lies beside it stays,
            such as `.git` and `CNAME`.
        runtime: A folder that holds LiteRT.js, or an address on the web that does. None: the
            one that came with the package.

    Returns:
        The size of all files in bytes.

    Raises:
        UserError: When the model does not run in a browser, LiteRT.js is not at hand, or
            `folder` holds something else.
    """
    folder = Path(folder)
    _check_folder(folder)
    litert = find_litert_js(runtime)
    file = read_model_file(model)
    content = _for_the_browser(file)
    segmenter = Segmenter(file)
    golden = _golden(model, segmenter)
    card = _model_card(Path(model))
    described = {
        "format": _FORMAT,
        "generator": f"keras-bisenet {__version__}",
        "model": {
            "file": "model.tflite",
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "facts": _facts(Path(model).name, segmenter.info.record),
            **_ends(segmenter),
        },
        "golden": {
            "inputs": "golden/inputs.bin",
            "answers": "golden/answers.bin",
            **{name: golden[name] for name in ("count", "runtime", "machine")},
        },
        "runtime": {"address": litert.address, "version": litert.version},
        "samples": [
            {"file": f"samples/{path.name}", "name": f"Generated street {number}"}
            for number, path in enumerate(sorted((PAGE / "samples").iterdir()), start=1)
        ],
        "links": [*([["Model card", CARD]] if card else []), ["Licences", "NOTICE.txt"]],
        "files": _files_to_keep(litert),
    }
    with _replacing_site(folder) as site:
        shutil.copytree(PAGE, site)
        text = json.dumps(described, indent=1, ensure_ascii=False) + "\n"
        (site / SITE_FILE).write_text(text, encoding="utf-8")
        (site / "model.tflite").write_bytes(content)
        (site / "golden").mkdir()
        for name in ("inputs", "answers"):
            packed = gzip.compress(golden[name].tobytes(), mtime=0)
            (site / "golden" / f"{name}.bin").write_bytes(packed)
        if litert.packages:
            copy_litert_js(litert.packages, site / "runtime")
        if card:
            shutil.copyfile(card, site / CARD)
        return sum(path.stat().st_size for path in site.rglob("*") if path.is_file())


def _check_folder(folder: Path) -> None:
    if folder.is_dir():
        if any(folder.iterdir()) and not (folder / SITE_FILE).is_file():
            raise UserError(f"{folder} holds other files: choose a folder of its own for the page")
    elif folder.exists():
        raise UserError(f"{folder} is a file: choose a folder for the page")


@contextlib.contextmanager
def _replacing_site(folder: Path) -> Iterator[Path]:
    """Yields where to make a site, which takes the place of that in `folder` if the block succeeds.

    What people keep beside it stays.
    """
    parent = folder if folder.exists() else folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".site.", dir=parent))
    try:
        yield temporary / "new"
        if folder.exists():
            _replace_entries(folder, temporary / "new", temporary / "old")
        else:
            (temporary / "new").rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_entries(folder: Path, new: Path, old: Path) -> None:
    """Moves the site's entries from `folder` to `old`, and those of `new` there; all or none."""
    old.mkdir()
    of_site = _entries_of_site(folder) | {path.name for path in new.iterdir()}
    moves = [(path, old / path.name) for path in folder.iterdir() if path.name in of_site]
    moves += [(path, folder / path.name) for path in new.iterdir()]
    done = []
    try:
        for start, end in moves:
            start.rename(end)
            done.append((start, end))
    except BaseException:
        for start, end in reversed(done):
            end.rename(start)
        raise


def _entries_of_site(folder: Path) -> set[str]:
    """What the site in `folder` has put there, by its own account."""
    try:
        described = json.loads((folder / SITE_FILE).read_text(encoding="utf-8"))
        files = [described["model"]["file"], described["golden"]["inputs"], *described["files"]]
        files += [place for _, place in described["links"]]
        return {file.split("/")[0] for file in files}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return set()


def _for_the_browser(file: ModelFile) -> bytes:
    """The model with an input and an output that LiteRT.js takes."""
    if file.size > MAX_MODEL_SIZE:
        raise UserError(
            f"{file.path}: {file.size >> 20} MiB are too many for a browser "
            f"({MAX_MODEL_SIZE >> 20} at most): make a smaller model"
        )
    if any(op.is_custom for graph in file.subgraphs for op in graph.operators):
        raise UserError(
            f"{file.path}: it has custom operators, which browsers do not: name the file as it "
            "was before it was compiled for a device"
        )
    content, ends = file.data, (*file.inputs, *file.outputs)
    if any(tensor.is_dynamic for tensor in file.inputs):
        raise UserError(
            f"{file.path}: its input has open sides, which the page cannot fill: convert the model "
            "with a fixed size"
        )
    if any(tensor.dtype == "INT8" for tensor in ends):
        content = with_uint8_io(file)
        ends = tuple(t for t in ends if t.dtype != "INT8")
    for tensor in ends:
        if tensor.dtype.lower() not in _TYPES:
            raise UserError(
                f"{file.path}: LiteRT.js takes no {tensor.dtype.lower()}: convert the model "
                "with --precision int8"
            )
    return content


def _golden(model: str | os.PathLike, segmenter: Segmenter) -> dict:
    """The page's inputs, the answers of the kernels that the runtime chose, and what that was.

    From the model's golden file; where there is none, or that of another model, computed here.
    """
    golden = read_golden(model, segmenter.file.data)
    if golden is None:
        pictures = golden_pictures(*segmenter.info.size)
        inputs = np.concatenate([segmenter.prepare(picture)[0] for picture in pictures])
        answers = np.stack([segmenter.invoke(array[None]) for array in inputs])
        made_by = runtime_name(), platform.machine()
    else:
        inputs, answers = golden["inputs"], golden["fast"]
        made_by = str(golden["runtime"]), str(golden["machine"])
    return {
        "count": len(inputs),
        "inputs": as_uint8(inputs),
        "answers": as_uint8(answers),
        "runtime": made_by[0],
        "machine": made_by[1],
    }


def _ends(segmenter: Segmenter) -> dict:
    """The input, the output and the classes of the page's model, as the page needs to know them."""
    info, file = segmenter.info, segmenter.file
    pixels = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    values = as_uint8(pixel_encoder(info)(pixels))
    is_identity = values.dtype == np.uint8 and np.array_equal(values, pixels)
    threshold = info.threshold
    if threshold is not None and info.output_dtype == "int8":
        threshold += 128
    return {
        "input": {
            "shape": list(file.inputs[0].shape),
            "dtype": _of_the_page(info.input_dtype),
            # What the tensor holds for a pixel: [256, 3], flat.
            "table": None if is_identity else values.reshape(-1).tolist(),
        },
        "output": {
            "kind": info.kind,
            "shape": list(file.outputs[0].shape),
            "dtype": _of_the_page(info.output_dtype),
            "threshold": threshold,  # of one channel: above it is the second class
        },
        "classes": [
            {"name": name, "color": list(color)} for name, color in zip(info.names, info.palette)
        ],
    }


def _of_the_page(dtype: str) -> str:
    return "uint8" if dtype == "int8" else dtype


def _facts(name: str, record: DeploymentRecord | None) -> dict:
    """What the page says of the model, in a few words each."""
    details = []
    if record:
        details = [f"{record.model}, {record.precision}", f"trained on {record.dataset}"]
        if record.miou is not None:
            of = f" ({record.miou_of})" if record.miou_of else ""
            split = record.split or "unnamed"
            details.append(f"mIoU {100 * record.miou:.1f}% on its {split} split{of}")
    return {"name": name, "details": details}


def _model_card(model: Path) -> Path | None:
    """The card of a model that comes with the package."""
    packaged = [pretrained_model(name) for name in PRETRAINED]
    return model.with_name("README.md") if model in packaged else None


def _files_to_keep(litert: LiteRtJs) -> list[str]:
    """What the page keeps for use offline, beside the model and what it has loaded."""
    page = sorted(p.relative_to(PAGE).as_posix() for p in PAGE.rglob("*") if p.is_file())
    # The service worker must know by name what threads start with.
    threads = "runtime/core/wasm/litert_wasm_threaded_internal.js"
    return ["", SITE_FILE, *page, *([threads] if litert.packages else [])]
