"""Layer 5, a shell: what survives a crash. A write-ahead log, blobs by content, and the count of a node's starts.

Nothing read from a disk is believed before its hash fits; what does not fit is reported, and rebuilt or fetched again
by the caller.
"""
