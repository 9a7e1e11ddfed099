"""Layer 2: Mysticeti-C, a Byzantine fault tolerant order over a DAG of blocks, as a core without I/O.

Modules in the order in which a block meets them: `settings` (every bound and time), `block` and `messages` (what is
signed, sent, taken and returned), `admission` (stateless validity; bytes become a VerifiedBlock), `dag` (accepted,
suspended, twins), `sync` (fetching what is missing), `leaders` (who leads which round), `committer` (Commit, Skip or
Undecided), `linearizer` (a committed leader becomes an ordered list), `pool` (transactions waiting for a block),
`pacing` (when the next block may be proposed), `core` (the machine), `recovery` (the same state from stored records),
`drawing` (DAGs as text).
"""
