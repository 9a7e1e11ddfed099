"""The same work in torch with torch.compile over model and loss; the optimizer stays torch's own. A product is one call
into the same BLAS either way, so it is measured eager only."""

from typing import Any

import torch

from synaptic_mesh.bench.cases import Case
from synaptic_mesh.bench.contestant import Prepared
from synaptic_mesh.bench.rival_torch import prepare_torch
from synaptic_mesh.bench.workload import Kind


class Entry:
    """torch with its compiler."""

    name = "torch.compile"

    def __init__(self) -> None:
        torch.set_num_threads(1)

    def prepare(self, case: Case) -> Prepared | None:
        """Return the case ready to be run, or None for a product."""
        if case.work.kind is Kind.GEMM:
            return None
        compiled: Any = torch.compile
        return prepare_torch(case, lambda function: compiled(function, dynamic=False))
