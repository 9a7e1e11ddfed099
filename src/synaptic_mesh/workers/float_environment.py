"""The floating-point environment of the executing thread: round to nearest even, subnormals kept.

Loading any library that was linked with -ffast-math sets flush-to-zero in the thread's control register; threads and
forks made later inherit it, and the bits of WebAssembly and native code change silently. So whoever executes restores
the default environment first, and looks again afterwards.
"""

import ctypes
import sys

from synaptic_mesh.base.errors import ResourceError

_LEAST_SUBNORMAL = 5e-324
_LEAST_NORMAL = 2.2250738585072014e-308
_ONE = 1.0
_HALF = 0.5
_BELOW_HALF_ULP = 1e-30


def is_default() -> bool:
    """True when this thread keeps subnormals and rounds to nearest. Probed with f64 arithmetic, whose control bits
    (MXCSR on x86-64, FPCR on AArch64) are those of f32 and of vectors too."""
    return (
        _LEAST_SUBNORMAL * _ONE != 0.0  # inputs are not flushed
        and _LEAST_NORMAL * _HALF != 0.0  # results are not flushed
        and _ONE + _BELOW_HALF_ULP == _ONE  # not upward
        and _ONE - _BELOW_HALF_ULP == _ONE  # not downward, not toward zero
        and -_ONE - _BELOW_HALF_ULP == -_ONE
    )


def restore_default() -> None:
    """Give this thread the default environment. Raises ResourceError where the C library refuses."""
    if _fesetenv(_DEFAULT) != 0:
        raise ResourceError("the C library could not restore the default floating-point environment")


def _load() -> tuple["ctypes._NamedFuncPointer", ctypes.c_void_p]:
    library = _library()
    function = library.fesetenv
    function.argtypes = [ctypes.c_void_p]
    function.restype = ctypes.c_int
    if sys.platform == "darwin":  # <fenv.h>: &_FE_DFL_ENV there, ((const fenv_t *) -1) in glibc and musl
        return function, ctypes.c_void_p(ctypes.addressof(ctypes.c_char.in_dll(library, "_FE_DFL_ENV")))
    return function, ctypes.c_void_p(-1)


def _library() -> ctypes.CDLL:
    """Return what has `fesetenv`: this process, as a rule; to look for a library by name, `ctypes` starts a program."""
    here = ctypes.CDLL(None)
    if hasattr(here, "fesetenv"):
        return here
    from ctypes.util import find_library

    return ctypes.CDLL(find_library("m"))


_fesetenv, _DEFAULT = _load()
