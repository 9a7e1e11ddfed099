"""Layer 2: the integer ledger: accounts, signed transactions, fees, stake, escrow, and the state machine of every
training job.

It takes the ordered list that consensus decided and knows nothing else: no clock, no I/O, no engine. Job manifests,
graphs and tensors appear in it only as digests and integers. Modules in the order in which a transaction meets them:

genesis         what everybody agrees on first; `economics` are its rules about money
transactions    what an account can ask for; `transfers` are records of 40 bytes, `manifest` is a job, `signing` checks
ledger          takes commits, holds the state
execution       the transactions of a commit in order; `batch` settles transfers at once; `fees` come first
accounts        the bank: the only code that moves money; `account_table` are its rows, `merkle` its root
account_proof   one account under a state root, for whoever does not hold the state
enrolment       how a job comes to be, after `admission`; `step_actions` are its protocol, `phases` its state machine
assignment      who trains on which shard; `judging` says what is false, `pay` what that earns or costs
equivocation    punishing validators; `rewards` pay them
job_table       all jobs; `job_record` is one as the ledger works on it, `jobs` as everybody else sees it
checkpoint      the state as a quorum signs it; `certifier` gathers the signatures and returns `checkpoint_effects`
light_client    what somebody with the genesis file alone can check
events          what `apply` reports; `reject` is the one way in which an action fails
"""
