"""Synaptic Mesh: train and serve many small neural networks together, on machines that do not trust each other.

The names below are what most programs need; they load on first use, so that importing the package costs next to
nothing. Everything else is imported from its own module.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synaptic_mesh.engine.adaptive import Adagrad, Adam, Lion, RMSprop
    from synaptic_mesh.engine.gradient_rules import ClipByGlobalNorm, ClipByValue, WeightDecay
    from synaptic_mesh.engine.optimizers import SGD, AdamW, Momentum, Nesterov
    from synaptic_mesh.engine.resilient import IRpropMinus, Quickprop
    from synaptic_mesh.engine.schedules import Schedule, cosine, step_decay, warm_up
    from synaptic_mesh.facade.callbacks import (
        Callback,
        CSVLogger,
        EarlyStopping,
        LambdaCallback,
        LearningRateScheduler,
        ModelCheckpoint,
        ReduceLROnPlateau,
    )
    from synaptic_mesh.facade.formats import from_fann, from_onnx, from_torch, to_fann, to_onnx
    from synaptic_mesh.facade.history import History
    from synaptic_mesh.facade.model import Model
    from synaptic_mesh.interchange.fann_data import read_fann_data, write_fann_data
    from synaptic_mesh.models.layers.activation import Activation
    from synaptic_mesh.models.layers.attention import MultiHeadAttention, TransformerBlock
    from synaptic_mesh.models.layers.convolution import Conv1d, Conv2d
    from synaptic_mesh.models.layers.dense import Dense
    from synaptic_mesh.models.layers.dropout import Dropout
    from synaptic_mesh.models.layers.embedding import Embedding, PositionEmbedding
    from synaptic_mesh.models.layers.normalization import BatchNorm, GroupNorm, LayerNorm, RMSNorm
    from synaptic_mesh.models.layers.pooling import (
        AveragePool,
        GlobalAveragePool,
        GlobalMaxPool,
        MaxPool,
        MeanOverSteps,
    )
    from synaptic_mesh.models.layers.recurrent import GRU, LSTM
    from synaptic_mesh.models.layers.sequential import Residual, Sequential, sequential
    from synaptic_mesh.models.layers.shape import Flatten, Reshape
    from synaptic_mesh.models.scope import Scope
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
    "Activation": "models.layers.activation",
    "Adagrad": "engine.adaptive",
    "Adam": "engine.adaptive",
    "AdamW": "engine.optimizers",
    "AveragePool": "models.layers.pooling",
    "BatchNorm": "models.layers.normalization",
    "CSVLogger": "facade.callbacks",
    "Callback": "facade.callbacks",
    "ClipByGlobalNorm": "engine.gradient_rules",
    "ClipByValue": "engine.gradient_rules",
    "Conv1d": "models.layers.convolution",
    "Conv2d": "models.layers.convolution",
    "Dense": "models.layers.dense",
    "Dropout": "models.layers.dropout",
    "EarlyStopping": "facade.callbacks",
    "Embedding": "models.layers.embedding",
    "Flatten": "models.layers.shape",
    "GRU": "models.layers.recurrent",
    "GlobalAveragePool": "models.layers.pooling",
    "GlobalMaxPool": "models.layers.pooling",
    "GroupNorm": "models.layers.normalization",
    "History": "facade.history",
    "Hyperparameters": "training.hyperparameters",
    "IRpropMinus": "engine.resilient",
    "JobTerms": "training.job",
    "LSTM": "models.layers.recurrent",
    "LambdaCallback": "facade.callbacks",
    "LayerNorm": "models.layers.normalization",
    "LearningRateScheduler": "facade.callbacks",
    "Lion": "engine.adaptive",
    "LocalJob": "node.local_job",
    "MaxPool": "models.layers.pooling",
    "MeanOverSteps": "models.layers.pooling",
    "Model": "facade.model",
    "ModelCheckpoint": "facade.callbacks",
    "Momentum": "engine.optimizers",
    "MultiHeadAttention": "models.layers.attention",
    "Nesterov": "engine.optimizers",
    "PositionEmbedding": "models.layers.embedding",
    "Quickprop": "engine.resilient",
    "RMSNorm": "models.layers.normalization",
    "RMSprop": "engine.adaptive",
    "ReduceLROnPlateau": "facade.callbacks",
    "Reshape": "models.layers.shape",
    "Residual": "models.layers.sequential",
    "SGD": "engine.optimizers",
    "Schedule": "engine.schedules",
    "Scope": "models.scope",
    "Sequential": "models.layers.sequential",
    "TransformerBlock": "models.layers.attention",
    "WeightDecay": "engine.gradient_rules",
    "cosine": "engine.schedules",
    "evaluate": "training.evaluate",
    "from_fann": "facade.formats",
    "from_onnx": "facade.formats",
    "from_torch": "facade.formats",
    "load_examples": "training.sources",
    "load_features": "training.sources",
    "load_labelled": "training.sources",
    "load_model": "training.model_file",
    "open_backend": "node.backends",
    "predict": "training.predict",
    "prepare_job": "training.job",
    "read_fann_data": "interchange.fann_data",
    "sequential": "models.layers.sequential",
    "solo_terms": "node.local",
    "step_decay": "engine.schedules",
    "to_fann": "facade.formats",
    "to_onnx": "facade.formats",
    "warm_up": "engine.schedules",
    "write_fann_data": "interchange.fann_data",
}

__all__ = [
    "Activation",
    "Adagrad",
    "Adam",
    "AdamW",
    "AveragePool",
    "BatchNorm",
    "CSVLogger",
    "Callback",
    "ClipByGlobalNorm",
    "ClipByValue",
    "Conv1d",
    "Conv2d",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "Flatten",
    "GRU",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNorm",
    "History",
    "Hyperparameters",
    "IRpropMinus",
    "JobTerms",
    "LSTM",
    "LambdaCallback",
    "LayerNorm",
    "LearningRateScheduler",
    "Lion",
    "LocalJob",
    "MaxPool",
    "MeanOverSteps",
    "Model",
    "ModelCheckpoint",
    "Momentum",
    "MultiHeadAttention",
    "Nesterov",
    "PositionEmbedding",
    "Quickprop",
    "RMSNorm",
    "RMSprop",
    "ReduceLROnPlateau",
    "Reshape",
    "Residual",
    "SGD",
    "Schedule",
    "Scope",
    "Sequential",
    "TransformerBlock",
    "WeightDecay",
    "__version__",
    "cosine",
    "evaluate",
    "from_fann",
    "from_onnx",
    "from_torch",
    "load_examples",
    "load_features",
    "load_labelled",
    "load_model",
    "open_backend",
    "predict",
    "prepare_job",
    "read_fann_data",
    "sequential",
    "solo_terms",
    "step_decay",
    "to_fann",
    "to_onnx",
    "warm_up",
    "write_fann_data",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
