"""Running something on a thread whose floating-point environment somebody broke."""

import ctypes
import ctypes.util
import platform
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")
FE_UPWARD = {"x86_64": 0x800, "aarch64": 0x400000, "arm64": 0x400000}


def rounding_upward(function: Callable[[], T]) -> T:
    """Return what `function` returns on a thread of its own that rounds upward."""
    upward = FE_UPWARD.get(platform.machine())
    if upward is None:
        pytest.skip(f"rounding modes of {platform.machine()} are not known to this test")
    found: list[T] = []

    def run() -> None:
        assert ctypes.CDLL(ctypes.util.find_library("m")).fesetround(upward) == 0
        found.append(function())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    (result,) = found
    return result
