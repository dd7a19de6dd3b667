"""The tests of this folder need what `pip install '.[train]'` adds."""

from __future__ import annotations

import importlib.util

import pytest


class WithoutTensorFlow(pytest.Module):
    """A test module that cannot even be imported here."""

    def collect(self):
        pytest.skip(
            "TensorFlow is not installed: pip install '.[train]'",
            allow_module_level=True,
        )


def pytest_pycollect_makemodule(module_path, parent):
    if importlib.util.find_spec("tensorflow") is None:
        return WithoutTensorFlow.from_parent(parent, path=module_path)
    return None
