"""The exact tensor engine, pure half: graphs, how they are made, and what their bits are. In the order of processing:

ir            the SSA graph, its law and `verify`; `format_graph` shows it
trace         Python functions on `Tensor`s become graphs
composites    softmax, losses, dense layers: published decompositions into primitives
autodiff      reverse mode, graph to graph
optimizers    SGD, momentum, AdamW and whole training steps as one graph; more rules in adaptive and resilient
schedules     learning rates that change, as tables of bit patterns
gradient_rules  clipping and weight decay around any optimizer; optimizer_names lists all by name
passes        rewrites that provably keep every bit
limits        what a graph from others may cost; FLOPs and memory by integer formulas
serialize     canonical bytes and digest of a graph
initializers  parameters from a seed by counter-based integers
polynomials   exp, log, tanh, sigmoid: one definition over a small protocol, for every backend
reference     the numpy interpreter: the definition of every operation
golden        vectors that pin the definition (golden_cases, golden_digests); `semantics_id`; `check_backend`
backend       what a backend promises; StepInvalid
wasm/         the WebAssembly emitter: bytes only, executed by `workers`
native/       the LLVM emitter: text only, compiled and executed by `workers`
"""
