"""The exact tensor engine, pure half: graphs, how they are made, and what their bits are. In the order of processing:

ir            the SSA graph and its law; `geometry` names the integers of its operations
rules/        the law of each operation; `verify` checks a graph, `text` shows it; scan_body: the graph inside a SCAN
trace         Python functions on `Tensor`s become graphs; body_builder: steps of a scan become bodies
composites    softmax, losses, dense layers: published decompositions into primitives
functions/    what models are written with beside operators: convolution, pooling, norms, attention, losses, recurrences
autodiff      reverse mode, graph to graph, by `pullbacks/`; `contributions` says how several uses add up,
              differentiate_scan goes back through loops
optimizers    SGD, momentum, AdamW and whole training steps as one graph; more rules in adaptive and resilient
schedules     learning rates that change, as tables of bit patterns
gradient_rules  clipping and weight decay around any optimizer; optimizer_names lists all by name
passes        rewrites that provably keep every bit, scan_passes those of loops; unroll writes loops out
limits        what a graph from others may cost; FLOPs and memory by integer formulas
serialize     canonical bytes and digest of a graph
initializers  parameters from a seed by counter-based integers
polynomials   exp, log, tanh, sigmoid: one definition over a small protocol, for every backend; so are sin, cos and
              erf (trigonometry), x^y (powers) and random words (threefry)
reference     the numpy interpreter: the definition of every operation, by `executors/`
golden        vectors that pin the definition (golden_cases, golden_loops, golden_digests); `semantics_id`;
              `check_backend`
support       what a backend cannot compile yet, and how it says so
backend       what a backend promises; StepInvalid
lowering      from graph to plan: views, fused kernels (fusion, row_fusion), schedule and memory (planner); `arena`
              shows it; loop_plan does the same for the body of a SCAN
nest/         loop nests: every kernel but the matrix products, written once for both emitters
wasm/         the WebAssembly emitter: bytes only, executed by `workers`
native/       the LLVM emitter: text only, compiled and executed by `workers`
"""
