"""Layer 9: the verbs of `synaptic`. A verb parses arguments, calls one function below, and prints; it decides
nothing.
"""
