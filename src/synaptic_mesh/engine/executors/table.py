"""The whole table; inputs and constants hold values and are not executed."""

from synaptic_mesh.engine.executors.contraction import CONTRACTION
from synaptic_mesh.engine.executors.elementwise import ELEMENTWISE
from synaptic_mesh.engine.executors.executor import Executor
from synaptic_mesh.engine.executors.indexing import INDEXING
from synaptic_mesh.engine.executors.movement import MOVEMENT
from synaptic_mesh.engine.executors.order import ORDER
from synaptic_mesh.engine.ir import Op

EXECUTORS: dict[Op, Executor] = {**ELEMENTWISE, **MOVEMENT, **ORDER, **CONTRACTION, **INDEXING}
