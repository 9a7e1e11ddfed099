"""What models are written with beside Tensor's operators (`trace`): functions of tensors, one family a module.

elementwise   erf, sin, cos, rounding, bits
movement      slicing, padding, joining, stacking
order         running sums, ranking, sorting
indexing      picking and adding along an axis
convolution   1-d and 2-d, strided, dilated, grouped, transposed
pooling       maximum, average, global
activations   relu's relatives, gelu, softmax over any axis
normalization layer, RMS, group and batch norm
attention     scaled dot-product attention
losses        classification and regression losses
random        words from a counter, dropout
scan          a step applied along an axis, its states handed on
recurrence    LSTM, GRU

The order of operations in these functions is part of the semantics: changing it changes graphs and their digests.
"""
