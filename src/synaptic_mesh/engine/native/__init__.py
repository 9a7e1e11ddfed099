"""The native emitter: from a planned graph to LLVM IR as text, in the order in which a graph meets the files.

profile    what a processor offers: lanes of a vector, registers, rounding instructions
function   a function under construction: static single assignment, counted loops with carried values
values     operations on vectors of any width as lines of text
renderer   loop nests (`engine.nest`) as LLVM IR: a handle is the name of a value
chain      a kernel's fused chain as the matrix products use it
product    matrix products for operands that fit in cache, with a fused chain on every finished tile
gemm       packed and blocked matrix products
parts      kernels that threads share: one word says what is taken
compiler   walks the plan, calls the kernels, and returns a `CompiledNative`
peak       the register-only loop that measures what separate multiply and add can do at most

Nothing here executes anything and nothing imports LLVM. No instruction carries a fast-math flag, so LLVM may neither
fuse a product and a sum nor reorder: every operation is rounded by itself. No function calls anything outside its own
module, so an object needs no library and no symbol of the process that loads it. Vectors run over outputs only, so
every width has the bits of the reference.
"""
