"""Layer 8: benchmarks that write records: nothing here is scraped from logs, and every figure names its rivals.

workload      the work that everyone is given: shapes, numbers, our graph
cases         what is measured, by name: per call, and in place
harness       everyone in one process, in turn; CPU and wall time, medians with intervals, calibration
contestant    what takes part, and who of the rivals is installed
ours          our backends that open on this machine
rival_*       the same work in numpy, torch, torch.compile, onnxruntime and jax, one file each
programs      compile, cached load, one more instance, size
peaks         the machine's own ceilings
products      what is promised of matrix products, and what the ceilings say about it
report        the record for people
record        what a benchmark leaves behind: commit, machine, versions, settings and every figure, as JSON
engine_suite  all of it in a process of its own, its bars, its report

worker_process    what a worker process for a stranger's graph costs, and when it pays

ledger_suite      transfers through real validator processes: loads, ceilings of the same run, bars
ledger_network    keys, genesis, certificates and directories; `ledger_node` and `ledger_client` are the processes
ledger_processes  started, asked and stopped; `ledger_usage` says what they use
ledger_ceilings   what one core can do of each part
ledger_record     what is left behind; `ledger_report` shows it to people
"""
