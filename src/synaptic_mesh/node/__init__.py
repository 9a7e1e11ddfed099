"""Layer 6: one node put together.

assembly        the whole node as a machine: the simulator runs this very object
outbox          gets this account's actions onto the ledger
store           old rounds out of the log, for peers that were away
checks          every signature checked once; `intake` takes transactions of clients and tells them their outcomes
proofs          the state at the newest checkpoint, to prove accounts from
client          for programs that move money: submit, follow, ask; `submitter` is its machine for one validator
run             the shell: owns the one task group, the clock, the log writer, the compute thread
build, open     every constructor; a node from its directory
directory       the files of a node's directory; `settings` is its node.toml
local           an in-process mesh of one; `local_job` follows it from Python
journal         what a node says, as JSON lines
recorder        evidence of jobs; `run_directory` is a finished run on disk
"""
