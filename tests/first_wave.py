"""What commit 372e33b made (`golden/first_wave.zip`), unpacked for tests."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

ARCHIVE = Path(__file__).parent / "golden" / "first_wave.zip"


def unpack(folder: Path) -> Path:
    """Lays the archive out in `folder`: streets/, float/, qat/, ptq/, the files and out/."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    for run in ("qat", "ptq"):  # they keep the float model that they started from
        shutil.copyfile(folder / "float" / "model.keras", folder / run / "model.keras")
    return folder
