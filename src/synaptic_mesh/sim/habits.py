"""What a puppet may do, how often, and how often it really did."""

from random import Random

import msgspec


class Behaviour(msgspec.Struct, frozen=True):
    """How often (in percent of its rounds) the puppet does what."""

    equivocate: int = 0  # sign 2 or 3 blocks of the round and split the others among them
    same_sides: int = 0  # of these: one chosen node gets the first twin, always, and all others the second
    show_later: int = 0  # of these: show every twin to everyone after up to `late_ms`
    split_vote: int = 0  # of these: only the first twin votes for the round's leader and builds on a twin that voted
    silent_vote: int = 0  # leave a block out of its parents, the round's leader if it can
    withhold: int = 0  # send to only some of the others
    late: int = 0  # send up to `late_ms` late
    late_ms: int = 400
    jump: int = 0  # leave rounds out: wait for others to be ahead, then go to the highest round it can
    far: int = 0  # show a block of a round far ahead, upon ancestors that nobody has
    false_time: int = 0  # a timestamp seconds off
    false_ref: int = 0  # one more ancestor, named by a round and author that are not its own
    garbage: int = 0  # send broken bytes, absurd requests and deeply nested values as well
    no_answer: int = 0  # ignore a request
    first_round: int = 1  # it follows the rules before this round
    absent: bool = False  # it says nothing at all


class Deeds:
    """How often a puppet really did what its habits say."""

    def __init__(self) -> None:
        self.equivocated = self.withheld = self.silent = self.garbage = self.jumped = 0


def draw_habits(random: Random, main: dict[str, int]) -> Behaviour:
    """Return a random mix of habits in which those of `main` are certain."""

    def some(chance: int, *values: int) -> int:
        return random.choice(values) if random.randrange(100) < chance else 0

    drawn = Behaviour(
        equivocate=some(50, 5, 20, 50, 100),
        same_sides=random.choice((0, 50, 100)),
        show_later=random.choice((0, 50, 100)),
        split_vote=random.choice((0, 50, 100)),
        silent_vote=some(30, 10, 50, 100),
        withhold=some(20, 10, 50),
        late=some(30, 10, 50),
        late_ms=random.choice((50, 400, 1_500)),
        jump=some(15, 10, 50),
        far=some(15, 5, 20),
        false_time=some(20, 10, 50),
        false_ref=some(15, 5, 20),
        garbage=some(20, 5),
        no_answer=some(30, 50, 100),
        first_round=random.choice((1, 1, 40, 100)),
    )
    return msgspec.structs.replace(drawn, **main)
