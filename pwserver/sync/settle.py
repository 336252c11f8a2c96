"""What an answer means for a link: pure functions from (link, answer) to :class:`After`."""

from __future__ import annotations

from datetime import datetime, timedelta

from pwserver.connectors.base import Answer, Evidence, Means, Outcome, same_stamp
from pwserver.core.states import LinkState
from pwserver.core.timing import RetryPolicy, Timing
from pwserver.sync.chain import COUNTING, After, Link, Proof

STAMP_MARGIN = timedelta(seconds=10)
"""A last-set stamp tells nothing about a write that came within this of the proof it is compared with."""

GRACE = timedelta(minutes=65)
"""Longer than a domain takes the password before, after a change: a start within it proves nothing (rule 37)."""

MANAGED = "managed_by_windows"
ANOTHER = "holds_another"
GRACE_HOUR = "grace_hour"
"""A domain takes the password before for an hour after a change, so nothing is proved until it is over (rule 38)."""
AT_ITS_TIME = frozenset({"may_change_at", "grace_hour_before_write"})
"""Refusals that end at a known time: tried once more then."""
WOULD_LOCK = "would_lock"
"""The target's own count leaves too few tries: nothing was tried, and it is due again when that count is reset."""
CLOCK_SKEW = "clock_skew"
"""Kerberos looked at no password, since the clocks are too far apart: asked again once they may have been set."""
GIVEN_UP = "given_up"
LEFT_DOWN = frozenset({"did_not_start", "still_stopping", "dependents_down"})
"""Ends of a restart with something stopped by us and not up."""
NOT_RESTARTED = frozenset(
    {"cluster_resource", "not_running", "dependents_running", "start_disabled", "dependency_missing"}
)
"""Why a service may not be restarted: nothing was stopped."""
STOPPED = "stopped"


def proof_from(link: Link, version: str, evidence: Evidence, now: datetime) -> Proof:
    """A proof of ``version`` by this evidence. ``logon_at`` moves only when a logon was made."""
    before = link.proof.logon_at if link.proof and link.proof.version == version else None
    means = evidence.means or Means.WRITTEN
    if means == Means.UNCHANGED and link.proof and link.proof.means not in COUNTING:
        means = link.proof.means  # unchanged since it was written, which is no proof
    return Proof(
        version,
        link.settings_rev,
        means,
        evidence.host,
        evidence.stamp,
        now,
        now if evidence.means == Means.LOGGED_ON else before,
    )


def retry_at(link: Link, now: datetime, policy: RetryPolicy) -> datetime | None:
    """When an unreachable or unknown link is tried again by itself; None: given up."""
    if link.first_try_at and now - link.first_try_at >= timedelta(seconds=policy.give_up):
        return None
    return now + policy.delay(link.tries + 1)


def after_write(link: Link, version: str, outcome: Outcome, now: datetime, timing: Timing) -> After:
    """After a change, reset or set of ``version``, whose intent had put it into ``maybe``."""
    evidence = outcome.evidence
    if outcome.answer == Answer.APPLIED and evidence:
        proof = proof_from(link, version, evidence, now)
        green = proof.means in COUNTING if link.is_account else True
        state = LinkState.IN_SYNC if green else LinkState.WAITING
        pending = evidence.restart_pending
        if evidence.state == STOPPED and (link.state == LinkState.DOWN or link.down is not None):
            return After(
                LinkState.DOWN, _why_down(link), holds=version, proof=proof, written=True, restart_pending=True
            )
        return After(
            LinkState.UPDATED if pending else state,
            "" if green else "written_only",
            holds=version,
            proof=proof,
            written=True,
            restart_pending=pending,
        )
    if outcome.answer == Answer.UNKNOWN and outcome.wrote is not False:
        sent = (version, *(other for other in link.maybe if other != version))
        return After(
            LinkState.UNKNOWN,
            outcome.reason,
            maybe=sent,
            next_try_at=later_of(now, timing),
        )
    return _not_written(link, outcome, now, timing)


def after_restart(link: Link, outcome: Outcome) -> After:
    """After a restart. What was stopped and is not up again is the link's state, whatever else is right."""
    if outcome.answer == Answer.APPLIED:
        return After(LinkState.IN_SYNC, holds=link.holds, restart_pending=False)
    state = LinkState.DOWN if outcome.reason in LEFT_DOWN else LinkState.UPDATED
    return After(state, outcome.reason, holds=link.holds, restart_pending=True)


def _why_down(link: Link) -> str:
    return link.reason if link.state == LinkState.DOWN else "stopped_since"


def _is_down(link: Link, evidence: Evidence) -> bool:
    """Whether a service that ran when it was written is not up now, or others that were stopped with it are not."""
    if evidence.state == STOPPED:
        return link.restart_pending
    if link.down is None:
        return False
    running = {name.casefold() for name in evidence.running}
    return evidence.state == "pending" or not {name.casefold() for name in link.down} <= running


