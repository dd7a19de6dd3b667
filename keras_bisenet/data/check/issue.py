"""An issue of a data set: one thing that is wrong with it, in all the files that have it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keras_bisenet.data.dataset import Sample


@dataclass(frozen=True)
class Issue:
    """Something that is wrong with a data set, in all the files that it is wrong with.

    Args:
        rule: What kind of issue, such as `missing-mask`.
        severity: `error`, where training or evaluation cannot use a file or would count wrongly;
            else `warning`.
        message: What was found.
        cure: What to do.
        files: The files that it concerns.
        details: What is the matter with each file; empty where the message says it all.
        samples: Those of the files' samples that a picture can be made of.
        classes: The classes that it concerns, where it is not about files.
    """

    rule: str
    severity: str
    message: str
    cure: str
    files: tuple[Path, ...] = ()
    details: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()
    classes: tuple[str, ...] = ()

    def to_json(self) -> dict:
        """For programs: `files` and their `details` name 1000 files at most; `count` is of all
        files, or of `classes`."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "message": self.message,
            "files": [str(path) for path in self.files[:1000]],
            "details": list(self.details[:1000]),
            "classes": list(self.classes),
            "count": len(self.files) or len(self.classes),
            "cure": self.cure,
        }
