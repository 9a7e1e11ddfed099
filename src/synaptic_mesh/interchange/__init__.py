"""Layer 4: networks and data of other programs, read and written. Each format and each library has a file of its own.

fann_data         training data of FANN: .data files
fann_net          networks of FANN: FANN_FLO_2.1 .net files, as records
fann_activations  the activation functions of libfann by number
fann_network      such a record as a network, and networks as such records
"""
