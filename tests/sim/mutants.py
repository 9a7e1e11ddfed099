"""Broken rules of consensus and of money, each by name, and what notices them.

    python tests/sim/mutants.py                     # all of them: the table name -> killed by what
    python tests/sim/mutants.py --only "W2 removed"

A mutant is a text of one source file, which must occur exactly once, and what stands there instead. It is applied to a
copy of the package. Then the tests of consensus run against the copy, and if they pass the simulator: a mutant is
killed when either fails. With --simulator the tests are left out, which says what the simulator alone would notice. A
rule of the ledger has its own tests; the simulator of consensus executes nothing.
"""

# ruff: noqa: E501 (one mutant a line can be compared with its neighbours)

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "src" / "synaptic_mesh"
TESTS = ("tests/consensus", "tests/identity/test_committee.py")
LEDGER_TESTS = ("tests/ledger",)
SIMULATIONS = (("--storm", "--seeds", "0:16"), ("--seeds", "0:24", "--rounds", "60"))
TIMEOUT_S = 300


@dataclass(frozen=True)
class Mutant:
    """One broken rule: in `file` (below the package) `old` becomes `new`."""

    name: str
    file: str
    old: str
    new: str

    def apply(self, package: Path) -> None:
        """Change the copy of the package. Raises ValueError unless the text occurs exactly once."""
        path = package / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"mutant {self.name!r}: {self.old!r} occurs {text.count(self.old)} times in {self.file}")
        changed = text.replace(self.old, self.new)
        compile(changed, str(path), "exec")
        path.write_text(changed)


TALLY, CORE, PACING = "consensus/tally.py", "consensus/core.py", "consensus/pacing.py"
ADMISSION, LINEARIZER, DAG = "consensus/admission.py", "consensus/linearizer.py", "consensus/dag.py"
SETTINGS = "consensus/settings.py"
SYNC, SERVING, STORED = "consensus/sync.py", "consensus/serving.py", "consensus/stored.py"
CERTIFIER, CHECKPOINT = "ledger/certifier.py", "ledger/checkpoint.py"
BATCH, EXECUTION, ACCOUNTS = "ledger/batch.py", "ledger/execution.py", "ledger/accounts.py"
MYSTICETI = "Rules(3, q, q, q, q, 1, committee"

