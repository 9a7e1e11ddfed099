"""Layer 6: one node put together. `assembly` is itself a machine (the simulator runs it whole); `run` is the shell
that owns every task, socket and file; `settings` and `config` are the only places that read files and the
environment.
"""
