"""Synaptic Mesh: train and serve many small neural networks together, on machines that do not trust each other.

The names below are what most programs need; they load on first use, so that importing the package costs next to
nothing. Everything else is imported from its own module.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synaptic_mesh.node.backends import open_backend
    from synaptic_mesh.node.local import solo_terms
    from synaptic_mesh.node.local_job import LocalJob
    from synaptic_mesh.training.evaluate import evaluate
    from synaptic_mesh.training.hyperparameters import Hyperparameters
    from synaptic_mesh.training.job import JobTerms, prepare_job
    from synaptic_mesh.training.model_file import load_model
    from synaptic_mesh.training.predict import predict
    from synaptic_mesh.training.sources import load_examples, load_features, load_labelled

__version__ = "0.1.0"

_HOMES = {
    "Hyperparameters": "training.hyperparameters",
    "JobTerms": "training.job",
    "LocalJob": "node.local_job",
    "evaluate": "training.evaluate",
    "load_examples": "training.sources",
    "load_features": "training.sources",
    "load_labelled": "training.sources",
    "load_model": "training.model_file",
    "open_backend": "node.backends",
    "predict": "training.predict",
    "prepare_job": "training.job",
    "solo_terms": "node.local",
}

__all__ = [
    "Hyperparameters",
    "JobTerms",
    "LocalJob",
    "__version__",
    "evaluate",
    "load_examples",
    "load_features",
    "load_labelled",
    "load_model",
    "open_backend",
    "predict",
    "prepare_job",
    "solo_terms",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
