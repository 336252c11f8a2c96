"""The Synchronization tab: how the chain stands, its settings, and what can be asked of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, flash, make_response, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup, escape

from pwserver.connectors.kinds import LINK_KINDS
from pwserver.core.errors import Conflict, Invalid
from pwserver.core.passwords import type_of
from pwserver.core.states import HEALTH, Health
from pwserver.extensions import db
from pwserver.models import Entry, SyncAgent, SyncLink
from pwserver.services import agents, entries, sync, views
from pwserver.services.sync.preview import retest_plan
from pwserver.services.transaction import now
from pwserver.services.views import Said
from pwserver.web import load
from pwserver.web.entries import frame
from pwserver.web.forms import Form
from pwserver.web.forms.sync import revision
from pwserver.web.guard import on_entry
from pwserver.web.htmx import go, wants_fragment
from pwserver.web.nudge import nudge
from pwserver.web.session import maybe_me, me

blueprint = Blueprint("sync", __name__, url_prefix="/passwords/<entry_id>")

MAX_ROWS = 12_000
"""Characters of row marks that a poll may send."""


@blueprint.app_template_filter("said")
def said(sentence: Said | str) -> Markup:
    """A sentence with its moments as times, which our script puts into the reader's zone."""
    if isinstance(sentence, str):
        return escape(sentence)
    at = now()
    return Markup("").join(part if isinstance(part, str) else _time(part, at) for part in sentence.parts)


@blueprint.app_template_filter("clock")
def clock(moment: datetime | None) -> Markup | str:
    return _time(moment, now()) if moment else "never"


def _time(moment: datetime, at: datetime) -> Markup:
    return Markup('<time datetime="{}" data-form="clock">{}</time>').format(
        moment.isoformat(timespec="seconds"), views.clock(moment, at)
    )


@blueprint.app_template_filter("moment")
def moment(text: str | None) -> Markup | str:
    """A moment that came as ISO text."""
    return clock(datetime.fromisoformat(text)) if text else "never"


@blueprint.app_template_filter("ago")
def ago(moment: datetime | None) -> str:
    if moment is None:
        return ""
    seconds = (now() - moment).total_seconds()
    return f"{views.lasted(seconds)} ago" if seconds >= 60 else "just now"


@blueprint.app_template_filter("capitalize_first")
def capitalize_first(words: str) -> str:
    return words[:1].upper() + words[1:]


@blueprint.app_template_global("i_am_org_admin")
def i_am_org_admin() -> bool:
    user = maybe_me()
    return user is not None and user.org_admin


# -- seeing


@blueprint.get("/synchronization")
@on_entry("read")
def show(entry: Entry) -> ResponseReturnValue:
    removed = request.args.get("removed", "")
    link = db.session.get(SyncLink, removed) if removed else None
    return page(entry, removed=link if link and not link.active and link.chain.entry_id == entry.id else None)


@blueprint.get("/synchronization/changes")
@on_entry("read")
def changes(entry: Entry) -> ResponseReturnValue:
    """What a page that waits for a run asks every second: 204 when nothing changed, else only what did."""
    chain = views.read_chain(entry)
    if chain is None or not wants_fragment():
        return go(url_for("sync.show", entry_id=entry.id))
    if request.args.get("since") == chain.mark:
        return "", 204
    known = dict(pair.split(":", 1) for pair in request.args.get("rows", "")[:MAX_ROWS].split(",") if ":" in pair)
    run_id = chain.run.id if chain.run else ""
    whole = not chain.running or request.args.get("live") != "1" or request.args.get("run") != run_id
    folded = _folded(chain)
    if whole or known.keys() | folded != chain.marks.keys() or not _fits(chain, folded):
        return page(entry)
    changed = [link for link in chain.links if link.id in known and known[link.id] != chain.marks[link.id]]
    answer = make_response(
        render_template(
            "sync/_changes.html",
            **frame(entry, "sync"),
            chain=chain,
            changed=changed,
            happened=views.happened(chain.id),
        )
    )
    answer.headers["HX-Reswap"] = "none"  # everything in it finds its own place
    return answer


def _folded(chain: views.ChainView) -> set[str]:
    """The links that the page has in folds whose rows it has not fetched; each fold as ``first:count``."""
    ids = [link.id for link in chain.links]
    found: set[str] = set()
    for told in request.args.get("folds", "")[:MAX_ROWS].split(","):
        first, _, count = told.partition(":")
        if first in ids and count.isdecimal():
            found.update(ids[ids.index(first) :][: int(count)])
    return found


