"""The WebAssembly emitter: from a planned graph to the bytes of a module, in the order in which a graph meets the
files.

opcodes    the instructions we use: name, bytes, operand and result types
function   a function under construction: every instruction is type-checked against the operand stack as it is added
encoder    functions, memory and exports to the binary format (WebAssembly 2.0 core specification, chapter 5)
wat        the same instruction list as text, for people
loops      counted loops and addressing
values     f32x4 values as locals: what the polynomials and fused elementwise chains are written against
elementwise, movement, reduction, indexing      kernels of the element-by-element operations
gemm       packed and unpacked matrix products
compiler   walks the plan, calls the kernels, and returns a `CompiledModule`

Nothing here executes anything. Only deterministic instructions exist in the table: no relaxed SIMD, no threads, no
fused multiply-add, and vectors run over outputs only, so any schedule has the bits of the reference.
"""
