"""The whole table."""

from synaptic_mesh.engine.ir import Op
from synaptic_mesh.engine.rules.contraction import CONTRACTION
from synaptic_mesh.engine.rules.elementwise import ELEMENTWISE
from synaptic_mesh.engine.rules.indexing import INDEXING
from synaptic_mesh.engine.rules.loop import LOOP
from synaptic_mesh.engine.rules.movement import MOVEMENT
from synaptic_mesh.engine.rules.order import ORDER
from synaptic_mesh.engine.rules.rule import Rule

RULES: dict[Op, Rule] = {**MOVEMENT, **ELEMENTWISE, **ORDER, **CONTRACTION, **INDEXING, **LOOP}
