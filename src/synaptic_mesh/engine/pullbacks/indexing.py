"""Gradients of picking and adding at an index: each other. Indices have none."""

from synaptic_mesh.engine.functions.indexing import gather_last, scatter_add_last
from synaptic_mesh.engine.ir import Op
from synaptic_mesh.engine.pullbacks.pullback import Pullback
from synaptic_mesh.engine.trace import gather, scatter_add

INDEXING: dict[Op, Pullback] = {
    Op.GATHER: lambda _, o, g: [lambda: scatter_add(g, o[1], o[0].shape[0]), None],
    Op.SCATTER_ADD: lambda _, o, g: [lambda: gather(g, o[1]), None],
    Op.GATHER_LAST: lambda _, o, g: [lambda: scatter_add_last(g, o[1], o[0].shape[-1]), None],
    Op.SCATTER_ADD_LAST: lambda _, o, g: [lambda: gather_last(g, o[1]), None],
}
