"""Layer 8: benchmarks that write records: nothing here is scraped from logs, and every figure names its rival.

harness        ours and the rival in one process, interleaved; CPU and wall time, medians with intervals, calibration
record         what a benchmark leaves behind: commit, machine, versions, settings and every figure, as JSON
rivals         well-written numpy for the same work
engine_suite   matrix product and training step of the exact engine next to numpy
"""
