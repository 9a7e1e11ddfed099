"""The ceiling of every exact kernel at one vector width: products and sums that touch no memory.

Half of the chains only multiply and half only add, so no result waits for another chain: what remains is how many
products and sums of separate instructions the core starts per cycle. A matrix product needs them in equal numbers.
With `fused` every instruction is a fused multiply-add instead, counted as two operations: what exactness costs.
"""

from synaptic_mesh.engine.native.function import Function
from synaptic_mesh.engine.native.profile import Profile
from synaptic_mesh.engine.native.values import FLOAT, Value, VectorOps

ROUNDS = 8
PEAK = "peak"


def operations_per_iteration(profile: Profile, fused: bool = False) -> int:
    """Return the f32 operations of one loop iteration."""
    return profile.accumulators * ROUNDS * profile.lanes * (2 if fused else 1)


def peak_text(profile: Profile, fused: bool = False) -> str:
    """Return a module with `peak(memory, iterations)`; memory: 2 vectors that LLVM cannot know, then the results."""
    f = Function(PEAK, [("ptr", "%memory"), ("i64", "%iterations")], export=True)
    ops = VectorOps(f, profile, profile.lanes)
    one = ops.load(FLOAT, "%memory")
    start = f.load(ops.float, f.at("%memory", 4 * profile.lanes))

    def body(_position: str, values: list[str]) -> list[str]:
        for _ in range(ROUNDS):
            values = [_next(ops, number, Value(value, FLOAT), one, fused) for number, value in enumerate(values)]
        return values

    chains = f.loop(0, "%iterations", 1, body, [(ops.float, start)] * profile.accumulators)
    for number, chain in enumerate(chains):
        f.store(ops.float, chain, f.at("%memory", 4 * profile.lanes * (2 + number)))
    return f.text()


def _next(ops: VectorOps, number: int, chain: Value, one: Value, fused: bool) -> str:
    if fused:
        return ops.floats("@llvm.fma", chain, one, one).text
    return (ops.add(chain, one) if number % 2 else ops.mul(chain, one)).text
