"""Layer 4: networks and data of other programs, read and written. Each format and each library has a file of its own.

fann_data         training data of FANN: .data files
fann_net          networks of FANN: FANN_FLO_2.1 .net files, as records
fann_activations  the activation functions of libfann by number
fann_network      such a record as a network, and networks as such records
fann_export       dense layers as such records
onnx_operators    the ONNX operators that are computed, by family: onnx_elementwise, onnx_shapes, onnx_folding,
                  onnx_reductions, onnx_neural, onnx_attention, onnx_einsum, onnx_recurrent, onnx_resize,
                  onnx_quantized, onnx_control, onnx_sequences, onnx_scatter, onnx_sklearn; onnx_values and rounding
                  are shared
onnx_import       ONNX models as records and networks; onnx_export writes graphs of the engine
torch_import      torch modules as networks; torch_operators are those that are computed, by family: torch_elementwise,
                  torch_tensors, torch_reductions, torch_neural; torch_call is shared, torch_aliases knows what their
                  in-place forms may change
spatial           convolutions over one to three axes; resampling: resizing and adaptive pooling; arcs: atan and its kin
row_kinds         inputs that are integers or bools; row_chunks: models of a fixed number of rows
onnx_backend      the engine behind the interface of onnx.backend; onnx_report runs the public node tests on it
"""
