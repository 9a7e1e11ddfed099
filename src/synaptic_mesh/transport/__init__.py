"""Layer 5, a shell: how bytes travel between peers.

    node -> network.py (what the node sees) -> mesh.py (envelopes, counters) + exchange.py (blobs pulled by hash)
         -> links.py (frames to a peer) <- zenoh_links.py (TCP, mutual TLS) | memory.py (in one process, seeded delay
         and loss)
    zenoh_links.py -> daemon_pool.py (threads for calls that may never return)

Everything above `links.py` is shared by both kinds of link, so the contract suite says the same of both.
"""
