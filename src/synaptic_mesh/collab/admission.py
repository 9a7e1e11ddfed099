"""What whoever attests a job has checked beyond the numbers that the ledger checks itself: blobs, graphs and manifest
fit together, so that no honest participant will trip over them later.

The step graph takes exactly the parameters, the optimizer's state and one batch, and carries the first two; the predict
graph takes the parameters and features and gives one score tensor. Each refusal is one sentence that names the value.
"""

from collections.abc import Mapping, Sequence

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.collab.aggregate import outer_step_graph, parameter_count
from synaptic_mesh.collab.batches import ROWS_MAX as SHARD_ROWS_MAX
from synaptic_mesh.collab.evaluate import FEATURES, TARGET, metrics_graph
from synaptic_mesh.collab.tensors import with_rows
from synaptic_mesh.engine.ir import Graph
from synaptic_mesh.engine.limits import LIMITS, Limits, admit, flops
from synaptic_mesh.ledger.manifest import Manifest, TensorSpec

SCORES_RANK = 2
UPDATE_FLOPS_MAX = 1 << 42
"""Work of one update, and again of evaluating one outer step: minutes on one slow core. More is refused, because every
validator does it."""
RUN_FLOPS, PASS_FLOPS, ROW_FLOPS = 1 << 14, 1 << 15, 1 << 6
"""What a run of a graph, a pass over a shard and a row drawn cost beside arithmetic, about as many operations."""


def check_job(manifest: Manifest, step: Graph, predict: Graph, limits: Limits = LIMITS) -> None:
    """Raise LocalError, naming the value, unless graphs and manifest describe a job that can be run and audited."""
    check_row(manifest)
    check_parameters(manifest)
    check_step_graph(manifest, step)
    check_predict_graph(manifest, predict)
    check_cost(manifest, step, predict)
    admit(outer_step_graph(manifest.outer, manifest.workers_max, parameter_count(manifest)), limits)


def check_cost(manifest: Manifest, step: Graph, predict: Graph) -> None:
    """Raise LocalError if one update, or evaluating one state, takes longer than every validator must be able to."""
    shard_rows = [shard.rows for shard in manifest.data.shards]
    if max(shard_rows) > SHARD_ROWS_MAX:
        raise LocalError(f"a shard has {max(shard_rows)} rows, the limit is {SHARD_ROWS_MAX}: cut the data into more")
    passes = -(-manifest.batch // min(shard_rows))
    drawing = PASS_FLOPS * passes + ROW_FLOPS * manifest.batch
    cost = manifest.inner_steps * (run_cost(step) + drawing) + ROW_FLOPS * max(shard_rows)
    if cost > UPDATE_FLOPS_MAX:
        raise LocalError(f"one update costs {cost} FLOPs, the limit is {UPDATE_FLOPS_MAX}: lower inner_steps or batch")
    batch = predict.nodes[predict.inputs[FEATURES]].shape[0]
    cost = -(-manifest.data.test.rows // batch) * (run_cost(predict) + ROW_FLOPS * batch)
    if cost > UPDATE_FLOPS_MAX:
        raise LocalError(
            f"evaluating one state costs {cost} FLOPs, the limit is {UPDATE_FLOPS_MAX}: use fewer held-out rows"
        )


def run_cost(graph: Graph) -> int:
    """Return what one run costs with the writing, reading and hashing of its inputs, in FLOPs."""
    return RUN_FLOPS + flops(graph) + sum(graph.nodes[index].size for index in graph.inputs.values())


def check_row(manifest: Manifest) -> None:
    """Raise LocalError unless a row is features x and target y of the task's dtype."""
    names = [spec.name for spec in manifest.data.row]
    if names != [FEATURES, TARGET]:
        raise LocalError(f"a row holds the tensors {names}; it must hold {FEATURES!r} and {TARGET!r}, in this order")
    target = manifest.data.row[1]
    wanted = "i32" if manifest.task == "classify" else "f32"
    if target.dtype != wanted:
        raise LocalError(f"the target of a {manifest.task} job is {wanted}, not {target.dtype}")


def check_parameters(manifest: Manifest) -> None:
    """Raise LocalError unless the parameters are f32 and their names differ from all others."""
    for spec in manifest.parameters:
        if spec.dtype != "f32":
            raise LocalError(f"parameter {spec.name!r} is {spec.dtype}: only f32 is trained")
    names = [spec.name for spec in (*manifest.parameters, *manifest.optimizer_state, *manifest.data.row)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise LocalError(f"names {repeated} stand for two tensors: rename one")


def check_step_graph(manifest: Manifest, graph: Graph) -> None:
    """Raise LocalError unless the step graph's inputs and carried tensors are the manifest's."""
    carried = (*manifest.parameters, *manifest.optimizer_state)
    _check_inputs("step graph", graph, (*carried, *with_rows(manifest.data.row, manifest.batch)))
    if set(graph.carried) != {spec.name for spec in carried}:
        raise LocalError(f"the step graph carries {sorted(graph.carried)}, not the parameters and optimizer state")


def check_predict_graph(manifest: Manifest, graph: Graph) -> None:
    """Raise LocalError unless the predict graph scores batches of features, and the scores fit the targets."""
    if FEATURES not in graph.inputs or not graph.nodes[graph.inputs[FEATURES]].shape:
        raise LocalError(
            f"the predict graph has inputs {sorted(graph.inputs)}; {FEATURES!r} with a batch axis is missing"
        )
    batch = graph.nodes[graph.inputs[FEATURES]].shape[0]
    if batch < 1:
        raise LocalError("the predict graph takes batches of 0 rows")
    features, target = manifest.data.row
    _check_inputs("predict graph", graph, (*manifest.parameters, *with_rows([features], batch)))
    if len(graph.outputs) != 1 or graph.carried:
        raise LocalError(f"the predict graph has outputs {sorted(graph.outputs)}; it must have one, and carry nothing")
    scores = graph.nodes[next(iter(graph.outputs.values()))]
    wanted = (batch, *(scores.shape[1:2] if manifest.task == "classify" else target.shape))
    if scores.dtype.value != "f32" or scores.shape != wanted or len(wanted) != SCORES_RANK:
        raise LocalError(
            f"the predict graph's output is {scores.dtype.value} {scores.shape}; it must be f32 ({batch}, classes) to "
            "classify, or of the target's shape for each row to regress"
        )
    rows = manifest.data.test.rows
    admit(metrics_graph(manifest.task, (rows, *scores.shape[1:]), (rows, *target.shape)))


def _check_inputs(what: str, graph: Graph, wanted: Sequence[TensorSpec]) -> None:
    expected: Mapping[str, TensorSpec] = {spec.name: spec for spec in wanted}
    if set(graph.inputs) != set(expected):
        raise LocalError(f"the {what} has inputs {sorted(graph.inputs)}, the manifest names {sorted(expected)}")
    for name, index in graph.inputs.items():
        node, spec = graph.nodes[index], expected[name]
        if (node.dtype.value, node.shape) != (spec.dtype, spec.shape):
            raise LocalError(
                f"input {name!r} of the {what} is {node.dtype.value} {node.shape}, "
                f"the manifest says {spec.dtype} {spec.shape}"
            )
