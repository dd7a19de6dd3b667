"""The Android app's part without Android: its own tests, in Kotlin, and the rules for its sources.

The app itself is built and tested by `make android`.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

CI = Path(__file__).resolve().parents[2] / "android_demo" / "ci"


@pytest.fixture
def ci(monkeypatch):
    monkeypatch.syspath_prepend(str(CI))
    yield
    for name in ("check_sources", "make_vectors", "pure_tests", "toolchain"):
        sys.modules.pop(name, None)


def test_kotlin_reproduces_what_every_port_must(ci, tmp_path):
    if "KERAS_BISENET_RUNTIME" in os.environ:
        pytest.skip("Kotlin is the same under every runtime: tested with the first")
    missing = [tool for tool in ("java", "javac", "mvn") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"no {', '.join(missing)} here: install JDK 17 and Maven")
    import pure_tests
    import toolchain

    try:
        said = pure_tests.test(tmp_path)
    except toolchain.Unavailable as refused:
        pytest.skip(f"Kotlin's compiler cannot be downloaded: {refused}")
    tests = re.search(r"OK \((\d+) tests\)", said)
    assert tests and int(tests[1]) >= 35, said


def test_sources_keep_the_rules_that_lint_would_check(ci):
    import check_sources

    check_sources.check(CI.parent)


def test_a_missing_translation_and_an_unused_resource_are_found(ci, tmp_path):
    import check_sources

    resources = tmp_path / "res"
    for folder, text in (("values", "%1$d of %2$s"), ("values-de", "%1$d von"), ("values-zh", "")):
        (resources / folder).mkdir(parents=True)
        strings = f'<string name="a">{text}</string>' if text else ""
        (resources / folder / "strings.xml").write_text(f"<resources>{strings}</resources>")
    assert check_sources.translation_problems(resources) == [
        "string a: de has ['%1$d'], English ['%1$d', '%2$s']",
        "string a: not in zh",
    ]
    assert check_sources.unused_resources(tmp_path) == ["string/a is unused"]
