"""Layer 5, a shell: how bytes travel between peers.

    node -> network.py (what the node sees) -> mesh.py (envelopes, counters) + exchange.py (blobs pulled by hash)
         -> links.py (frames to a peer) <- zenoh_links.py (TCP, mutual TLS) | memory.py (in one process, seeded delay
         and loss)
    zenoh_links.py -> daemon_pool.py (threads for calls that may never return)
    zenoh_links.py -> mailboxes.py (frames that wait, between threads) -> fair_queue.py (room and turns by peer)
    memory.py -> fair_queue.py
    process_end.py (how a process that has had links ends)

Everything above `links.py` is shared by both kinds of link, so the contract suite says the same of both.
"""
