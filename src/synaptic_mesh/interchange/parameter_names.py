"""Names of other libraries as names of parameters."""

import re

from synaptic_mesh.base.digests import hash_bytes
from synaptic_mesh.models.scope import NAME_CHARACTERS_MAX

DIGEST_CHARACTERS = 8


def parameter_name(name: str) -> str:
    """Return a parameter's name: other characters become "_", a digit in front gets one, long ones end in a digest."""
    clean = re.sub(r"[^A-Za-z0-9_./-]", "_", name)
    clean = clean if re.match(r"[A-Za-z_]", clean) else f"_{clean}"
    if len(clean) <= NAME_CHARACTERS_MAX:
        return clean
    digest = hash_bytes("SM/parameter-name", name.encode()).hex()[:DIGEST_CHARACTERS]
    return f"{clean[: NAME_CHARACTERS_MAX - DIGEST_CHARACTERS - 1]}-{digest}"
