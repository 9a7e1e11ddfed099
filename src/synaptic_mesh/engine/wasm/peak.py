"""The ceiling of every exact kernel: f32x4 products and sums that touch no memory, as many as the core can do.

Half of the chains only multiply and half only add, so no result waits for another chain: what remains is how many
128-bit products and sums the core starts per cycle. A matrix product needs them in equal numbers.
"""

from synaptic_mesh.engine.abi import PAGE_BYTES
from synaptic_mesh.engine.wasm.encoder import Module
from synaptic_mesh.engine.wasm.function import Function, Local
from synaptic_mesh.engine.wasm.loops import counted
from synaptic_mesh.engine.wasm.opcodes import ValueType

I32, V128 = ValueType.I32, ValueType.V128
CHAINS = 14
"""With the constant operand one register less than x86-64 has; four cycles of latency need at least 12."""
ROUNDS = 8
LANES = 4
OPERATIONS_PER_ITERATION = CHAINS * ROUNDS * LANES
"""f32 operations of one loop iteration."""
PEAK_EXPORT = "peak"


def peak_module() -> bytes:
    """Return a module with `peak(iterations)`."""
    f = Function(PEAK_EXPORT, (I32,))
    one, step = f.local(V128), f.local(I32)
    chains = f.locals_of(V128, CHAINS)
    f.splat_bits(0x3F800000)
    f.set(one)
    for number, chain in enumerate(chains):
        f.splat_bits(0x3F000000 + number)
        f.set(chain)
    with counted(f, step, 0, Local(0, I32), 1):
        for _ in range(ROUNDS):
            for number, chain in enumerate(chains):
                f.get(chain)
                f.get(one)
                f.emit("f32x4.add" if number % 2 else "f32x4.mul")
                f.set(chain)
    for number, chain in enumerate(chains):
        f.i32(16 * number)
        f.get(chain)
        f.store("v128.store")
    module = Module(PAGE_BYTES)
    module.add(f, export=True)
    return module.encode()
