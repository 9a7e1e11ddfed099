"""Layer 2: the integer ledger: accounts, signed transactions, stake, escrow, and the state machine of every training
job.

It takes the ordered list that consensus decided and knows nothing else: no clock, no I/O, no engine. Job manifests,
graphs and tensors appear in it only as digests and integers.
"""
