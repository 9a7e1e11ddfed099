"""Layer 1: who speaks. Ed25519 keys and their hybrid with ML-DSA-65, the committee and its quorum arithmetic, signed
envelopes with replay windows, certificates.
"""
