"""Layer 4: what one participant does about a training job, given the ledger's state of it. In the order
of an outer step:

messages      events, effects and tasks
participant   the machine: enrol, work, report, audit, reveal, vote
needs         what it is waiting for, and how often it asks
admission     what an attestation vouches for
batches       the batch-order rule
update        one worker's inner steps: delta, trace and witness
strategy      what a worker submits of it
aggregate     accepted deltas become the next state (CenteredClip, DiLoCo)
evaluate      the facts of a root vote: correct rows and loss on the held-out rows
state         the shared state, its blob and its root
tensors       blobs of tensors
execution     from digests to results, over an injected backend and blob source
record        what remains of a run
verification  executing a run record again

No I/O and no clock: shells carry out the effects (docs/protocol/learning.md, "Participant").
"""
