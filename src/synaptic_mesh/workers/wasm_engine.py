"""How wasmtime is set up: deterministic features only, and room for many instances where it is asked for.

Each memory reserves 4 GiB of addresses, so bounds need no check. Asked for one by one, that is a call into the system
for each instance, made and undone; beyond about a hundred instances at once the pooling allocator reserves all of them
together, and a new instance takes a free place: 10 us whatever their number, and no pages of its own until it writes.
"""

import wasmtime
from wasmtime import _bindings as c_api  # wasmtime-py 50 has no method for the pooling allocator

from synaptic_mesh.base.errors import LocalError, ResourceError

INSTANCES_MAX = 20_000
"""Of one pool: 4 GiB of addresses each, of the 128 TiB that a process has."""
MEMORY_BYTES_MAX = 4 << 30
"""Of a memory with 32-bit addresses. The arena's own limit is lower."""


def new_engine(threads: int = 1, instances: int = 0) -> wasmtime.Engine:
    """Return an engine. `threads` > 1 allows memories that instances share; `instances` > 0 reserves places for so many
    at once, and one more is refused. Raises LocalError for an impossible number, ResourceError when the system has no
    room for them."""
    if not 0 <= instances <= INSTANCES_MAX:
        raise LocalError(f"room for {instances} instances: choose 0 (each by itself) to {INSTANCES_MAX}")
    config = wasmtime.Config()
    config.wasm_threads = threads > 1
    config.shared_memory = threads > 1
    config.wasm_relaxed_simd = False
    config.cranelift_opt_level = "speed"
    if instances:
        _pool(config, instances)
    try:
        return wasmtime.Engine(config)
    except wasmtime.WasmtimeError as error:
        raise ResourceError(f"no room for {instances} instances at once: {error}") from None


def _pool(config: wasmtime.Config, instances: int) -> None:
    pool = c_api.wasmtime_pooling_allocation_config_new()
    for limit in ("total_core_instances", "total_memories", "max_unused_warm_slots"):
        getattr(c_api, f"wasmtime_pooling_allocation_config_{limit}_set")(pool, instances)
    for absent in ("total_tables", "total_stacks", "total_gc_heaps"):
        getattr(c_api, f"wasmtime_pooling_allocation_config_{absent}_set")(pool, 0)
    c_api.wasmtime_pooling_allocation_config_max_memory_size_set(pool, MEMORY_BYTES_MAX)
    c_api.wasmtime_pooling_allocation_strategy_set(config.ptr(), pool)
    c_api.wasmtime_pooling_allocation_config_delete(pool)
