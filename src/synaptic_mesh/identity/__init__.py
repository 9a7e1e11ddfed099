"""Layer 1: who speaks. Ed25519 keys, the committee and its quorum arithmetic, signed envelopes with replay windows,
certificates.
"""
