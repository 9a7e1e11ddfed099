"""The families by name, and the text form of a model: FAMILY or FAMILY:ARGUMENTS."""

from collections.abc import Callable

from synaptic_mesh.base.errors import LocalError
from synaptic_mesh.models import layered, linear, mlp
from synaptic_mesh.models.model import Model

SPEC_CHARACTERS_MAX = 200
LAYERED_CHARACTERS_MAX = 4096
FAMILIES: dict[str, tuple[Callable[[str], Model], str]] = {
    "layers": (layered.parse_layered, layered.EXAMPLE),
    "linear": (linear.parse_linear, linear.EXAMPLE),
    "mlp": (mlp.parse_mlp, mlp.EXAMPLE),
}
"""Name -> (parser of what follows the colon, example)."""


def parse_model(spec: str) -> Model:
    """Return the model that `spec` names. Raises LocalError naming the families, or what the family does not accept."""
    most = LAYERED_CHARACTERS_MAX if spec.startswith(f"{layered.PREFIX}:") else SPEC_CHARACTERS_MAX
    if len(spec) > most:
        raise LocalError(f"a model specification of {len(spec)} characters is over {most}; use fewer layers")
    family, _, arguments = spec.strip().partition(":")
    if family not in FAMILIES:
        known = ", ".join(f"{name} (for example {example})" for name, (_, example) in sorted(FAMILIES.items()))
        raise LocalError(f"model {spec!r} is not known; the families are {known}")
    parse, _ = FAMILIES[family]
    return parse(arguments)
