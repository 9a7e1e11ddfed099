"""Layer 2: a Byzantine fault tolerant order over a DAG of blocks, as a core without I/O: Mysticeti-C, or its relative
with two message delays.

Modules in the order in which a block meets them: `settings` (thresholds, bounds and times), `block` and `messages`
(what is signed, sent, taken and returned), `admission` (stateless validity; bytes become a VerifiedBlock), `dag`
(accepted, suspended, twins), `evidence` (proof of two blocks in one slot), `sync`, `serving` and `credit` (fetching
what is missing, answering, and what that may cost), `leaders` and `reputation` (who leads which round), `committer`
(Commit, Skip or Undecided; `tally` is the same with cached counts), `linearizer` (a committed leader becomes an ordered
list), `votes` (who stands behind which commit), `pool` (transactions waiting for a block), `pacing` (when the next
block may be proposed), `core` (the machine), `journal`, `recovery` and `amnesia` (the same state from stored records),
`drawing`, `case` and `picture` (DAGs as text).
"""
