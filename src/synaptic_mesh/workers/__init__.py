"""Layer 5, shell: executing graphs and tasks. The runtime behind the engine's pure half.

wasm_runtime        compiles graphs to WebAssembly and runs them in wasmtime; exact only after the golden vectors passed
wasm_engine         wasmtime's settings, and its pool for many instances
native_runtime      compiles graphs with LLVM to machine code, where llvmlite is installed; exact on the same condition
call                a prepared call of a program: arrays in by position, one run, arrays out
native_call         the same as a builtin of the interpreter, for short native steps
switching           starts in wasmtime and goes on in machine code once that is compiled
isolated            strangers' graphs: WebAssembly at once, and a worker process of their own when that pays
native_process      a node's side of a worker process: start, ask, limit, end
native_child        the worker process: golden vectors, confinement, LLVM, requests
native_messages     what the two say, and where everything lies in the memory they share
confinement         what a worker process gives up
pool                the threads of this process that help with large kernels
program_cache       generated and precompiled modules on disk, checked before use, rebuilt when damaged
float_environment   rounding to nearest and subnormals kept, on the thread that executes
explain             what the emitter made of a graph: IR, plan, module text, sizes and times
signatures          checks signatures in batches, in child processes
compute             carries out what participants ask to be computed
"""
