"""check_apk.py APK MODEL TOOLCHAIN: that an APK is what a phone takes, with the model in it.

- badging: the app's id, name, Android versions, permissions and activity, by aapt2;
- the signature, by Google's apksig, for every Android version that the app is for;
- alignment: stored files at 4 bytes, libraries at 16 KiB;
- the model and its golden file: stored, not compressed, equal by SHA-256;
- the size.
"""

from __future__ import annotations

import hashlib
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import toolchain

HERE = Path(__file__).resolve().parent
LARGEST = 24 << 20
ABIS = {"arm64-v8a", "armeabi-v7a", "x86_64"}
# Those for storage end with Android 9.
PERMISSIONS = {"CAMERA", "READ_EXTERNAL_STORAGE", "WRITE_EXTERNAL_STORAGE"}


def check(apk: Path, model: Path, tools: Path) -> None:
    check_badging(apk, tools)
    check_signature(apk, tools)
    golden = model.with_name(model.name.removesuffix(".tflite") + ".golden.npz")
    with zipfile.ZipFile(apk) as archive:
        check_alignment(apk, archive)
        check_asset(archive, "assets/model.tflite", model)
        if golden.exists():
            check_asset(archive, "assets/model.golden.npz", golden)
        libraries = [n for n in archive.namelist() if n.endswith(".so")]
        require({name.split("/")[1] for name in libraries} == ABIS, f"libraries: {libraries}")
        pages = {page_size(archive.read(name)) for name in libraries}
    size = apk.stat().st_size
    require(size <= LARGEST, f"{size} bytes")
    print(f"{apk.name}: {size / 1e6:.2f} MB, libraries for pages of {sorted(pages)} bytes")


def require(holds: bool, what: str) -> None:
    if not holds:
        sys.exit(f"Error: {what}")


def check_badging(apk: Path, tools: Path) -> None:
    aapt2 = tools / f"sdk/build-tools/{toolchain.BUILD_TOOLS}/aapt2"
    text = subprocess.run(
        [aapt2, "dump", "badging", apk], capture_output=True, text=True, check=True
    ).stdout
    print(
        "\n".join(
            line for line in text.splitlines() if line.startswith(("package", "application-label:"))
        )
    )
    for line in (
        "package: name='org.kerasbisenet.demo",
        "minSdkVersion:'26'",
        "targetSdkVersion:'34'",
        "launchable-activity: name='org.kerasbisenet.demo.MainActivity'",
        "uses-feature-not-required: name='android.hardware.camera'\n",
        "locales: '--_--' 'de' 'zh'",
        "name='android.permission.READ_EXTERNAL_STORAGE' maxSdkVersion='28'",
        "name='android.permission.WRITE_EXTERNAL_STORAGE' maxSdkVersion='28'",
    ):
        require(line in text, f"{apk}: no {line}")
    found = set(
        re.findall(r"^uses-permission: name='android.permission.([^']+)'", text, re.MULTILINE)
    )
    require(found == PERMISSIONS, f"{apk}: permissions {sorted(found)}")


def check_signature(apk: Path, tools: Path) -> None:
    jar = toolchain.jar(tools / "maven", toolchain.APKSIG)
    done = subprocess.run(
        ["java", "-cp", jar, HERE / "VerifyApk.java", apk], capture_output=True, text=True
    )
    require(done.returncode == 0, f"{apk}: {done.stdout}{done.stderr}")
    print(done.stdout.strip())


def check_alignment(apk: Path, archive: zipfile.ZipFile) -> None:
    with apk.open("rb") as file:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                require(not entry.filename.endswith(".so"), f"{entry.filename} is compressed")
                continue
            file.seek(entry.header_offset + 26)
            start = entry.header_offset + 30 + sum(struct.unpack("<HH", file.read(4)))
            unit = 16384 if entry.filename.endswith(".so") else 4
            require(
                start % unit == 0, f"{entry.filename} lies at {start}, not a multiple of {unit}"
            )


def check_asset(archive: zipfile.ZipFile, name: str, source: Path) -> None:
    require(archive.getinfo(name).compress_type == zipfile.ZIP_STORED, f"{name} is compressed")
    same = (
        hashlib.sha256(archive.read(name)).digest() == hashlib.sha256(source.read_bytes()).digest()
    )
    require(same, f"{name} differs from {source}")


def page_size(elf: bytes) -> int:
    """The largest page that a library's segments allow: the smallest alignment of a PT_LOAD."""
    is_64 = elf[4] == 2
    header, size, count = (
        (struct.unpack_from("<Q", elf, 32)[0], *struct.unpack_from("<HH", elf, 54))
        if is_64
        else (struct.unpack_from("<I", elf, 28)[0], *struct.unpack_from("<HH", elf, 42))
    )
    alignments = []
    for at in range(header, header + size * count, size):
        if struct.unpack_from("<I", elf, at)[0] == 1:
            alignments.append(
                struct.unpack_from("<Q" if is_64 else "<I", elf, at + (48 if is_64 else 28))[0]
            )
    return min(alignments)


if __name__ == "__main__":
    check(*map(Path, sys.argv[1:4]))
