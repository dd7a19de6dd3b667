"""Writing files whole or not at all.

Every file is written beside its place and renamed into it, so that an interrupted command,
or a full disk, leaves the previous file as it was and never half a file. What no file is to be put
in the place of (a device, a pipe, the file that a link points to) is written through.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from keras_bisenet.errors import UsageError

NPZ_ERRORS = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, RuntimeError),
    *(SyntaxError, tokenize.TokenError, struct.error, zlib.error, zipfile.BadZipFile),
)
"""What NumPy raises for damaged `.npz` files."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike, durable: bool = False) -> Iterator[Path]:
    """Yields a temporary path beside `path`, and renames it to `path` if the block succeeds.

    The temporary name keeps the suffix (`.keras`, `.png`), since writers choose a format by it.
    Missing parent folders are made. When the block raises, the temporary file is removed and
    whatever was at `path` stays. The file that a link points to is replaced, not the link; a
    device or a pipe gets the bytes in one go.

    With `durable` the file's bytes are on the disk before it takes its name: else a power cut may
    leave the name with nothing in it. It takes as long as the disk does.
    """
    path = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
    is_stream = path.exists() and not (path.is_file() or path.is_dir())
    if not is_stream:
        path.parent.mkdir(parents=True, exist_ok=True)
    # The system's limit is for the whole name.
    prefix = f".{path.name[:64]}."
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=None if is_stream else path.parent))
    try:
        temporary = folder / path.name
        yield temporary
        if is_stream:
            with open(temporary, "rb") as source, open(path, "wb") as stream:
                shutil.copyfileobj(source, stream)
        else:
            if durable:
                with open(temporary, "rb") as file:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


PRECIOUS = (".tflite", ".keras", ".h5", ".npz", ".png", ".jpg", ".jpeg", ".mp4", ".csv", ".yaml")
"""What no report overwrites by mistake."""


def check_output(path: str | os.PathLike, option: str, suffixes: tuple[str, ...] = ()) -> None:
    """Finds out before work begins whether a file can be written.

    Args:
        path: Where it is to be.
        option: What asked for it, such as `--json`.
        suffixes: What its name has to end in; where empty, anything that is not `PRECIOUS`.

    Raises:
        UsageError: When it cannot: it is a folder, lies below a file or in a folder that may not
            be written to, or its name ends in something else.
    """
    path = Path(path)
    try:
        is_folder, parent = path.is_dir(), next(p for p in path.absolute().parents if p.exists())
    except OSError as error:  # a name that is too long
        raise UsageError(f"{option} {path}: {error.strerror}: choose another name") from error
    if is_folder:
        raise UsageError(f"{option} {path}: this is a folder: name a file in it")
    if not suffixes and path.suffix.lower() in PRECIOUS:
        raise UsageError(f"{option} {path}: this is no {path.suffix} file: choose another name")
    if suffixes and path.suffix.lower() not in suffixes:
        raise UsageError(f"{option} {path}: choose a name that ends in {' or '.join(suffixes)}")
    _check_parent(path, parent, option)


def check_output_folder(path: str | os.PathLike, option: str, *, anew: bool = False) -> None:
    """Finds out before work begins whether a folder can be made.

    Args:
        path: Where it is to be.
        option: What asked for it, such as `-o`.
        anew: Whether another folder is to take the place of an empty one, as `replacing` does.

    Raises:
        UsageError: When it cannot, or something is there already.
    """
    path = Path(path)
    try:
        parent = next(p for p in path.absolute().parents if p.exists())
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"{path}: something is here already: choose another folder")
        if anew and os.path.realpath(path) == os.getcwd():  # the shell would be left in the old one
            raise UsageError(f"{option} {path}: this is the working directory: name a folder in it")
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}: choose another folder") from error
    _check_parent(path, parent, option)


def _check_parent(path: Path, parent: Path, option: str) -> None:
    if not parent.is_dir():
        raise UsageError(f"{option} {path}: {parent} is a file, not a folder: choose another place")
    writable = os.access(path if path.exists() else parent, os.W_OK)
    if not writable:
        raise UsageError(f"{option} {path}: may not be written to: choose another place")
    if len(os.fsencode(path.name)) > 255:
        raise UsageError(f"{option} {path.name[:40]}...: too long a name: choose a shorter one")


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes `data` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` to `path` as UTF-8, whole or not at all; bytes of names that are no UTF-8 as
    they are shown (`\\udcd6`)."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | os.PathLike, value) -> None:
    """Writes `value` to `path` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_csv(path: str | os.PathLike, rows: list[dict]) -> None:
    """Writes `rows`, which share their keys, to `path` with a header line."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
