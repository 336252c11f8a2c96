"""The Approve page: what happened, what can be put right and how to get in, and what Approve would do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pwserver.connectors.kinds import LINK_KINDS
from pwserver.core.errors import Conflict
from pwserver.core.states import LinkState
from pwserver.extensions import db
from pwserver.models import Entry, SyncLink
from pwserver.services import sync
from pwserver.services.sync.preview import ApprovePlan, Offer, approve_plan
from pwserver.services.views.chain import ChainView, read_chain
from pwserver.services.views.issues import issue_title
from pwserver.services.views.links import LinkView
from pwserver.services.views.said import Said, counted, listed, say


@dataclass(frozen=True, slots=True)
class Ticked:
    link: LinkView
    offer: Offer


@dataclass(frozen=True, slots=True)
class Target:
    """A machine with its links. ``linked``: what its linked credential is called; ``linked_works`` False: there is
    none, or it was refused, so one has to be typed. ``out``: it does not answer and is left out."""

    machine: str
    links: Sequence[Ticked]
    linked: str
    linked_works: bool
    out: bool

    @property
    def key(self) -> str:
        return self.machine.casefold()


@dataclass(frozen=True, slots=True)
class Choice:
    value: str
    label: str
    text: str
    steps: Sequence[str]
    button: str


@dataclass(frozen=True, slots=True)
class ApproveView:
    entry: Entry
    chain: ChainView
    targets: Sequence[Target]
    choices: Sequence[Choice]
    chosen: str
    changed_outside: bool
    title: str
    story: Sequence[Said]
    seen: int
    """The newest instruction of a person; Approve is refused when there is a newer one by then."""

    @property
    def open_targets(self) -> list[Target]:
        return [target for target in self.targets if not target.out]

    @property
    def outside(self) -> list[str]:
        """Machines on which somebody else set a password."""
        return [target.machine for target in self.targets if any(each.link.outside for each in target.links)]

    @property
    def wrong(self) -> int:
        return sum(1 for target in self.targets for each in target.links if not target.out)


def read_approve(entry: Entry) -> ApproveView | None:
    """The page of an entry with an enabled chain; None without one."""
    chain = read_chain(entry)
    row = sync.chain_of(entry)
    if chain is None or row is None or not chain.enabled:
        return None
    plan = approve_plan(entry)
    shown = {link.id: link for link in chain.links}
    rows = {link.id: link for link in sync.active_links(row)}
    by_machine: dict[str, list[Ticked]] = {}
    for offer in plan.offers:
        link = shown[offer.link.id]
        by_machine.setdefault(link.machine, []).append(Ticked(link, offer))
    targets = [_target(machine, links, rows) for machine, links in by_machine.items()]
    targets.sort(key=lambda target: target.out)
    newest = sync.newest_instruction(db.session, row.id)
    return ApproveView(
        entry=entry,
        chain=chain,
        targets=targets,
        choices=_choices(chain, plan, targets),
        chosen=plan.chosen,
        changed_outside=plan.changed_outside,
        title=issue_title([each.link for target in targets for each in target.links]),
        story=_story(chain, targets),
        seen=newest.number if newest else 0,
    )


def demand_approve(entry: Entry) -> ApproveView:
    """The same for an entry that can be approved now. Raises :class:`Conflict`."""
    view = read_approve(entry)
    if view is None:
        raise Conflict("Synchronization is not enabled for this password, so there is nothing to approve.")
    agent = view.chain.agent
    if agent.state != "approved":
        raise Conflict(f"{agent.name} is not approved, so nothing can be reached. An administrator approves it first.")
    return view


def _target(machine: str, links: Sequence[Ticked], rows: dict[str, SyncLink]) -> Target:
    row = rows[links[0].link.id]
    agent = row.chain.agent
    needs = LINK_KINDS[row.kind].needs_linked
    lent = row.linked_entry or agent.linked_entry
    credential = lent if needs else agent.login_entry or lent
    ours = [each.link.id for each in links if each.link.state == LinkState.BLOCKED and each.link.ours]
    refused = any(rows[link_id].reason != "override_refused" for link_id in ours)  # what was typed says nothing of it
    return Target(
        machine=machine,
        links=links,
        linked=credential.name if credential else "",
        linked_works=credential is not None and not refused,
        out=not any(each.offer.tickable for each in links),
    )


def _choices(chain: ChainView, plan: ApprovePlan, targets: Sequence[Target]) -> list[Choice]:
    inside = [target.machine for target in targets if not target.out]
    outside = [target.machine for target in targets if target.out]
    total = len(chain.links)
    names = inside[0] if len(inside) == 1 else "the ticked ones"
    left = [f"Leaves {listed(outside)} for when it answers."] if outside else []
    where = inside[0] if len(inside) == 1 else "its own machine"
    prove = f"Proves each credential once, on {where}, before anything is touched."
    others = total - sum(len(target.links) for target in targets if not target.out)
    found = {
        "keep": Choice(
            "keep",
            "Keep the vault\u2019s password",
            f"Only what is ticked is set to it. {counted(others, 'other link')} "
            f"{'is' if others == 1 else 'are'} not touched.",
            [
                prove,
                "Sets each ticked account to the vault\u2019s password, without its old one, and logs on once.",
                *left,
            ],
            f"Approve: set {names}",
        ),
        "pending": Choice(
            "pending",
            "Finish the change to the pending one",
            f"Version {chain.pending}, which some places have or may have. The whole chain, Default Sync first.",
            [prove, "Sets the ticked accounts to it, without their old one.", "Changes what is left, in order.", *left],
            f"Approve: finish the change on {counted(total, 'link')}",
        ),
        "new": Choice(
            "new",
            "A new password",
            f"The whole chain changes, Default Sync first: {counted(total, 'link')}.",
            [
                prove,
                f"Changes {chain.links[0].machine} first, then the chain in its order.",
                "Resets the ticked accounts without their old password and logs on once to prove it.",
                *left,
            ],
            f"Approve: change {counted(total, 'link')}",
        ),
    }
    return [found[value] for value in plan.choices]


def _story(chain: ChainView, targets: Sequence[Target]) -> list[Said]:
    """What is known, in a few sentences: the first trouble in its own words, then that nothing is lost."""
    links = [each.link for target in targets for each in target.links]
    story: list[Said] = []
    for link in [each for each in links if each.why][:2]:
        story.append(link.why)
    if chain.done:
        good = f"{chain.done} of {counted(len(chain.links), 'link')}"
        story.append(say(f"No password is lost: {good} {'is' if chain.done == 1 else 'are'} in sync."))
    else:
        story.append(say("No password is lost: every version that was ever sent is kept."))
    return story
