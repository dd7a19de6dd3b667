"""check_sources.py DEMO TOOLCHAIN: what Android's lint would look for, where it does not run.

- every text has its translations, with the same places for values;
- no resource is unused;
- layouts name their pictures and buttons for TalkBack, and hold no text themselves;
- outside functions marked @TargetApi, code calls nothing that Android 8.0 has not;
- Gradle's files name no place of one machine.
"""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import toolchain

HERE = Path(__file__).resolve().parent
ANDROID = "{http://schemas.android.com/apk/res/android}"
LANGUAGES = ("de", "zh")


def check(demo: Path, tools: Path | None = None) -> None:
    """All of it; without `tools` all but the calls, which take compiled classes."""
    main = demo / "app/src/main"
    problems = [
        *translation_problems(main / "res"),
        *unused_resources(main),
        *layout_problems(main / "res"),
        *gradle_problems(demo),
    ]
    if tools:
        problems += call_problems(demo, tools)
    if problems:
        sys.exit("Error: " + "\nError: ".join(problems))


def texts(folder: Path) -> dict[str, list[str]]:
    """Each text's places for values, in order; a plural's are those of its last form."""
    found = {}
    for element in ElementTree.parse(folder / "strings.xml").getroot():
        last = element if element.tag == "string" else element[-1]
        found[f"{element.tag} {element.get('name')}"] = sorted(
            re.findall(r"%\d\$[.\d]*[a-z]", last.text or "")
        )
    return found


def translation_problems(resources: Path) -> list[str]:
    english = texts(resources / "values")
    problems = []
    for language in LANGUAGES:
        translated = texts(resources / f"values-{language}")
        for name in sorted(english.keys() ^ translated.keys()):
            problems.append(f"{name}: not in {'English' if name in translated else language}")
        for name in english.keys() & translated.keys():
            if english[name] != translated[name]:
                problems.append(
                    f"{name}: {language} has {translated[name]}, English {english[name]}"
                )
    return problems


def unused_resources(main: Path) -> list[str]:
    declared = set()
    for file in (main / "res").glob("values/*.xml"):
        for element in ElementTree.parse(file).getroot():
            kind = "dimen" if element.tag == "dimen" else element.tag
            declared.add((kind, element.get("name").replace(".", "_")))
    for kind in ("layout", "drawable", "menu"):
        declared |= {(kind, file.stem) for file in (main / "res" / kind).glob("*.xml")}
    used = set()
    for file in [*main.rglob("*.kt"), *main.rglob("*.xml")]:
        text = file.read_text()
        used |= set(re.findall(r"\bR\.(\w+)\.(\w+)", text))
        used |= {
            (kind, name.replace(".", "_")) for kind, name in re.findall(r"@(\w+)/([\w.]+)", text)
        }
        used |= {
            ("style", name.replace(".", "_")) for name in re.findall(r'parent="(\w[\w.]*)"', text)
        }
    return [f"{kind}/{name} is unused" for kind, name in sorted(declared - used)]


def layout_problems(resources: Path) -> list[str]:
    problems = []
    for file in [*resources.glob("layout*/*.xml"), *resources.glob("menu/*.xml")]:
        for element in ElementTree.parse(file).iter():
            name = element.get(f"{ANDROID}id", element.tag)
            is_picture = element.tag.endswith(
                ("ImageButton", "ImageView", "Spinner", "OverlayView", "ProgressBar")
            )
            if is_picture and not element.get(f"{ANDROID}contentDescription"):
                problems.append(f"{file.name}: {name} has no contentDescription")
            for attribute in ("text", "contentDescription", "title", "hint"):
                text = element.get(ANDROID + attribute)
                if text and not text.startswith("@string/"):
                    problems.append(f"{file.name}: {name} holds the text {text!r}")
    return problems


def gradle_problems(demo: Path) -> list[str]:
    files = [*demo.glob("*.gradle"), *demo.glob("*.properties"), demo / "app/build.gradle"]
    files = [file for file in files if file.is_file() and file.name != "local.properties"]
    place = re.compile(r"(?<![\w$./:*])/(home|work|root|usr|opt|tmp|Users)/|sdk\.dir|[A-Z]:\\\\")
    return [
        f"{file.name} names a place of one machine"
        for file in files
        if place.search(file.read_text())
    ]


def call_problems(demo: Path, tools: Path) -> list[str]:
    android = toolchain.jar(tools / "maven", toolchain.INSTRUMENTED[0])
    asm = toolchain.jar(tools / "maven", toolchain.ASM)
    classes = demo / "app/build/tmp/kotlin-classes/debug"
    command = ["java", "-cp", asm, HERE / "NewerCalls.java", android, classes]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 1) or done.stderr:
        return [f"NewerCalls: {done.stderr}"]
    return done.stdout.splitlines()


if __name__ == "__main__":
    check(*map(Path, sys.argv[1:3]))
