"""The machine: events and the time in, effects out.

    core = Consensus(settings, committee, network, epoch, author=index, sign=keypair.sign, random=rng, incarnation=1)
    effects = core.start(now_ms, blocks=(), commits=(), executed_index=0)     # once; stored records after a restart
    effects = core.handle(event, now_ms)
    effects = core.handle_deadline(now_ms)      # at or after core.deadline_ms()

author None (and sign None) makes an observer: it follows and decides, and never proposes.
"""
