"""Layer 0: what every other package stands on: machine protocol, ids, errors, canonical codec, digests,
seeds, arrays.
"""