def later_of(now: datetime, timing: Timing) -> datetime:
    """The first moment at which a probe of an attempt made now is allowed; the journal knows it exactly."""
    return now + timedelta(seconds=timing.dead_wait)


def _safe_at(outcome: Outcome, now: datetime) -> datetime | None:
    """When the target said it may be tried again, on the database's clock."""
    return None if outcome.safe_in is None else now + outcome.safe_in


def _not_written(link: Link, outcome: Outcome, now: datetime, timing: Timing) -> After:
    """Refused, blocked, unreachable, or an answer that says no mutation was called: ``maybe`` goes back to what it was
    before this attempt (an account link with older candidates is only ever written by an override)."""
    if outcome.reason == WOULD_LOCK:
        return _over_budget(link, outcome, now, timing)
    if outcome.answer == Answer.REFUSED:
        if outcome.reason == MANAGED:
            return After(LinkState.MANAGED, MANAGED, maybe=link.maybe)
        once = outcome.reason in AT_ITS_TIME and outcome.safe_in is not None and link.reason not in AT_ITS_TIME
        wrong_value = outcome.refuses_value
        return After(
            LinkState.REFUSED,
            outcome.reason,
            maybe=link.maybe,
            next_try_at=_safe_at(outcome, now) if once else None,
            forget_proof=wrong_value,
        )
    if outcome.answer == Answer.BLOCKED:
        return After(LinkState.BLOCKED, outcome.reason, maybe=link.maybe)
    if link.maybe:
        return After(LinkState.UNKNOWN, outcome.reason, maybe=link.maybe, next_try_at=retry_at(link, now, timing.retry))
    again = _safe_at(outcome, now) or retry_at(link, now, timing.retry)
    reason = outcome.reason if again else GIVEN_UP
    return After(LinkState.UNREACHABLE, reason, next_try_at=again)


def _over_budget(link: Link, outcome: Outcome, now: datetime, timing: Timing) -> After:
    state = LinkState.UNKNOWN if link.maybe else LinkState.WAITING
    again = _safe_at(outcome, now) or retry_at(link, now, timing.retry)
    return After(state, WOULD_LOCK, maybe=link.maybe, next_try_at=again)


def stamp_tells(link: Link, stamp: str | None) -> bool | None:
    """Compares a stamp just read with that of the last proof: True unmoved, False moved, None: it cannot tell.

    It cannot tell when either is missing, when the proof is not of what the link holds, or when the write in question
    came too close to that proof for the stamp's resolution. A proof by an unmoved stamp is as old, for this, as the
    logon it leans on: its stamp was there already then.
    """
    proof = link.proof
    if not stamp or not proof or not proof.stamp or proof.version != link.base:
        return None
    if stamp.startswith("digest:") != proof.stamp.startswith("digest:"):
        return None
    if not same_stamp(stamp, proof.stamp):
        return False
    known_since = proof.logon_at or proof.at
    if link.unknown_since and not stamp.startswith("digest:") and link.unknown_since - known_since < STAMP_MARGIN:
        return None
    return True


def after_unmoved(link: Link, evidence: Evidence, now: datetime) -> After:
    """The stamp is that of the last proof: nothing that was sent was applied. It holds what it held, newly proved;
    when what was sent, or claimed, is that very value, it holds that."""
    assert link.proof is not None
    assert link.base is not None
    held = next((version for version in link.maybe if version in link.twins), link.base)
    means = Means.UNCHANGED if link.proof.means in COUNTING else link.proof.means
    proof = Proof(held, link.settings_rev, means, evidence.host, link.proof.stamp, now, link.proof.logon_at)
    if means not in COUNTING:
        return After(LinkState.WAITING, "written_only", holds=held, proof=proof)
    return After(LinkState.IN_SYNC, holds=held, proof=proof)


def after_probe_logon(
    link: Link, version: str, moved: bool | None, outcome: Outcome, now: datetime, timing: Timing
) -> After:
    """After the one logon with a version that may be there."""
    if outcome.answer == Answer.APPLIED and outcome.evidence:
        proof = proof_from(link, version, outcome.evidence, now)
        if proof.means in COUNTING:
            return After(LinkState.IN_SYNC, holds=version, proof=proof)
        return After(LinkState.UNKNOWN, "cannot_tell", maybe=link.maybe, next_try_at=retry_at(link, now, timing.retry))
    if outcome.refuses_value:
        rest = tuple(other for other in link.maybe if other != version)
        if rest:
            return After(LinkState.UNKNOWN, "next_candidate", maybe=rest, next_try_at=retry_at(link, now, timing.retry))
        if moved is False:
            return After(LinkState.REFUSED, ANOTHER, forget_proof=True)
        return After(LinkState.WAITING, "was_not_applied")
    if outcome.reason == WOULD_LOCK:
        return _over_budget(link, outcome, now, timing)
    return after_failed_probe(link, outcome, now, timing)


