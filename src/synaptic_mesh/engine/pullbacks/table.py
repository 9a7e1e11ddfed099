"""The whole table of differentiable operations."""

from synaptic_mesh.engine.ir import Op
from synaptic_mesh.engine.pullbacks.contraction import CONTRACTION
from synaptic_mesh.engine.pullbacks.elementwise import ELEMENTWISE
from synaptic_mesh.engine.pullbacks.indexing import INDEXING
from synaptic_mesh.engine.pullbacks.movement import MOVEMENT
from synaptic_mesh.engine.pullbacks.order import ORDER
from synaptic_mesh.engine.pullbacks.pullback import Pullback

PULLBACKS: dict[Op, Pullback] = {**ELEMENTWISE, **MOVEMENT, **ORDER, **CONTRACTION, **INDEXING}
