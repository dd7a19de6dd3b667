"""build.py: builds the app, tests it and checks the APKs, with Maven Central alone.

    python android_demo/ci/build.py [GRADLE'S OPTIONS, such as -Pmodel=FILE -PappName='My model']

Needs JDK 17, Maven, GCC and an environment with keras-bisenet. The tools are kept in
`android_demo/.toolchain`. Where a download is refused it stops, says which, and counts as skipped;
whatever else fails, fails.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import check_apk
import check_sources
import toolchain

DEMO = Path(__file__).resolve().parents[1]
TOOLS = DEMO / ".toolchain"
OUTPUTS = DEMO / "app/build/outputs/apk"
REFUSED = re.compile(r"Could not (resolve|find|download) [\w.-]+:[\w.-]+:|Could not GET 'http")


def main(options: list[str]) -> None:
    start = time.monotonic()
    try:
        step("toolchain", lambda: toolchain.make(TOOLS))
        step("vectors", lambda: run([sys.executable, DEMO / "ci/make_vectors.py"]))
        step(
            "APKs and tests",
            lambda: gradle("assembleDebug", "assembleRelease", "junitDebug", *options),
        )
        step("sources", lambda: check_sources.check(DEMO, TOOLS))
        for kind in ("debug", "release"):
            apk = OUTPUTS / kind / f"app-{kind}.apk"
            step(apk.name, functools.partial(check_apk.check, apk, model_of(options), TOOLS))
    except toolchain.Unavailable as refused:
        print(f"\nSKIPPED: the Android app was not built: {refused}", flush=True)
        return
    print(f"\nthe app is built, tested and checked: {OUTPUTS} ({time.monotonic() - start:.0f} s)")


def step(name: str, work) -> None:
    print(f"=== {name}", flush=True)
    start = time.monotonic()
    work()
    print(f"=== {name}: {time.monotonic() - start:.0f} s", flush=True)


def model_of(options: list[str]) -> Path:
    named = [option.removeprefix("-Pmodel=") for option in options if option.startswith("-Pmodel=")]
    return Path(named[-1] if named else DEMO.parent / "keras_bisenet/pretrained/camvid_int8.tflite")


def run(command: list) -> None:
    if subprocess.run(command).returncode:
        sys.exit(f"Error: {' '.join(map(str, command[:3]))} failed")


def gradle(*tasks: str) -> None:
    """Runs Gradle in this process's sight: no daemon stays behind."""
    lib = TOOLS / "gradle/lib"
    java = [
        *("java", "-Xmx3g", "-Dorg.gradle.appname=gradle"),
        "-Dorg.gradle.internal.instrumentation.agent=false",
        *("-cp", f"{lib}/gradle-core-{toolchain.GRADLE}.jar:{lib}/groovy-{toolchain.GROOVY}.jar"),
        "org.gradle.launcher.GradleMain",
    ]
    options = [
        *("--no-daemon", "--console=plain", "-g", TOOLS / "gradle-home", "-p", DEMO),
        *("-I", DEMO / "ci/standalone.init.gradle"),
        f"-Pandroid.aapt2FromMavenOverride={TOOLS}/sdk/build-tools/{toolchain.BUILD_TOOLS}/aapt2",
        "-Pandroid.builder.sdkDownload=false",
        "-Pkotlin.compiler.execution.strategy=in-process",
    ]
    environment = {
        **os.environ,
        "TOOLCHAIN": str(TOOLS),
        "ANDROID_HOME": str(TOOLS / "sdk"),
        "ANDROID_USER_HOME": str(TOOLS / "android-home"),
    }
    command = [*java, *options, *tasks]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    refused = []
    for line in process.stdout:
        print(line, end="", flush=True)
        if REFUSED.search(line):
            refused.append(line.strip())
    if process.wait():
        if refused:
            raise toolchain.Unavailable(refused[0])
        sys.exit("Error: Gradle failed")


if __name__ == "__main__":
    main(sys.argv[1:])