MUTANTS = (
    # Thresholds.
    Mutant("quorum off by one", "identity/committee.py", "return 2 * self.total_stake // 3 + 1", "return 2 * self.total_stake // 3"),
    Mutant("parent quorum off by one", ADMISSION, "if parent_stake < self.parent_stake:", "if parent_stake < self.parent_stake - 1:"),
    Mutant("clock on 2f parents", SETTINGS, MYSTICETI, "Rules(3, q - 1, q, q, q, 1, committee"),
    Mutant("certificate of 2f votes", SETTINGS, MYSTICETI, "Rules(3, q, q - 1, q, q, 1, committee"),
    Mutant("commit on 2f certificates", SETTINGS, MYSTICETI, "Rules(3, q, q, q - 1, q, 1, committee"),
    Mutant("skip on 2f blames", SETTINGS, MYSTICETI, "Rules(3, q, q, q, q - 1, 1, committee"),
    Mutant("link needs a quorum", SETTINGS, MYSTICETI, "Rules(3, q, q, q, q, q, committee"),
    Mutant("link quorum dropped", TALLY, "for each in authors) >= self.rules.link_stake:", "for each in authors) >= 0:"),
    Mutant("two-delay link of f + 1", SETTINGS, "2, q, q, q, 4 * f + 2 * c + 1, q - 2 * f - c, f,", "2, q, q, q, 4 * f + 2 * c + 1, f + 1, f,"),
    # Counting and deciding.
    Mutant("blames count blocks", TALLY, "in vertex.links or tally.blame_mask >> vertex.author & 1:", "in vertex.links:"),
    Mutant("certificates count blocks", TALLY, "        if certificates.mask >> vertex.author & 1:\n            return\n", ""),
    Mutant("round stake counts blocks", DAG, "if len(twins) == 1:", "if twins:"),
    Mutant("anchor one round early", TALLY, "anchors.get(round_ + wave_rounds)", "anchors.get(round_ + wave_rounds - 1)"),
    Mutant("anchor passes undecided slots", TALLY, "if decision is None or decision.verdict is Verdict.COMMIT:", "if decision is not None and decision.verdict is Verdict.COMMIT:"),
    # Order.
    Mutant("linear order by arrival", LINEARIZER, "(vertex.round, blake3(seed + vertex.digest).digest())", "vertex.round"),
    Mutant("gc round from local state", LINEARIZER, "gc_round = max(self.gc_round, leader.round - self.rules.gc_depth)", "gc_round = max(self.gc_round, self.dag.clock_round - 3 - self.rules.gc_depth)"),
    Mutant("orders below the gc round", LINEARIZER, "if parent.commit_index == 0 and parent.round > floor:", "if parent.commit_index == 0:"),
    Mutant("commit time goes back", LINEARIZER, "timestamp_ms=max(self.timestamp_ms, median_timestamp(leader, self.dag.stakes)),", "timestamp_ms=median_timestamp(leader, self.dag.stakes),"),
    Mutant("commit time is the latest", LINEARIZER, "        if 2 * below >= total:\n", "        if below >= total:\n"),
    Mutant("previous commit not named", LINEARIZER, "previous=self.digest,", "previous=bytes(32),"),
    # Leaders.
    Mutant("leader schedule from uncommitted data", LINEARIZER, "if len(twins) > 1 and sum(twin.commit_index > 0 for twin in twins) > 1:", "if len(twins) > 1:"),
    Mutant("new schedule keeps old decisions", CORE, "self.committer.reset()", "pass"),
    # Proposing.
    Mutant("W2 removed", PACING, " and self.has_outcomes(round_ - 2):", ":"),
    Mutant("leaders are not waited for", PACING, "if self.has_leaders(round_ - 1) and", "if"),
    Mutant("no-skip removed", PACING, "follows = self.last_proposed + 1", "follows = max(self.last_proposed + 1, self.dag.clock_round)"),
    Mutant("timer is not re-armed by a quorum", PACING, "            self.quorum_ms = self.progress_ms = now_ms\n", "            self.progress_ms = now_ms\n"),
    Mutant("the wait for leaders does not grow", PACING, "self.settings.leader_timeout_ms << doublings, self", "self.settings.leader_timeout_ms, self"),
    Mutant("timestamps unbounded", PACING, "if timestamp_ms > time_max_ms and", "if timestamp_ms > 1 << 62 and"),
    Mutant("transactions of expired blocks are lost", CORE, "self.pool.expire(gc_round)", "pass"),
    # Durability and restarts.
    Mutant("broadcast before the fsync", CORE, "        self.journal.add_own(block)\n", "        self.journal.add_own(block)\n        self._effects.append(Broadcast(Blocks((block.encoded,))))\n"),
    Mutant("commits told before the fsync", CORE, "self.journal.add_commit(Committed(commit,", "self._effects.append(Committed(commit,"),
    Mutant("an earlier life is taken for a thief", CORE, "if block.header.incarnation >= self._incarnation:", "if block.header.incarnation >= 0:"),
    Mutant("a thief is taken for an earlier life", CORE, "if block.header.incarnation >= self._incarnation:", "if block.header.incarnation > self._incarnation:"),
    Mutant("a withdrawn block is broadcast", CORE, "        self.journal.withdraw(ours.digest)\n", ""),
    Mutant("withheld blocks are shown", SERVING, "return digest not in self._withheld and ", "return "),
    Mutant("blocks in doubt are shown", SERVING, "digest != self.in_doubt and ", ""),
    Mutant("newest blocks of the long absent forgotten", SERVING, "        return self._newest.get(author)", "        vertex = self.dag.first_below(author, self.dag.latest_round[author] + 1, 0)\n        return None if vertex is None else vertex.block"),
    Mutant("a store is not read for late peers", SERVING, "min(in_memory, self.stored_round)", "in_memory"),
    Mutant("a peer may start any number of reads", SERVING, "if peer in self._reading or", "if"),
    Mutant("a store is read from the clock on", SYNC, "RoundsRequest(self._asked_round, gc_round, self._place)", "RoundsRequest(self._asked_round, clock_round + 4, self._place)"),
    Mutant("the place in a store is forgotten", SYNC, "            self._place, self._is_answered = place, True", "            self._is_answered = True"),
    Mutant("reading goes on after a lost block", SYNC, "        if peer == self._asked:\n            self._place, self._is_answered = 0, False", "        if peer != self._asked:\n            self._place, self._is_answered = 0, False"),
    Mutant("an idle store is read for ever", SYNC, "now_ms > self._moved_at[1] + IDLE_TIMEOUTS", "now_ms < self._moved_at[1] + IDLE_TIMEOUTS - IDLE_TIMEOUTS"),
    Mutant("missing ancestors are not looked for in stores", SYNC, "return usual if stuck_round is None else min(usual, stuck_round)", "return usual"),
    Mutant("what waits for the disk is unbounded", "consensus/journal.py", "return len(self._blocks) > UNWRITTEN_BLOCKS_MAX or", "return"),
    Mutant("a part of a store begins a block late", STORED, "return tuple(found), position << PLACE_BITS | index", "return tuple(found), position << PLACE_BITS | index + 1"),
    Mutant("own blocks forgotten in a restart", CORE, "            if block.author == self.author:\n                self._find_own(block)\n                self.pool", "            if block.author == self.author:\n                self.pool"),
    Mutant("amnesia guard removed", CORE, "if self.author is not None and (not is_store_trusted or self.own_last.round == 0):", "if self.author is not None and self.author < 0:"),
    Mutant("one answer ends amnesia", "consensus/amnesia.py", "return self._committee.quorum - own", "return min(1, self._committee.quorum - own)"),
    Mutant("stored commits not compared", "consensus/recovery.py", "if ours != commit:", "if ours.index != commit.index:"),
    Mutant("commit votes not compared", "consensus/votes.py", "if ours is not None and ours != vote.digest:", "if ours is not None and ours == bytes(1):"),
    Mutant("one vote is a quorum commit", "consensus/votes.py", "if stake >= self._committee.quorum:", "if stake > 0:"),
    Mutant("evidence of one block twice", "consensus/evidence.py", "if header_digest(record.first.header) >= header_digest(record.second.header):", "if header_digest(record.first.header) > header_digest(record.second.header):"),
    Mutant("evidence without signatures", "consensus/evidence.py", "if not check(peer, BLOCK_DOMAIN, message, part.signature):", "if not part.signature:"),
    # Admission.
    Mutant("signature not checked", ADMISSION, "if not self._check_signature(peer, BLOCK_DOMAIN, message, wire.signature):", "if not wire.signature:"),
    Mutant("own parent not first", ADMISSION, "if refs[0].author != header.author:", "if refs[0].author >= size:"),
    Mutant("one author twice among ancestors", ADMISSION, "if ref.author >= size or seen >> ref.author & 1:", "if ref.author >= size:"),
    Mutant("genesis refs not checked", ADMISSION, "if ref.round == 0 and ref != self.genesis[ref.author]:", "if ref.round == 0 and not ref.digest:"),
    Mutant("payload not hashed", ADMISSION, "len(payload) != header.payload_bytes or payload_digest(payload) != header.payload_hash:", "len(payload) != header.payload_bytes:"),
    Mutant("false refs accepted", DAG, "elif vertex.round != ref.round or vertex.author != ref.author:", "elif vertex.round < 0:"),
    # Bounds.
    Mutant("suspended pool unbounded", "consensus/suspended.py", "if len(self._by_author[author]) <= self.per_author_max and", "if self._bytes[author] >= 0 or"),
    Mutant("rounds ahead unbounded", CORE, 'return "ahead"', "pass"),
    Mutant("twins unbounded", CORE, "return len(twins) < TWINS_KEPT or (is_demanded and len(twins) < self.committee.size)", "return True"),
    Mutant("history unbounded", "consensus/sync.py", "while len(self._blocks) > self.blocks_max or self.bytes > self.bytes_max:", "while len(self._blocks) > 1 << 40:"),
    # Money.
    Mutant("transfers at once beyond the balance", BATCH, "if any(debit > bank.balance(sender)", "if any(debit > 2 * bank.balance(sender)"),
    Mutant("transfers at once of no amount", BATCH, "amounts - np.uint64(1) < np.uint64(AMOUNT_MAX)", "amounts < np.uint64(AMOUNT_MAX)"),
    Mutant("opening fees of the first in the run", BATCH, "fees[position] += economics.fee_open_account", "fees[0] += economics.fee_open_account"),
    Mutant("accounts beyond the bound at once", BATCH, "if len(bank) + len(openings) > ACCOUNTS_MAX:", "if len(bank) + len(openings) > ACCOUNTS_MAX + 1:"),
    Mutant("sums of transfers modulo 2^64", "ledger/transfers.py", "[(above << 32) + below for", "[(above << 32) + below & (1 << 64) - 1 for"),
    Mutant("sums of transfers lose a bit", "ledger/transfers.py", "amounts & np.uint64(0xFFFFFFFF)", "amounts & np.uint64(0x7FFFFFFF)"),
    Mutant("conflicting actions overtake transfers", EXECUTION, "if run.conflicts(verified.transaction):", "if not verified.id:"),
    Mutant("reports overtake transfers", EXECUTION, "if isinstance(transaction.action, ReportEquivocation):", "if not transaction.sender:"),
    Mutant("refused duties are free", EXECUTION, "if not due:  # free", "if due < 0:  # free"),
    Mutant("who cannot pay the fee runs", EXECUTION, "if fee < due:", "if due < 0:"),
    Mutant("nonces not consumed", EXECUTION, "bank.consume_nonce(sender)", "bank.nonce(sender)"),
    Mutant("replays run", EXECUTION, "if transaction.nonce < nonce:", "if transaction.nonce < 0:"),
    Mutant("self-payment covers the balance", ACCOUNTS, "self._check_balance(sender, total + fees)", "self._check_balance(sender, max(amounts) + fees)"),
    Mutant("voting stake pays fees", ACCOUNTS, "from_stake = min(fee - from_balance, old.unlocked)", "from_stake = min(fee - from_balance, old.stake)"),
    Mutant("released a commit late", ACCOUNTS, "if at > commit_index:", "if at >= commit_index:"),
    Mutant("further unbonding keeps its place", ACCOUNTS, "        self._releases.pop(peer, None)\n", ""),
    Mutant("receivers' pages not hashed", ACCOUNTS, "        table.touch_all(at)\n", ""),
    Mutant("senders' pages not hashed", ACCOUNTS, "            table.nonce[row] = nonces[peer]\n            table.touch(row)\n", "            table.nonce[row] = nonces[peer]\n"),
    Mutant("unbonding stake still serves", "ledger/account_table.py", "return self.stake - self.locked - self.unbonding", "return self.stake - self.locked"),
    Mutant("minted beyond the cap", "ledger/economics.py", "economics.supply_cap - supply), 0)", "economics.supply_cap), 0)"),
    Mutant("shares rounded up", "ledger/economics.py", "[pot * stake // total for", "[-(-pot * stake // total) for"),
    Mutant("convicted validators are paid", "ledger/rewards.py", "in active - context.convicted]", "in active]"),
    Mutant("activity is never forgotten", "ledger/rewards.py", "    active.clear()\n", ""),
    Mutant("nothing is burned", "ledger/rewards.py", "    bank.burn(burned)\n", ""),
    Mutant("punished without end", "ledger/equivocation.py", "if author in context.convicted:", "if not author:"),
    Mutant("liars rewarded for themselves", "ledger/equivocation.py", "0 if sender == author else", "0 if not sender else"),
    Mutant("a broken judge fails a transaction", "ledger/equivocation.py", "except PeerError as error:", "except Exception as error:"),
    Mutant("manifests pay for whole records only", "ledger/fees.py", "return -(-size // RECORD_BYTES)", "return size // RECORD_BYTES"),
    Mutant("a job opens without its fee", "ledger/enrolment.py", "if balance < escrow + fee:", "if balance < escrow:"),
    Mutant("the root forgets who is convicted", "ledger/ledger.py", "encode((sorted(self._convicted), sorted(self._active)))", "encode(sorted(self._active))"),
    Mutant("economics of genesis not checked", "ledger/genesis.py", "    check_economics(genesis.economics, supply)\n", ""),
    # Checkpoints.
    Mutant("f liars stop a replica", CERTIFIER, "if stake > self.rules.committee.faulty_stake_max:", "if stake >= self.rules.committee.faulty_stake_max:"),
    Mutant("a replica alone with its state goes on", CERTIFIER, "if stake > self.rules.committee.faulty_stake_max:", "if stake > self.rules.committee.quorum:"),
    Mutant("certificates of other states pass", CERTIFIER, "if own is not None and own != checkpoint:", "if own is None and own != checkpoint:"),
    Mutant("states not compared after the votes came", CERTIFIER, "        effects += self._dissents(votes, checkpoint)\n", ""),
    Mutant("sent before it is stored", CERTIFIER, "        return [StoreVote(vote)]", "        return [StoreVote(vote), Broadcast(vote)]"),
    Mutant("signed again after a restart", CERTIFIER, "if checkpoint.index <= max(self.certified_index, max(self._signed, default=0)):", "if checkpoint.index <= self.certified_index:"),
    Mutant("votes of others brought by anybody", CERTIFIER, "if vote.author != self.rules.committee.index_of(peer):", "if self.rules.committee.index_of(peer) is None:"),
    Mutant("votes not checked", CERTIFIER, "        self.rules.check_signature_untrusted(checkpoint, vote.author, vote.signature)\n", ""),
    Mutant("votes for any state count", CERTIFIER, "            if vote.checkpoint == checkpoint\n", ""),
    Mutant("votes kept without end", CERTIFIER, "if len(kept) > VOTES_KEPT:", "if len(kept) > 1 << 40:"),
    Mutant("a lost vote is lost", CERTIFIER, "            effects.append(Broadcast(self._vote))\n", "            pass\n"),
    Mutant("certified by less than a quorum", CHECKPOINT, "if stake < needed:", "if stake < needed - 1:"),
    Mutant("one signature counts twice", CHECKPOINT, "if sorted(set(authors)) != authors or (", "if ("),
    Mutant("the first signature not checked", CHECKPOINT, "for author, signature in certificate.signatures:", "for author, signature in certificate.signatures[1:]:"),
    Mutant("checkpoints of other committees", CHECKPOINT, "if checkpoint.committee != self._committee_digest:", "if not checkpoint.committee:"),
    Mutant("any state root proves", "ledger/account_proof.py", "if state_root_of(network, accounts, proof.parts) != state_root:", "if not state_root:"),
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mutants; print the table. Returns 1 if one survives."""
    parser = argparse.ArgumentParser(description="Broken rules and what notices them")
    parser.add_argument("--only", nargs="+", help="names of mutants")
    parser.add_argument("--simulator", action="store_true", help="leave the tests out")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args(arguments)
    chosen = [mutant for mutant in MUTANTS if not options.only or mutant.name in options.only]
    survived = 0
    with ThreadPoolExecutor(options.processes) as pool:
        found = pool.map(lambda mutant: killer(mutant, with_tests=not options.simulator), chosen)
        for mutant, name in zip(chosen, found, strict=True):
            survived += not name
            print(f"{mutant.name:<42} {name or 'SURVIVES'}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} mutants are killed")
    return int(survived > 0)


def killer(mutant: Mutant, *, with_tests: bool = True) -> str:
    """What notices this mutant: the first failing test, else the first failure of the simulator. Empty: nothing."""
    with tempfile.TemporaryDirectory() as directory:
        package = Path(directory) / "synaptic_mesh"
        shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__"))
        mutant.apply(package)
        environment = {**os.environ, "PYTHONPATH": directory, "PYTHONDONTWRITEBYTECODE": "1"}
        if mutant.file.startswith("ledger/"):
            return _first_test(environment, LEDGER_TESTS)
        return (_first_test(environment, TESTS) if with_tests else "") or next(_simulated(environment), "")


def _first_test(environment: dict[str, str], tests: Sequence[str]) -> str:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", *tests]
    output, is_late = _run(command, environment)
    if is_late:
        return "time-out of the tests"
    failed = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(.+?)(?: - .*)?$", output, re.MULTILINE)
    return failed.group(1) if failed else ""


def _simulated(environment: dict[str, str]) -> Iterator[str]:
    for simulation in SIMULATIONS:
        output, is_late = _run([sys.executable, "-m", "synaptic_mesh.sim.run", *simulation], environment)
        if is_late:
            yield "time-out of the simulator"
        failed = re.search(r"^FAILED seed (\d+): (.*)", output, re.MULTILINE)
        if failed:
            yield f"seed {failed.group(1)}: {failed.group(2)[:80]}"


def _run(command: list[str], environment: dict[str, str]) -> tuple[str, bool]:
    try:
        done = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return "", True
    return done.stdout + done.stderr, False


if __name__ == "__main__":
    sys.exit(main())
