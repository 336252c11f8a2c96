"""``flask sync``: Approve, Adopt, give up, cancel. Administrators' passwords come on standard input or by a prompt."""

from __future__ import annotations

from collections.abc import Sequence

import click

from pwserver import queueing
from pwserver.cli.acting import as_option, entry_for, run_for
from pwserver.cli.find import find_link, name_of
from pwserver.cli.output import Exit, Out, command, read_secret, read_secrets
from pwserver.cli.sync import follow, group, run_facts, show_status, wait_option
from pwserver.connectors.base import Credential
from pwserver.core.access import Right
from pwserver.core.errors import Conflict, Invalid
from pwserver.core.generator import Recipe, generate
from pwserver.core.secrets import Secret
from pwserver.extensions import db
from pwserver.models import Entry, SyncLink
from pwserver.services import sync, views
from pwserver.services.views.approve import ApproveView, Target, demand_approve

numbers_option = click.option("--link", "numbers", type=int, multiple=True, metavar="NUMBER", help="A link to take.")


@command(group, "approve")
@click.argument("entry")
@numbers_option
@click.option("--reason", required=True, help="Why; the other owners read it in the history.")
@click.option("--set", "choice", type=click.Choice(("keep", "pending", "new")), help="Which password.")
@click.option("--generate", "make", is_flag=True, help="Make the new password here instead of reading one.")
@click.option(
    "--login", "logins", multiple=True, metavar="[MACHINE=]NAME",
    help="An administrator there, whose password is read; without MACHINE for all. Else the linked credential.",
)  # fmt: skip
@click.option("--unlock", is_flag=True, help="Also unlock the account.")
@wait_option
@as_option
def approve(
    out: Out, entry: str, numbers: tuple[int, ...], reason: str, choice: str | None, make: bool,
    logins: tuple[str, ...], unlock: bool, wait: float | None, acting: str | None,
) -> Exit:  # fmt: skip
    """Approve, an administrative override: puts the links of ENTRY that are not right back, or those named.

    What is secret is read in this order, one a line: the new password with `--set new`, then that of each --login.
    """
    found, user = entry_for(entry, acting, Right.OWNER)
    view = demand_approve(found)
    choice = choice or ("new" if make else view.chosen)
    links = _links(found, view, numbers)
    wanted = [each for each in view.open_targets if any(one.link.id in links for one in each.links)]
    new, credentials = _read(wanted, _logins(logins, wanted), choice, make)
    form = sync.Approval(links, choice, reason, new=new, unlock=unlock, credentials=credentials, seen=view.seen)
    run = sync.approve(user, found, form)
    return follow(out, found, run, wait, "approved. Each credential is proved once before anything is touched.")


def _links(entry: Entry, view: ApproveView, numbers: Sequence[int]) -> list[str]:
    """The ids of the links named, else of those that the page ticks by itself."""
    chain = sync.chain_of(entry)
    assert chain is not None
    if numbers:
        return [find_link(chain, number).id for number in numbers]
    return [each.link.id for target in view.targets for each in target.links if each.offer.ticked]


def _logins(typed: Sequence[str], targets: Sequence[Target]) -> dict[str, str]:
    """User name by machine, case-folded. Raises :class:`Invalid` where neither a typed nor a linked one works."""
    found: dict[str, str] = {}
    for each in typed:
        machine, equals, name = each.rpartition("=")
        meant = [target.key for target in targets if not equals or target.key == machine.casefold()]
        if not meant:
            raise Invalid(f"--login {each}: nothing is put right on {machine}.")
        found |= dict.fromkeys(meant, name)
    for target in targets:
        if target.key not in found and not target.linked_works:
            raise Invalid(f"{target.machine}: no linked credential works there. Name an administrator with --login.")
    return found


def _read(
    targets: Sequence[Target], logins: dict[str, str], choice: str, make: bool
) -> tuple[Secret | None, dict[str, Credential]]:
    """The new password, and a credential by machine; the same name has the same password."""
    asks = choice == "new" and not make
    users = list(dict.fromkeys(logins[target.key] for target in targets if target.key in logins))
    names = ["The new password"] * asks + [f"The password of {user}" for user in users]
    found = [read_secret(names[0])] if len(names) == 1 and asks else read_secrets(names)
    new = found.pop(0) if asks else generate(Recipe()) if choice == "new" else None
    secrets = dict(zip(users, found, strict=True))
    return new, {machine: Credential(user, secrets[user]) for machine, user in logins.items()}


@command(group, "adopt")
@click.argument("entry")
@numbers_option
@wait_option
@as_option
def adopt(out: Out, entry: str, numbers: tuple[int, ...], wait: float | None, acting: str | None) -> Exit:
    """Adopt: writes the proved password of ENTRY into the tasks and services not written yet, or those named."""
    found, user = entry_for(entry, acting, Right.OWNER)
    chain, shown = sync.chain_of(found), views.read_chain(found)
    if chain is None or shown is None:
        raise Conflict("Synchronization is not enabled for this password.")
    places: list[str] = [_place(find_link(chain, number)) for number in numbers]
    places = places or [link.id for link in shown.adoptable]
    run = sync.adopt(user, found, places)
    return follow(out, found, run, wait, "the proved password is written into the chosen places, and nothing else.")


def _place(link: SyncLink) -> str:
    if link.is_account:
        raise Invalid(f"{link.machine} is an account; only a task or a service is adopted.", field="link")
    return link.id


@command(group, "give-up")
@click.argument("entry")
@as_option
def give_up(out: Out, entry: str, acting: str | None) -> Exit:
    """Gives up the change of ENTRY that has reached no place. The vault keeps the password it has."""
    found, user = entry_for(entry, acting, Right.MODIFY)
    sync.give_up(user, found)
    out.say(f"{name_of(found)}: the change was given up. The vault keeps the password it has.")
    show_status(out, db.session.get_one(Entry, found.id))
    return Exit.OK


@command(group, "cancel")
@click.argument("run_id", metavar="ID")
@as_option
def cancel(out: Out, run_id: str, acting: str | None) -> Exit:
    """Ends a run before its next link, never inside one; ID is its number. What is unknown is still read."""
    run, user = run_for(run_id, acting, Right.MODIFY)
    sync.cancel(user, run)
    if run.state != "done":
        queueing.enqueue(run.id, queueing.NOW)
    out.say(f"Run {run.number} ends before its next link. What is unknown is still read.")
    out.give({"run": run_facts(run)})
    return Exit.OK
