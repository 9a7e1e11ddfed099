"""torch modules as networks, through torch.export. Needs the package torch (`pip install 'synaptic-mesh[torch]'`).

The module is exported for an example of its rows and read operator by operator (torch_operators.py); its parameters
keep their names, its buffers are constants. The number of rows stays open where torch can leave it open.
"""

import inspect
from typing import Any

import msgspec
import numpy as np
import torch

from synaptic_mesh.base.arrays import F32, Array
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.engine.trace import Tensor
from synaptic_mesh.interchange.parameter_names import parameter_names
from synaptic_mesh.interchange.row_chunks import in_chunks
from synaptic_mesh.interchange.row_kinds import check_whole, enter
from synaptic_mesh.interchange.torch_aliases import Reference, TorchNode, check_aliases
from synaptic_mesh.interchange.torch_call import ROUNDED_KINDS, TorchCall
from synaptic_mesh.interchange.torch_operators import find_operator
from synaptic_mesh.models.initial_values import Given
from synaptic_mesh.models.scope import Scope

MISFITS = (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError)
"""What arguments of a form that no handler knows make it raise."""


class TorchNetwork(msgspec.Struct, frozen=True, eq=False):
    """An exported module with one input, rows first, as a network. Integers and bools arrive as f32 rows."""

    nodes: tuple[TorchNode, ...]
    parameters: dict[str, tuple[str, Array]]
    """Node -> (parameter's name, values)."""
    constants: dict[str, Array]
    entry: str
    result: Any
    rows: int | None
    """The rows that it was exported for, None when their number is open."""
    kind: str = "float32"
    """The input's type, by NumPy's name."""

    def check_rows(self, rows: F32) -> None:
        """Raise LocalError naming the first value that the input does not take."""
        check_whole(rows, self.kind, self.entry)

    def __call__(self, scope: Scope, x: Tensor) -> Tensor:
        """Return the module's (first) result. Raises LocalError naming the operator that does not fit."""
        if self.rows is None or self.rows == x.shape[0]:
            return self._trace(scope, x)
        return in_chunks(x, self.rows, lambda part: self._trace(scope, part))

    def _trace(self, scope: Scope, x: Tensor) -> Tensor:
        values: dict[str, Any] = {self.entry: enter(x, self.kind)}
        for node_name, (name, array) in self.parameters.items():
            values[node_name] = scope.parameter(name, array.shape, Given(array))
        for node_name, array in self.constants.items():
            values[node_name] = scope.builder.array(array)
        for node in self.nodes:
            arguments = _resolved(node.arguments, values)
            keywords = {key: _resolved(value, values) for key, value in node.keywords.items()}
            handler = find_operator(node.op)
            try:
                if handler is None:
                    raise LocalError("is not supported")
                values[node.name] = handler(TorchCall(scope, node.op, arguments, keywords, node.kind))
            except LocalError as error:
                raise LocalError(f"torch operator {node.op} ({node.name}): {error}") from None
            except MISFITS as error:
                raise LocalError(f"torch operator {node.op} ({node.name}) with {_shown(arguments)}: {error}") from None
        found = _resolved(self.result, values)
        if not isinstance(found, Tensor):
            raise LocalError(f"the module returns {type(found).__name__} and no tensor")
        return found


def torch_network(module: torch.nn.Module, example: Any) -> TorchNetwork:
    """Return a module as a network. `example`: a tensor or array of rows as the module takes them.

    The module is read as it predicts (in eval mode); batch norm uses its running statistics. Raises LocalError when
    torch cannot export it, or naming the first operator that is not supported.
    """
    if not isinstance(module, torch.nn.Module):
        raise LocalError(f"{module!r} is {type(module).__name__}, not a torch.nn.Module")
    rows = _rows(example)
    _check_types(module, rows)
    was_training = module.training
    module.eval()
    try:
        several = rows if len(rows) > 1 else torch.cat([rows, rows])  # torch takes an extent of 1 for a fixed one
        first, *_ = inspect.signature(module.forward).parameters.values()
        rows_open: Any = {0: torch.export.Dim.AUTO}
        shapes = ((rows_open,),) if first.kind is inspect.Parameter.VAR_POSITIONAL else (rows_open,)
        _check_rows_apart(module, several)
        program = torch.export.export(module, (several,), dynamic_shapes=shapes)
    except LocalError:
        raise
    except Exception as error:  # torch raises many types here; the sentence is what helps
        raise LocalError(f"torch cannot export {type(module).__name__}: {str(error).splitlines()[0]}") from None
    finally:
        module.train(was_training)
    return _read(program, len(several))


