"""What the engine suite measures, by name."""

import enum
from collections.abc import Sequence

import msgspec

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.bench.networks import Network, NetworkWork
from synaptic_mesh.bench.workload import Kind, Workload


class Mode(enum.Enum):
    """How the work is asked for."""

    CALL = "per call"
    """As a user does: arrays go in, one step, arrays (or the loss) come back."""
    IN_PLACE = "in place"
    """Nothing goes in or out: several steps follow each other, in one call where the contestant has such a thing."""


class Case(msgspec.Struct, frozen=True):
    """One row of results. `steps`: how many follow each other when the data stays in place."""

    work: Workload | NetworkWork
    mode: Mode
    steps: int = 1

    @property
    def name(self) -> str:
        """Like "gemm 64, per call" and "train 784-128-10 batch 32, in place"."""
        return f"{self.work.label}, {self.mode.value}"


def _gemm(sizes: tuple[int, int, int], steps: int) -> list[Case]:
    """Large products are measured in place only: what goes in and out is small beside them."""
    work = Workload(Kind.GEMM, sizes)
    in_place = Case(work, Mode.IN_PLACE, steps)
    return [Case(work, Mode.CALL), in_place] if steps > 1 else [in_place]


def _network(network: Network, rows: int) -> list[Case]:
    """Networks are asked for as users ask: per call."""
    return [Case(NetworkWork(kind, network, rows), Mode.CALL) for kind in (Kind.FORWARD, Kind.TRAIN)]


def _model(kind: Kind, sizes: tuple[int, int, int], rows: int, steps: int) -> list[Case]:
    work = Workload(kind, sizes, rows)
    return [Case(work, Mode.CALL), Case(work, Mode.IN_PLACE, steps)]


CASES = (
    *_gemm((64, 64, 64), 100),
    *_gemm((128, 128, 128), 20),
    *_gemm((32, 784, 128), 20),
    *_gemm((256, 256, 256), 1),
    *_gemm((512, 512, 512), 1),
    *_gemm((1000, 1000, 1000), 1),
    *_gemm((2000, 2000, 2000), 1),
    *_model(Kind.FORWARD, (784, 128, 10), 1, 100),
    *_model(Kind.FORWARD, (784, 128, 10), 32, 20),
    *_model(Kind.TRAIN, (784, 128, 10), 32, 20),
    *_model(Kind.TRAIN, (16, 32, 4), 1, 1000),
    *_model(Kind.TRAIN, (16, 32, 4), 32, 200),
    *(case for network in Network for rows in (1, 32) for case in _network(network, rows)),
)
GEMM_1000 = "gemm 1000, in place"
STEP_784 = "train 784-128-10 batch 32, per call"


THREADED = frozenset({GEMM_1000, "gemm 2000, in place"})
"""Cases that are measured with several threads too."""


def choose_cases(words: Sequence[str]) -> list[Case]:
    """Return the cases whose name contains one of `words`, or all for none. Raises LocalError for a word that no name
    contains."""
    for word in words:
        if not any(word in case.name for case in CASES):
            raise LocalError(f"no case is named {word!r}; choose from: " + "; ".join(case.name for case in CASES))
    return [case for case in CASES if not words or any(word in case.name for word in words)]
