"""The node's structured log: what the assembly notes for its operator, as one JSON object per line.

Amounts are integer strings (they pass 2^53), ids are hex. `docs/cli.md` lists the kinds. The same lines drive the
progress display.
"""

import math
import struct
from collections.abc import Mapping
from typing import Any

from synaptic_mesh.base.codec import encode
from synaptic_mesh.ledger import events
from synaptic_mesh.ledger.checkpoint_effects import Dissent, DoubleVote
from synaptic_mesh.ledger.jobs import JobState
from synaptic_mesh.ledger.manifest import Manifest
from synaptic_mesh.node.messages import (
    CheckpointNote,
    CommitExecuted,
    Dropped,
    Effect,
    EvidenceNote,
    JobNote,
    LedgerNote,
    Notice,
)

Line = Mapping[str, Any]


def describe(effect: Effect) -> Line | None:
    """Return the journal line of an effect, without time and node, or None when it is not for people."""
    match effect:
        case CommitExecuted(index, round_, timestamp_ms, transactions, direct, root):
            return {
                "kind": "commit",
                "index": index,
                "round": round_,
                "timestamp_ms": timestamp_ms,
                "transactions": transactions,
                "direct": direct,
                "state_root": root.hex(),
            }
        case JobNote(state, progress_ms):
            return describe_job(state, progress_ms)
        case LedgerNote(event):
            return describe_ledger(event)
        case EvidenceNote(evidence):
            return {"kind": "equivocation", "author": evidence.author, "round": evidence.round}
        case CheckpointNote(certificate, stake):
            checkpoint = certificate.checkpoint
            return {
                "kind": "checkpoint",
                "index": checkpoint.index,
                "state_root": checkpoint.state_root.hex(),
                "supply": str(checkpoint.supply),
                "signatures": len(certificate.signatures),
                "stake": str(stake),
            }
        case Dissent(vote, own):
            return {
                "kind": "dissent",
                "author": vote.author,
                "index": own.index,
                "state_root": vote.checkpoint.state_root.hex(),
                "own_state_root": own.state_root.hex(),
            }
        case DoubleVote(first, second):
            roots = [vote.checkpoint.state_root.hex() for vote in (first, second)]
            return {
                "kind": "double_vote",
                "author": first.author,
                "index": first.checkpoint.index,
                "state_roots": roots,
                "votes": [encode(vote).hex() for vote in (first, second)],
            }
        case Dropped(peer, reason):
            return {"kind": "dropped", "peer": peer.hex(), "reason": reason}
        case Notice(text):
            return {"kind": "notice", "text": text}
    return None


def describe_job(state: JobState, progress_ms: int) -> Line:
    """Return where a job stands. `accuracy` and `loss` are of the last committed root, over the held-out rows."""
    line: dict[str, Any] = {
        "kind": "job",
        "job": state.job.hex(),
        "status": state.status.value,
        "step": state.step,
        "steps": state.manifest.outer_steps,
        "attempt": state.attempt,
        "phase": state.phase.value,
        "root": state.root.hex(),
        "workers": [worker.hex() for worker in state.workers],
        "updates": len(state.updates),
        "escrow": str(state.escrow),
        "progress_ms": progress_ms,
    }
    if state.steps:
        line |= describe_metrics(state.manifest.task, state.steps[-1].metrics)
    if state.abort_reason:
        line["reason"] = state.abort_reason
    return line


def describe_metrics(task: str, metrics: tuple[int, ...]) -> dict[str, Any]:
    """Return the held-out figures of a committed root: `accuracy` (classification only), `rows` and `loss`.

    The loss is None where it is not finite: JSON has no other word for it.
    """
    correct, rows, loss_bits = metrics
    loss = float_of_bits(loss_bits)
    figures: dict[str, Any] = {"rows": rows, "loss": loss if math.isfinite(loss) else None}
    if task == "classify" and rows:
        figures["accuracy"] = correct / rows
    return figures


def float_of_bits(bits: int) -> float:
    """Return the f32 value of a bit pattern as a Python float."""
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])


def describe_ledger(event: events.LedgerEvent) -> Line | None:
    """Return the line of a ledger event."""
    match event:
        case events.TransactionApplied(_, sender, nonce, False, reason):
            return {"kind": "refused", "sender": sender.hex(), "nonce": nonce, "reason": reason}
        case events.RewardsPaid(_, minted, burned, shares):
            paid = {account.hex(): str(amount) for account, amount in shares}
            return {"kind": "rewards", "minted": str(minted), "burned": str(burned), "paid": paid}
        case events.Unbonded(account, amount):
            return {"kind": "unbonded", "account": account.hex(), "amount": str(amount)}
        case events.EquivocationPunished(validator, reporter, slashed, reward):
            return {
                "kind": "punished",
                "validator": validator.hex(),
                "reporter": reporter.hex(),
                "slashed": str(slashed),
                "reward": str(reward),
            }
        case events.StepCommitted(job, step):
            return {
                "kind": "step",
                "job": job.hex(),
                "step": step.step,
                "attempt": step.attempt,
                "root": step.root.hex(),
                "included": len(step.included),
                "update_bytes": sum(blob.size for _, blob in step.included),
                "voters": len(step.voters),
            }
        case events.AttemptFailed(job, step_index, attempt, reason):
            return {
                "kind": "attempt_failed",
                "job": job.hex(),
                "step": step_index,
                "attempt": attempt,
                "reason": reason,
            }
        case events.Slashed(job, caught, share):
            return {
                "kind": "slashed",
                "job": job.hex(),
                "worker": caught.worker.hex(),
                "step": caught.step,
                "caught_by": [auditor.hex() for auditor in caught.caught_by],
                "slashed": str(caught.slashed),
                "share": str(share),
            }
        case events.Paid(job, step_index, account, amount):
            return {
                "kind": "paid",
                "job": job.hex(),
                "step": step_index,
                "account": account.hex(),
                "amount": str(amount),
            }
        case events.FeeCharged(job, worker, amount, reason):
            return {
                "kind": "fee",
                "job": job.hex(),
                "worker": worker.hex(),
                "amount": str(amount),
                "reason": reason,
            }
        case events.WorkerRemoved(job, worker, reason) | events.UpdateDropped(job, _, _, worker, reason):
            return {"kind": "worker", "job": job.hex(), "worker": worker.hex(), "reason": reason}
        case events.JobFinished(job, status, reason, refunded):
            return {
                "kind": "finished",
                "job": job.hex(),
                "status": status.value,
                "reason": reason,
                "refunded": str(refunded),
            }
    return None


def disclosure(manifest: Manifest) -> str:
    """Return what a sponsor gives away by submitting the job: said before it is done, since it cannot be undone."""
    rows = sum(shard.rows for shard in manifest.data.shards)
    return (
        f"submitting this job shows every peer of the network its {rows} training rows and {manifest.data.test.rows} "
        f"held-out rows of {manifest.data.name!r}, the model, every update and what is paid"
    )
