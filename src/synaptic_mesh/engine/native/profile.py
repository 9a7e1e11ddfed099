"""What a processor offers the emitter. A profile changes instructions and schedules, never a bit."""

from collections.abc import Collection
from typing import NamedTuple

from synaptic_mesh.base.errors import LocalError


class Profile(NamedTuple):
    """One family of processors, under the name that LLVM gives its baseline."""

    name: str
    cpu: str
    lanes: int
    """f32 in one vector register."""
    accumulators: int
    """Vector registers of a matrix product's tile; the rest hold operands."""
    rounds: bool
    """Has instructions for floor and round to even; without them LLVM would call the C library."""
    tile_rows: int
    """Rows of a large product's tile."""

    @property
    def tile_vectors(self) -> int:
        """Vectors in a row of a large product's tile."""
        return self.accumulators // self.tile_rows


SSE2 = Profile("sse2", "x86-64", 4, 12, False, 6)
AVX2 = Profile("avx2", "x86-64-v3", 8, 12, True, 6)
AVX512 = Profile("avx512", "x86-64-v4", 16, 24, True, 8)
AVX512_NARROW = AVX512._replace(name="avx512 256 bits", lanes=8)
NEON = Profile("neon", "generic", 4, 24, True, 8)
SMALL_FLOPS_MAX = 6000
"""Operations of a small graph, at most: it waits for one result after another, and while 512-bit instructions are under
way a core adds later and closes one of its ports."""
X86_PROFILES = {profile.name: profile for profile in (SSE2, AVX2, AVX512)}
_NEEDS = {
    "avx512": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
    "avx2": ("avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"),
    "sse2": (),
}
"""Features of LLVM's baselines x86-64-v4 and x86-64-v3 that tell processors apart."""


def supported_profiles(machine: str, features: Collection[str]) -> list[Profile]:
    """Return the profiles that a machine can execute, widest first. `machine`: as platform.machine() names it;
    `features`: LLVM's names. Raises LocalError for a machine without one."""
    if machine.lower() in ("x86_64", "amd64"):
        names = [name for name, needs in _NEEDS.items() if all(feature in features for feature in needs)]
        if "avx2" not in names:  # x86-64-v4 contains x86-64-v3
            names = ["sse2"]
        return [X86_PROFILES[name] for name in names]
    if machine.lower() in ("aarch64", "arm64"):
        return [NEON]
    raise LocalError(f"there is no native backend for {machine} processors: use wasm")


def small_profile(profile: Profile) -> Profile | None:
    """Return the profile that serves small graphs better than this one, if there is any."""
    return AVX512_NARROW if profile == AVX512 else None
