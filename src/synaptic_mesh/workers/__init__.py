"""Layer 5, shell: executing graphs. The runtime behind the engine's pure half.

wasm_runtime        compiles graphs to WebAssembly, runs them in wasmtime, and gives exact trust only after the golden
vectors passed here program_cache       generated and precompiled modules on disk, checked before use, rebuilt when
damaged float_environment   rounding to nearest and subnormals kept, on the thread that executes explain
what the emitter made of a graph: IR, plan, module text, sizes and times
"""
