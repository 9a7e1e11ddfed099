"""Loop nests: every kernel but most matrix products, written once over vectors of any width.

In the order in which a kernel passes them:
builder      what a kernel is written against: loops, addresses, loads, stores; WebAssembly, LLVM and text implement it
vectors      operations on the lanes of a vector, each rounded by itself
chain        fused elementwise operations on one piece of a row
elementwise  the loops around a chain
movement     copies between views: pads, concatenations
reduction    sums, maxima and argmax along an axis
ranking      running sums, indices by falling value
columns      tables of short rows, whose lanes are rows and whose columns are vectors
row_product  a matrix product with few columns, on which a chain over its rows rides
rows         chains over short rows: elementwise operations, sums and maxima of rows, in one pass
indexing     one-hot, gather, scatter-add
convolution  tiles of outputs summed in registers
batches      loops over leading axes, around matrix products
check        the look at an output that must be finite
kernels      which of these a kernel of the plan is
form         what a kernel's code depends on, so that equal kernels share one function
text         loop nests for people
"""