def _fits(chain: views.ChainView, folded: set[str]) -> bool:
    """What a fold says of its links still holds; one that is at work comes back to it."""
    return all(link.good or link.at_work for link in chain.links if link.id in folded)


@blueprint.get("/synchronization/fold")
@on_entry("read")
def fold(entry: Entry) -> ResponseReturnValue:
    """The rows of a fold that was opened; where the chain folds otherwise by now, the whole tab."""
    first, count = request.args.get("first", ""), request.args.get("count", 0, type=int)
    if not wants_fragment():
        return go(url_for("sync.show", entry_id=entry.id, open=first))
    chain = views.read_chain(entry)
    band = chain.band_of(first, count) if chain else None
    if band is None:
        answer = make_response(page(entry))
        answer.headers["HX-Retarget"], answer.headers["HX-Reswap"] = "#sync", "outerHTML"
        return answer
    facts = {**frame(entry, "sync"), "chain": chain, "band": band, "owner": load.may(entry.vault_id, "owner")}
    return render_template("sync/_fold.html", **facts)


def page(
    entry: Entry,
    status: int = 200,
    *,
    form: Form | None = None,
    settings: Form | None = None,
    words: str = "",
    **open_form: Any,
) -> ResponseReturnValue:
    """The whole tab, or for htmx the part of it below the tabs. ``form`` and ``open_form``: the link form that is open
    (``editing`` a link, or ``adding`` a kind); ``settings``: the form of the chain's settings as sent."""
    chain = views.read_chain(entry)
    owner = load.may(entry.vault_id, "owner")
    usable = sync.usable_agents(entry.vault)
    enabled = chain is not None and chain.enabled
    facts: dict[str, Any] = {
        **frame(entry, "sync"),
        "chain": chain,
        "owner": owner,
        "agents": usable,
        "agents_options": _agent_options(usable, chain),
        "agents_shown": _with_own(usable, chain),
        "lends": _primary_lends(entry) if owner else [],
        "pending_agents": [] if usable else _waiting_for_approval(),
        "kind_known": type_of(entry.type).link_kind is not None,
        "issue": views.issue_of(chain, entry) if chain and enabled else None,
        "retest": retest_plan(entry) if enabled else None,
        "elsewhere": _elsewhere(entry) if chain and not enabled else [],
        "kinds": _kinds(chain.agent) if chain and enabled and owner else [],
        "settings": settings or _settings_form(entry, chain, usable),
        "form": form or Form.of(),
        "words": words,
        "editing": "",
        "unfolded": request.values.getlist("open"),
        "adding": None,
        "choosing": False,
        "removed": None,
        "restored": False,
        "many": None,
        "fragment": wants_fragment(),
        "happened": views.happened(chain.id) if chain and chain.run else [],
        "run_title": views.run_title(chain.run) if chain and chain.run else "",
        "next_test": views.next_test_words(chain) if chain else None,
    }
    facts |= open_form
    template = "sync/_sync_fragment.html" if wants_fragment() else "sync/show.html"
    return render_template(template, **facts), status


def done(entry: Entry, words: str, **more: Any) -> ResponseReturnValue:
    """After something was done: the tab as it is now, with a sentence of what happened."""
    if wants_fragment():
        return page(entry, words=words, **more)
    flash(words)
    return go(url_for("sync.show", entry_id=entry.id))


def refused(entry: Entry, error: Invalid | Conflict, **more: Any) -> ResponseReturnValue:
    """The tab as it is now, saying that nothing was done, with whatever was typed still in its form."""
    form = more.pop("form", None) or Form.of()
    say_refusal(form, entry, error)
    return page(entry, 409 if isinstance(error, Conflict) else 422, form=form, **more)


def say_refusal(form: Form, entry: Entry, error: Invalid | Conflict) -> None:
    """The words of a refusal in its form; a form from an older chain is told what was changed since."""
    form.add(error)
    since = views.edits_since(entry, error.seen) if isinstance(error, sync.StaleChain) else ""
    if since:
        form.errors[""] = f"{since} Nothing was saved; here is how it stands now."


def lends_for(
    entry: Entry, link: SyncLink | None = None, *, kind: str = "", machine: str = "", **settings: str
) -> list[tuple[str, str]]:
    """The linked credentials to choose from: the agent's own, and those that this person may read. One that is an
    account of another device is not offered to ``link``, or to what will be one of this kind and machine."""
    chain = sync.chain_of(entry)
    default = chain.agent.linked_entry if chain else None
    if link is not None:
        kind, machine, settings = link.kind, link.machine, link.settings
    lends = [("", "As the agent")]
    if default is not None and sync.is_of_another_device(default, kind, machine, settings):
        lends = [("", f"As the agent: none of {machine}")]
    elif chain is not None:
        lends = [("", f"As the agent: {default.name}" if default else "As the agent: none yet")]
    lends += [
        (each.id, f"{each.name} ({each.vault.name})")
        for each in agents.choosable(me())
        if each.id != entry.id and not sync.is_of_another_device(each, kind, machine, settings)
    ]
    kept = link.linked_entry if link else None
    if kept is not None and kept.id not in dict(lends):
        lends.append((kept.id, "the one it has now"))
    return lends


