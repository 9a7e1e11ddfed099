"""Layers: settings that are called with a scope and a tensor. Rows come first; images are (rows, channels, height,
width), sequences (rows, steps, features).

activation      relu, gelu and the like by name
dense           fully connected
shape           Flatten, Reshape
normalization   LayerNorm, RMSNorm, GroupNorm, BatchNorm
dropout         Dropout
convolution     Conv1d, Conv2d
pooling         MaxPool, AveragePool, the global ones
recurrent       LSTM, GRU
attention       MultiHeadAttention, TransformerBlock
embedding       tables of vectors for tokens and positions
sequential      one layer after the other, sums with a shortcut; the union of all layers, which files name
"""