def _check_rows_apart(module: torch.nn.Module, rows: Any) -> None:
    """Raise LocalError where a row's answer is seen to depend on the other rows: Model answers row by row.

    What no example shows is not found; a module that takes no single row is taken as it is.
    """
    with torch.no_grad():
        try:
            whole, alone = (_first(module(part)) for part in (rows, rows[:1]))
        except Exception:  # of any kind: what fails on all rows too is reported by the export that follows
            return
    if whole is None or alone is None or whole.shape[:1] != rows.shape[:1] or alone.shape[:1] != (1,):
        return
    if whole[:1].shape == alone.shape and not torch.allclose(whole[:1], alone, rtol=1e-3, atol=1e-4, equal_nan=True):
        raise LocalError(
            f"the answer of {type(module).__name__} for a row depends on the other rows; a Model answers row by row"
        )


def _first(value: Any) -> Any:
    first = value[0] if isinstance(value, list | tuple) and value else value
    return first.float() if isinstance(first, torch.Tensor) and first.ndim else None


def _rows(example: Any) -> Any:
    try:
        rows = example if isinstance(example, torch.Tensor) else torch.as_tensor(np.asarray(example))
    except TypeError:
        rows = torch.zeros(())
    if not rows.ndim or not len(rows):
        raise LocalError(f"example of type {type(example).__name__} holds no rows; give some as the module takes them")
    return rows


def _check_types(module: torch.nn.Module, rows: Any) -> None:
    for name, tensor in (("the example", rows), *module.named_parameters()):
        if str(tensor.dtype) in ROUNDED_KINDS:
            raise LocalError(
                f"{name} is {tensor.dtype}, whose rounding at every step is not computed; use module.float()"
            )


def _read(program: Any, rows: int) -> TorchNetwork:
    signature = program.graph_signature
    nodes: list[TorchNode] = []
    result: Any = None
    for node in program.graph.nodes:
        if node.op == "call_function":
            kind = _kind_of(node.meta.get("val"))
            nodes.append(TorchNode(node.name, str(node.target), _plain(node.args), _plain(dict(node.kwargs)), kind))
        elif node.op == "output":
            result = _plain(node.args[0][0])
    unknown = [node for node in nodes if find_operator(node.op) is None]
    if unknown:
        raise LocalError(f"torch operator {unknown[0].op} (node {unknown[0].name!r}) is not supported")
    check_aliases(nodes, result)
    held = {**program.state_dict, **program.constants}
    ours = parameter_names(name.replace(".", "/") for name in signature.inputs_to_parameters.values())
    parameters = {
        place: (ours[name.replace(".", "/")], _array(held[name]))
        for place, name in signature.inputs_to_parameters.items()
    }
    constants = {place: _array(held[name]) for place, name in signature.inputs_to_buffers.items()}
    lifted = signature.inputs_to_lifted_tensor_constants
    constants |= {place: _array(held[name]) for place, name in lifted.items()}
    (entry,) = signature.user_inputs
    (first,) = (node for node in program.graph.nodes if node.name == entry)
    is_open = not isinstance(first.meta["val"].shape[0], int)
    kind = str(first.meta["val"].dtype).removeprefix("torch.")
    return TorchNetwork(tuple(nodes), parameters, constants, entry, result, None if is_open else rows, kind)


def _kind_of(value: Any) -> str:
    first = value[0] if isinstance(value, list | tuple) and value else value
    return str(first.dtype) if isinstance(first, torch.Tensor) else ""


def _shown(arguments: tuple[Any, ...]) -> str:
    return ", ".join(str(each.shape) if isinstance(each, Tensor) else str(each)[:40] for each in arguments)


def _plain(value: Any) -> Any:
    if isinstance(value, torch.fx.Node):
        return Reference(value.name)
    if isinstance(value, list | tuple):
        return tuple(_plain(each) for each in value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, torch.dtype | torch.device | torch.layout | torch.memory_format):
        return str(value)
    return value


def _resolved(value: Any, values: dict[str, Any]) -> Any:
    if isinstance(value, Reference):
        return values[value.name]
    if isinstance(value, tuple):
        return tuple(_resolved(each, values) for each in value)
    return value


def _array(tensor: Any) -> Array:
    found: Array = tensor.detach().cpu().numpy()
    return np.ascontiguousarray(found, dtype=np.float32 if found.dtype.kind == "f" else np.int32)
