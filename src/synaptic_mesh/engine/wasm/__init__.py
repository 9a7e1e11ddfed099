"""The WebAssembly emitter: from a planned graph to the bytes of a module, in the order in which a graph meets the
files.

opcodes    the instructions we use: name, bytes, operand and result types
function   a function under construction: every instruction is type-checked against the operand stack as it is added
encoder    functions, memory and exports to the binary format (WebAssembly 2.0 core specification, chapter 5)
wat        the same instruction list as text, for people
loops      counted loops and addressing
renderer   loop nests (`engine.nest`) as instructions: a handle is a local, a vector has four lanes
chain      a kernel's fused chain as the matrix products use it
strip      matrix products for operands that fit in cache, with a fused chain on every finished tile
gemm       packed and blocked matrix products
parts      products that threads share, on a memory that all of them import
compiler   walks the plan, calls the kernels, and returns a `CompiledModule`

Nothing here executes anything. Only deterministic instructions exist in the table: no relaxed SIMD, no fused
multiply-add; vectors and threads divide outputs only, so any schedule has the bits of the reference.
"""
