"""Layer 2: model families and the graphs of a job.

model        what a family offers; bounds on sizes
mlp, linear  one file per family
scope        what a network asks for while it is traced: parameters, state and randomness by name
initial_values  how parameters begin
registry     a text such as "mlp:64,64" becomes a model
graphs       training step, prediction and optimizer state of a model, ready for a manifest

Nothing here knows data sets or jobs: widths and class counts are arguments.
"""