def _primary_lends(entry: Entry) -> list[tuple[str, str]]:
    """The same for Default Sync; none where no agent that could be chosen would need one."""
    chain = sync.chain_of(entry)
    if chain is not None:
        primary = sync.active_links(chain)[0]
        return lends_for(entry, primary) if LINK_KINDS[primary.kind].needs_linked else []
    if type_of(entry.type).link_kind is None:
        return []
    kinds = [sync.primary_settings(entry, agent)[0] for agent in sync.usable_agents(entry.vault)]
    needs = next((kind for kind in kinds if LINK_KINDS[kind].needs_linked), "")
    if not needs:
        return []
    return lends_for(entry, kind=needs, machine=entry.machine, address=entry.address, host_key=entry.host_key)


def checked_credential(options: list[tuple[str, str]], chosen: str) -> str | None:
    """A linked credential is lent by a person who may read it, so only offered ones are taken."""
    if chosen and chosen not in dict(options):
        raise Invalid(
            "Choose a linked credential that you may read and that is no account of another device.",
            field="linked_entry_id",
        )
    return chosen or None


def _waiting_for_approval() -> list[SyncAgent]:
    return views.pending_agents()


def _agent_options(usable: list[SyncAgent], chain: views.ChainView | None) -> list[tuple[str, str]]:
    """The agents to choose from; the chain's own stays in the list when it is no longer usable."""
    options = [(agent.id, f"{agent.name} ({_reach(agent)})") for agent in usable]
    if chain is not None and chain.agent.id not in dict(options):
        options.insert(0, (chain.agent.id, f"{chain.agent.name} (not usable now)"))
    return options


def _reach(agent: SyncAgent) -> str:
    if agent.transport == "ssh":
        return "devices over SSH"
    if agent.transport == "ldaps":
        return f"the domain {agent.machine}"
    count = len({name.casefold() for name in (*agent.allowed_machines, agent.machine) if name})
    return views.counted(count, "machine")


def _with_own(usable: list[SyncAgent], chain: views.ChainView | None) -> list[SyncAgent]:
    """Whom the form may name: what is said of an agent stands where it is chosen."""
    own = [chain.agent] if chain is not None and chain.agent not in usable else []
    return [*own, *usable]


@blueprint.app_template_filter("agent_words")
def agent_words(agent: SyncAgent) -> str:
    linked = agent.linked_entry
    words = f"{HEALTH[Health(agent.health)].label}."
    return f"{words} Its linked credential is {linked.name}." if linked else f"{words} It has no linked credential."


def _elsewhere(entry: Entry) -> list[tuple[SyncLink, int, datetime | None]]:
    """Places of a chain that is off which hold another version than the vault's."""
    numbers = {version.id: version.number for version in entries.versions(entry)}
    return [(link, numbers.get(version, 0), at) for link, version, at in sync.may_hold(db.session, entry)]


def _kinds(agent: SyncAgent) -> list[Any]:
    """The kinds that this chain's agent can reach; one that needs another agent is left out."""
    return [kind for kind in LINK_KINDS.values() if agent.transport in kind.transports]


def _settings_form(entry: Entry, chain: views.ChainView | None, usable: list[SyncAgent]) -> Form:
    stored = sync.chain_of(entry)
    if chain is not None and stored is not None:
        lent = sync.active_links(stored)[0].linked_entry_id or ""
        return Form.of(agent_id=chain.agent.id, on_failure=chain.on_failure, linked_entry_id=lent)
    return Form.of(agent_id=usable[0].id if usable else "", on_failure="continue", linked_entry_id="")


# -- asking


@blueprint.post("/synchronization/enable")
@on_entry("owner")
def enable(entry: Entry) -> ResponseReturnValue:
    form = Form.typed("agent_id", "on_failure", "linked_entry_id")
    try:
        linked = checked_credential(_primary_lends(entry), form["linked_entry_id"])
        chain = sync.enable(me(), entry, form["agent_id"], form["on_failure"] or "continue", linked)
    except Invalid as error:
        form.add(error)
        return page(entry, 422, settings=form)
    nudge(sync.active_run(chain))
    return done(entry, "Synchronization is on. Each link is tested once; nothing is written anywhere.")


