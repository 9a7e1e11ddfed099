"""The guard of the floating-point environment, seen to act by breaking the environment on a thread of its own."""

import ctypes
import ctypes.util
import platform
import threading
from collections.abc import Callable

import pytest

from synaptic_mesh.workers.float_environment import is_default, restore_default

FE_UPWARD = {"x86_64": 0x800, "aarch64": 0x400000, "arm64": 0x400000}


def on_a_thread(function: Callable[[], None]) -> None:
    """Run `function` where a broken environment harms nobody else; raise what it raised."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def round_upward() -> None:
    upward = FE_UPWARD.get(platform.machine())
    if upward is None:
        pytest.skip(f"rounding modes of {platform.machine()} are not known to this test")
    assert ctypes.CDLL(ctypes.util.find_library("m")).fesetround(upward) == 0


def test_the_environment_is_the_default() -> None:
    assert is_default()


def test_another_rounding_mode_is_noticed_and_mended() -> None:
    def scenario() -> None:
        round_upward()
        assert not is_default()
        restore_default()
        assert is_default()

    on_a_thread(scenario)


def test_flushed_subnormals_are_noticed_and_mended() -> None:
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    state = (ctypes.c_uint8 * 64)()
    if platform.machine() != "x86_64":
        pytest.skip("knows where MXCSR lies in x86-64's fenv_t only")

    def scenario() -> None:
        assert library.fegetenv(state) == 0
        for bit in (0x8040, 0x8000, 0x0040):  # flush results and inputs, results only, inputs only
            broken = (ctypes.c_uint8 * 64)(*state)
            mxcsr = int.from_bytes(bytes(state[28:32]), "little") | bit
            broken[28:32] = list(mxcsr.to_bytes(4, "little"))
            assert library.fesetenv(broken) == 0
            assert not is_default(), hex(bit)
            restore_default()
            assert is_default()

    on_a_thread(scenario)
