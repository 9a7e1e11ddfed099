"""What the backends that compile have in common: programs in memory and on disk, and trust.

Trust is earned in one of two ways. `qualify` runs all golden vectors at once: what a node does when it starts.
`qualify_on_demand` runs, before the first graph that holds an operation is compiled, the golden cases that show this
operation (`golden.cases_for`): no program is ever handed out whose operations have not given the right bits on this
machine, and a process that answers one question does not pay for operations that it never meets.
"""

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from synaptic_mesh.base.errors import ResourceError
from synaptic_mesh.base.ids import Digest
from synaptic_mesh.engine.abi import Slot
from synaptic_mesh.engine.backend import Trust
from synaptic_mesh.engine.golden import check_backend
from synaptic_mesh.engine.ir import Graph, Op
from synaptic_mesh.engine.limits import admit
from synaptic_mesh.engine.scan_body import all_nodes
from synaptic_mesh.engine.serialize import graph_digest
from synaptic_mesh.engine.verify import verify
from synaptic_mesh.workers.arena_program import ArenaProgram
from synaptic_mesh.workers.program_cache import CachedProgram, CachedSlot, ProgramCache

LOADED_MAX = 64
"""Programs whose code a backend keeps, so that a second one for the same graph costs only its memory."""


class HasLayout(Protocol):
    """Code that can be called, and where its tensors lie."""

    @property
    def layout(self) -> CachedProgram:
        """Where they lie."""


Code = TypeVar("Code", bound=HasLayout)
Running = TypeVar("Running", bound=ArenaProgram)


class CompilingBackend(ABC, Generic[Code, Running]):
    """Compiles graphs and keeps what it compiled. Threads may share it; each program belongs to one thread at a time.
    `makes` and `compiler`: what its code and who compiles it are called in messages."""

    name: str
    makes: str
    compiler: str
    refusals: tuple[type[Exception], ...]
    """What `_open` raises for code that the compiler's runtime refuses."""

    def __init__(self, cache: ProgramCache | None) -> None:
        self.trust = Trust.TOLERANT
        self.cache = cache
        self._loaded: OrderedDict[Digest, Code] = OrderedDict()
        self._lock = threading.Lock()
        self._demand: _Demand[Code, Running] | None = None

    def qualify(self) -> None:
        """Run the golden vectors; afterwards `trust` is EXACT. Raises ResourceError naming the first that differ."""
        self.require(check_backend(self))
        self.trust = Trust.EXACT

    def qualify_on_demand(self) -> None:
        """Run the golden vectors of an operation before the first graph that holds it is compiled; `compile` and `load`
        then raise ResourceError when they differ. What comes out of them is EXACT."""
        self._demand = _Demand(self)
        self.trust = Trust.EXACT

    def require(self, failures: list[str]) -> None:
        """Raise ResourceError when there are any."""
        if failures:
            raise ResourceError(
                f"{self.makes} computes {len(failures)} golden vectors differently here, so it is not used: "
                + "; ".join(failures[:3])
            )

    def compile(self, graph: Graph) -> Running:
        """Return a program for `graph`, its inputs zero. Raises LocalError when the graph breaks the IR's law or the
        admission limits, ResourceError when the machine has no memory for it."""
        return self.program(graph, self.load(graph))

    def load(self, graph: Graph) -> Code:
        """Return the code of `graph`: from memory, from the cache, or newly built. Raises as `compile` does."""
        self.meet(graph)
        return self.load_unqualified(graph)

    def meet(self, graph: Graph) -> None:
        """Run the golden vectors of those operations of `graph` that are new to a backend qualified on demand; nothing
        of the graph itself is compiled. Raises ResourceError when they differ."""
        if self._demand is not None:
            self._demand.meet(graph)

    def load_unqualified(self, graph: Graph) -> Code:
        """The same, whatever the golden vectors say: for running them."""
        digest = graph_digest(graph)
        with self._lock:
            loaded = self._loaded.get(digest)
            if loaded is None:
                found = self._from_cache(digest)
                if found is None:  # the cache names code by the graph's bytes: what it holds was lawful when built
                    verify(graph)
                admit(graph)
                loaded = self._loaded[digest] = found or self._build(graph, digest)
                if len(self._loaded) > LOADED_MAX:
                    self._loaded.popitem(last=False)
            else:
                self._loaded.move_to_end(digest)
            return loaded

    @abstractmethod
    def program(self, graph: Graph, code: Code) -> Running:
        """Return a new program that runs `code`."""

    @abstractmethod
    def _key(self, graph: Digest) -> Digest:
        """Return the name of a graph's entry in the cache."""

    @abstractmethod
    def _open(self, layout: CachedProgram) -> Code:
        """Return callable code from an entry. Raises `refusals` for one that cannot be used."""

    @abstractmethod
    def _generate(self, graph: Graph) -> tuple[CachedProgram, Code]:
        """Return the entry of newly generated code, and the code."""

    def _from_cache(self, digest: Digest) -> Code | None:
        if self.cache is None:
            return None
        key = self._key(digest)
        layout = self.cache.load(key)
        if layout is None:
            return None
        try:
            return self._open(layout)
        except self.refusals as error:
            self.cache.discard(key, f"{self.compiler} refused it: {error}")
            return None

    def _build(self, graph: Graph, digest: Digest) -> Code:
        layout, code = self._generate(graph)
        if self.cache is not None:
            self.cache.store(self._key(digest), layout)
        return code


def cached_slots(slots: Mapping[str, Slot]) -> dict[str, CachedSlot]:
    """Return the slots as the cache keeps them."""
    return {name: CachedSlot(slot.offset, slot.shape, slot.dtype.value) for name, slot in slots.items()}


class _Demand(Generic[Code, Running]):
    """The golden vectors of a backend, operation by operation."""

    def __init__(self, backend: CompilingBackend[Code, Running]) -> None:
        self.backend = backend
        self.name = backend.name
        self.trust = Trust.TOLERANT
        self._shown: set[Op] = set()
        self._lock = threading.Lock()

    def meet(self, graph: Graph) -> None:
        """Return once all operations of `graph` have given the right bits here; raises ResourceError when not."""
        with self._lock:
            new = {node.op for node in all_nodes(graph)} - self._shown
            if new:
                self.backend.require(check_backend(self, new))
                self._shown |= new

    def compile(self, graph: Graph) -> Running:
        """Return a program of the backend without asking for its trust."""
        return self.backend.program(graph, self.backend.load_unqualified(graph))