@blueprint.post("/synchronization/settings")
@on_entry("owner")
def settings(entry: Entry) -> ResponseReturnValue:
    form = Form.typed("agent_id", "on_failure", "linked_entry_id")
    try:
        linked = checked_credential(_primary_lends(entry), form["linked_entry_id"])
        sync.save_settings(me(), entry, form["agent_id"], form["on_failure"], linked, revision=revision())
    except (Invalid, Conflict) as error:
        say_refusal(form, entry, error)
        return page(entry, 409 if isinstance(error, Conflict) else 422, settings=form)
    nudge(sync.run_of(entry))
    return done(entry, "Chain settings saved.")


@blueprint.post("/synchronization/certificate")
@on_entry("owner")
def confirm_certificate(entry: Entry) -> ResponseReturnValue:
    """The fingerprint is the one that stood on the page; a yet newer one has to be compared again."""
    run = sync.confirm_certificate(me(), entry, request.form.get("pin", ""))
    nudge(run)
    return done(entry, "The new certificate is confirmed for this chain.")


@blueprint.get("/synchronization/off")
@on_entry("owner")
def confirm_off(entry: Entry) -> ResponseReturnValue:
    return render_template("sync/off.html", **frame(entry, "sync"), chain=views.read_chain(entry))


@blueprint.post("/synchronization/off")
@on_entry("owner")
def turn_off(entry: Entry) -> ResponseReturnValue:
    sync.disable(me(), entry)
    flash("Synchronization is off. Nothing was forgotten; turning it on again tests every link.")
    return go(url_for("sync.show", entry_id=entry.id))


def _demand_agent(entry: Entry) -> None:
    """A run whose agent may not work would end without doing anything; the page says so instead."""
    chain = sync.chain_of(entry)
    if chain is None or not chain.enabled:
        return
    if why := sync.why_at_rest(chain):
        raise Conflict(f"Nothing was sent: {AT_REST[why].format(agent=chain.agent.name)}")


AT_REST = {
    "state": "{agent} is not approved. An administrator approves it first.",
    "untested": "{agent} was changed and not tested since. An administrator tests it first.",
    "certificate": "{agent} has a new certificate. An owner of this password confirms it first.",
}


@blueprint.post("/test")
@on_entry("read")
def test(entry: Entry) -> ResponseReturnValue:
    _demand_agent(entry)
    run = sync.request_test(me(), entry)
    nudge(run)
    return done(entry, f"Run {run.number}: every link is tested. A test never writes.")


@blueprint.post("/retest")
@on_entry("modify")
def retest(entry: Entry) -> ResponseReturnValue:
    _demand_agent(entry)
    plan = retest_plan(entry)
    if not plan.possible:
        raise Conflict(f"Nothing was sent: {plan.why_not or plan.words}.")
    run = sync.retest(me(), entry)
    nudge(run)
    return done(entry, f"Run {run.number}: Retest Sync began.")


@blueprint.post("/give-up")
@on_entry("modify")
def give_up(entry: Entry) -> ResponseReturnValue:
    sync.give_up(me(), entry)
    return done(entry, "The change was given up. The vault keeps the password it has.")


@blueprint.get("/adopt")
@on_entry("owner")
def confirm_adopt(entry: Entry) -> ResponseReturnValue:
    chain = views.read_chain(entry)
    wanted = request.args.getlist("link_ids")
    links = [link for link in chain.links if not link.is_account] if chain else []
    ticked = wanted or [link.id for link in links if link.can_adopt]
    form = Form.of(link_ids=ticked)
    return render_template("sync/adopt.html", **frame(entry, "sync"), chain=chain, links=links, form=form)


@blueprint.post("/adopt")
@on_entry("owner")
def adopt(entry: Entry) -> ResponseReturnValue:
    form = Form.typed(lists=("link_ids",))
    try:
        run = sync.adopt(me(), entry, form["link_ids"])
    except (Invalid, Conflict) as error:
        form.add(error)
        chain = views.read_chain(entry)
        links = [link for link in chain.links if not link.is_account] if chain else []
        code = 409 if isinstance(error, Conflict) else 422
        return render_template("sync/adopt.html", **frame(entry, "sync"), chain=chain, links=links, form=form), code
    nudge(run)
    flash(f"Run {run.number}: the proved password is written into the chosen places, and nothing else.")
    return go(url_for("sync.show", entry_id=entry.id))


from pwserver.web import change, sync_links, sync_many  # noqa: E402, F401  # their routes belong to this blueprint
