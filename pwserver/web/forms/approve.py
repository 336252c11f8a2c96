"""The Approve form as sent: links, credentials by machine, the value. Administrators' passwords are never kept."""

from __future__ import annotations

from collections.abc import Sequence

from flask import request

from pwserver.connectors.base import Credential
from pwserver.services.sync import Approval
from pwserver.services.views.approve import ApproveView, Target
from pwserver.web.forms import Form, number_of, secret_of

SAME = "same"


def first_form(view: ApproveView) -> Form:
    """As first shown: what is wrong is ticked, each machine by its linked credential where that works."""
    ticked = [each.offer.link.id for target in view.targets for each in target.links if each.offer.ticked]
    ways = {f"with:{target.key}": "linked" if target.linked_works else "typed" for target in view.open_targets}
    return Form.of(link_ids=ticked, value_choice=view.chosen, unlock=False, reason="", same=False, **ways)


def typed_form(view: ApproveView) -> Form:
    names = ["value_choice", "reason"]
    for target in view.open_targets:
        names += [f"with:{target.key}", f"user:{target.key}"]
    return Form.typed(*names, lists=("link_ids",), ticks=("unlock", SAME))


def approval_of(view: ApproveView, form: Form) -> Approval | None:
    """The approval, or None with the errors beside their fields."""
    wanted = [target for target in view.open_targets if _is_ticked(target, form)]
    credentials = _credentials(wanted, form)
    if not form["reason"]:
        form.errors["reason"] = "Say why, in a few words; the other owners read it in the history."
    new = secret_of("value") if form["value_choice"] == "new" else None
    if new is not None and not new.open():
        form.errors["new"] = "Type the new password, or have one made."
    if form.errors:
        return None
    return Approval(
        link_ids=form["link_ids"],
        value=form["value_choice"],
        reason=form["reason"],
        new=new,
        unlock=form["unlock"],
        credentials=credentials,
        seen=number_of("seen") if "seen" in request.form else None,
    )


def _is_ticked(target: Target, form: Form) -> bool:
    return any(each.link.id in form["link_ids"] for each in target.links)


def _credentials(targets: Sequence[Target], form: Form) -> dict[str, Credential]:
    """Typed credentials by machine; with *the same for all*, a machine left blank takes the first that was typed."""
    found: dict[str, Credential] = {}
    common: Credential | None = None
    for target in targets:
        if form[f"with:{target.key}"] != "typed":
            if not target.linked_works:
                form.errors[f"with:{target.key}"] = "There is no linked credential that works here. Type one."
            continue
        user, secret = form[f"user:{target.key}"], secret_of(f"password:{target.key}")
        if common is not None and form[SAME] and not user and not secret.open():
            found[target.key] = common
            continue
        if not user:
            form.errors[f"user:{target.key}"] = "Type the user name of an administrator there."
        if not secret.open():
            form.errors[f"password:{target.key}"] = "Type the password. It is never sent back to a page."
        found[target.key] = Credential(user, secret)
        common = common or found[target.key]
    return found
