"""Names of other libraries as names of parameters."""

import re
from collections import Counter
from collections.abc import Iterable

from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.models.scope import NAME_CHARACTERS_MAX

DIGEST_CHARACTERS = 8


def parameter_names(names: Iterable[str]) -> dict[str, str]:
    """Return a parameter's name for each name. Those that would become equal end in a digest: they must not be taken
    for one tensor that is used twice."""
    found = {name: parameter_name(name) for name in names}
    uses = Counter(found.values())
    return {name: made if uses[made] == 1 or made == name else _digested(name, made) for name, made in found.items()}


def parameter_name(name: str) -> str:
    """Return a parameter's name: other characters become "_", a digit in front gets one, long ones end in a digest."""
    clean = re.sub(r"[^A-Za-z0-9_./-]", "_", name)
    clean = clean if re.match(r"[A-Za-z_]", clean) else f"_{clean}"
    return clean if len(clean) <= NAME_CHARACTERS_MAX else _digested(name, clean)


def _digested(name: str, clean: str) -> str:
    digest = hash_bytes("SM/parameter-name", name.encode()).hex()[:DIGEST_CHARACTERS]
    return f"{clean[: NAME_CHARACTERS_MAX - DIGEST_CHARACTERS - 1]}-{digest}"
