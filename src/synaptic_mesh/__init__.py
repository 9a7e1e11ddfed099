"""Synaptic Mesh: train and serve many small neural networks together, on machines that do not trust each other."""

__version__ = "0.1.0"
__all__ = ["__version__"]
