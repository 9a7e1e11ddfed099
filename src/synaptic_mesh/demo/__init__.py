"""Layer 8: the main job on one machine: a network of real processes, the liar that only this package can switch on,
and the report that says which promises held.
"""
