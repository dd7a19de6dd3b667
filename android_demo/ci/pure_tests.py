"""pure_tests.py FOLDER: compiles and runs the tests of the app's pure Kotlin part, without Gradle.

`app/src/*/kotlin/org/kerasbisenet/demo/core` has no Android in it: a JDK, Maven and Kotlin's
compiler, which comes from Maven Central into FOLDER, are all that its tests take.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import make_vectors
import toolchain

DEMO = Path(__file__).resolve().parents[1]
PROJECT = DEMO.parent
PACKAGE = "org/kerasbisenet/demo/core"
PACKAGED = PROJECT / "keras_bisenet/pretrained/camvid_int8.tflite"
KOTLIN = "2.0.21"
ARTIFACTS = [f"org.jetbrains.kotlin:kotlin-compiler-embeddable:{KOTLIN}", "junit:junit:4.13.2"]


def compiled(folder: Path) -> str:
    """The class path of the compiled code and tests, which are made in `folder`."""
    jars = folder / "kotlin"
    toolchain.download(jars, ARTIFACTS, transitive=True)
    classes = folder / "classes"
    sources = [DEMO / f"app/src/{part}/kotlin/{PACKAGE}" for part in ("main", "test")]
    compiler = ["java", "-Xmx1g", "-cp", f"{jars}/*", "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"]
    options = ["-no-stdlib", "-no-reflect", "-jvm-target", "17", "-Werror"]
    libraries = f"{jars}/junit-4.13.2.jar:{jars}/kotlin-stdlib-{KOTLIN}.jar"
    run([*compiler, *options, "-cp", libraries, "-d", classes, *sources])
    return f"{classes}:{jars}/*"


def test(folder: Path) -> str:
    """JUnit's words about the tests, all of which passed."""
    class_path = compiled(folder)
    make_vectors.main(folder / "vectors")
    properties = {
        "conformance": PROJECT / "conformance",
        "vectors": folder / "vectors",
        "model": PACKAGED,
        "golden": PACKAGED.with_name("camvid_int8.golden.npz"),
    }
    tests = sorted((DEMO / f"app/src/test/kotlin/{PACKAGE}").glob("*Test.kt"))
    names = [f"{PACKAGE}/{path.stem}".replace("/", ".") for path in tests]
    defined = [f"-D{name}={value}" for name, value in properties.items()]
    return run(["java", *defined, "-cp", class_path, "org.junit.runner.JUnitCore", *names])


def run(command: list) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout


if __name__ == "__main__":
    print(test(Path(sys.argv[1]).resolve()))