def after_failed_probe(link: Link, outcome: Outcome, now: datetime, timing: Timing) -> After:
    """The probe itself got no answer: what may be there stays, and it is probed again."""
    again = _safe_at(outcome, now) or retry_at(link, now, timing.retry)
    if outcome.answer == Answer.BLOCKED:
        return After(LinkState.BLOCKED, outcome.reason, maybe=link.maybe, next_try_at=again)
    return After(LinkState.UNKNOWN, outcome.reason if again else GIVEN_UP, maybe=link.maybe, next_try_at=again)


def after_test(link: Link, version: str, outcome: Outcome, now: datetime, timing: Timing) -> After:
    """After a test of an account link with ``version``. A test that cannot tell changes nothing."""
    if outcome.answer == Answer.APPLIED and outcome.evidence and outcome.evidence.means in COUNTING:
        if outcome.evidence.means == Means.UNCHANGED:  # read, where no logon can be made: as good as its last proof
            return after_unmoved(link, outcome.evidence, now)
        return After(LinkState.IN_SYNC, holds=version, proof=proof_from(link, version, outcome.evidence, now))
    if outcome.reason == WOULD_LOCK:
        return After(link.state, WOULD_LOCK, next_try_at=_safe_at(outcome, now))
    if outcome.answer == Answer.UNKNOWN and outcome.reason == CLOCK_SKEW:
        return After(link.state, CLOCK_SKEW, next_try_at=retry_at(link, now, timing.retry))
    if outcome.reason == GRACE_HOUR:  # it was set by somebody within the hour: what was proved before is not true now
        return After(LinkState.UNKNOWN, GRACE_HOUR, forget_proof=True, next_try_at=_safe_at(outcome, now))
    if outcome.answer == Answer.REFUSED and outcome.reason == MANAGED:
        return After(LinkState.MANAGED, MANAGED)
    if outcome.refuses_value:
        return After(LinkState.REFUSED, outcome.reason, forget_proof=True)
    if outcome.answer == Answer.BLOCKED:
        return After(LinkState.BLOCKED, outcome.reason)
    if outcome.answer == Answer.UNREACHABLE:
        again = _safe_at(outcome, now) or retry_at(link, now, timing.retry)
        return After(LinkState.UNREACHABLE, outcome.reason if again else GIVEN_UP, next_try_at=again)
    if outcome.answer == Answer.REFUSED:
        return After(link.state, outcome.reason)
    return After(link.state, outcome.reason or "cannot_tell")


def after_place_test(link: Link, account: Link, version: str, outcome: Outcome, now: datetime, timing: Timing) -> After:
    """After reading a place: identity and right are as they must be (else the connector refused), so it is green when
    we wrote this version under these settings, or it started since the account's password was last set (that of a
    domain account: 65 minutes later)."""
    if link.state == LinkState.DOWN and outcome.answer in (Answer.UNREACHABLE, Answer.UNKNOWN):
        return After(LinkState.DOWN, link.reason)  # nothing was read: it is as down as it was
    if outcome.answer != Answer.APPLIED or not outcome.evidence:
        return after_test(link, version, outcome, now, timing)
    evidence = outcome.evidence
    if _is_down(link, evidence):
        return After(LinkState.DOWN, _why_down(link), holds=link.holds)
    written = link.written_rev == link.settings_rev and link.holds == version
    settled = GRACE if account.in_domain else timedelta(0)
    started = bool(
        evidence.last_start
        and account.proof
        and account.proof.stamp
        and not account.proof.stamp.startswith("digest:")
        and evidence.last_result == 0
        and datetime.fromisoformat(evidence.last_start) > datetime.fromisoformat(account.proof.stamp) + settled
    )
    if not written and not started:
        return After(LinkState.WAITING, "not_yet_written", forget_proof=True)
    means = Means.STARTED if started else Means.WRITTEN
    proof = Proof(version, link.settings_rev, means, evidence.host, None, now, None)
    if link.state == LinkState.DOWN or link.down is not None:  # it was stopped after the write, and runs
        return After(LinkState.IN_SYNC, holds=version, proof=proof, restart_pending=False)
    pending = False if started else None
    if link.restart_pending and not started:
        # why it was not restarted goes on being said
        reason = link.reason if link.state == LinkState.UPDATED else ""
        return After(LinkState.UPDATED, reason, holds=version, proof=proof, restart_pending=pending)
    return After(LinkState.IN_SYNC, holds=version, proof=proof, restart_pending=pending)
