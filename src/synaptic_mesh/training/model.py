"""A trained model: parameters, the record that turns raw rows into its inputs, and where it comes from."""

import msgspec

from synaptic_mesh.base.arrays import F32
from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.models.registry import parse_model
from synaptic_mesh.training.prepared import Prepared


class HeldOutMetrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured on rows that no worker was ever assigned."""

    rows: int
    correct: int
    """Rows whose highest score is at the label; 0 for regression."""
    loss: float
    """Mean cross entropy, or mean squared error of scaled targets."""
    measured: str
    """How, for people: for example "voted by a quorum of 3 of 4 validators at the last root"."""


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a model comes from. Ids are lower-case hex; a model outside any network has empty ones."""

    semantics_id: str
    network: str
    job: str
    root: str
    """The committed state that the parameters belong to."""
    data: str
    seed: int
    outer_steps: int
    """Committed outer steps."""
    audited: bool
    """False: nobody re-executed the updates ("unaudited")."""
    metrics: HeldOutMetrics | None = None

    @property
    def audit_label(self) -> str:
        """ "audited" or "unaudited": shown with every result."""
        return "audited" if self.audited else "unaudited"


class TrainedModel(msgspec.Struct, frozen=True):
    """`parameters` are named and shaped as the specification says for the widths of `prepared`."""

    spec: str
    prepared: Prepared
    parameters: dict[str, F32]
    provenance: Provenance


def check_model(model: TrainedModel) -> None:
    """Raise LocalError unless specification, record and parameters fit together."""
    shapes = parse_model(model.spec).shapes(model.prepared.width, model.prepared.outputs)
    found = {name: tensor.shape for name, tensor in model.parameters.items()}
    if found != shapes:
        differing = sorted(name for name in {*found, *shapes} if found.get(name) != shapes.get(name))
        name = differing[0]
        raise LocalError(
            f"parameter {name!r} has shape {found.get(name)}, model {model.spec} on this data needs {shapes.get(name)}"
        )
