"""Layer 7: a model as users of scikit-learn and Keras expect one, on one machine and exact.

model         Model: fit, predict, evaluate, save, load
rows          NumPy, pandas, Arrow and DLPack data as tensors
targets       labels of any kind as class numbers and back
batches       rows in batches, in the order that a seed decides
session       parameters, state and compiled programs of a model
history       what fit returns
callbacks     early stopping, checkpoints, changing learning rates
fit_settings  what fit is asked for, checked
formats       models from ONNX, torch and FANN, and back
progress      bars on a terminal, lines elsewhere
summary       a table of layers
rate          the learning rate inside an optimizer; optimizer_text is all of it as text
network_file  models on disk
"""
