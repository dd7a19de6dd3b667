"""Fixtures of the device half's tests."""

from standin import standin

__all__ = ["standin"]
