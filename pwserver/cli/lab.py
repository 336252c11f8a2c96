"""``flask lab``: the truth of the practice lab, a simulated network, and what can go wrong in it.

It asks the lab of the running demo, never what Password Server believes.
"""

from __future__ import annotations

from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup

from pwserver.cli.output import Exit, Out, command, read_secret
from pwserver.lab import control
from pwserver.lab.model.faults import WORDS

group = AppGroup("lab", short_help="The practice lab: its truth and its faults.", help=__doc__)


def ask(verb: str, **args: Any) -> dict[str, Any]:
    """One request to the lab of this instance."""
    return control.ask(current_app.config["PWSERVER"].instance / "lab" / control.SOCKET, verb, **args)


@command(group, "state", database=False)
@click.argument("machine", required=False)
def state(out: Out, machine: str | None) -> Exit:
    """Every machine as it truly is, or MACHINE with its accounts, tasks and services."""
    found = ask("state")
    holders = found["machines"] + found["devices"]
    if machine is None:
        out.table(
            ("Machine", "Role", "Fault", "Requests", "Wrong logons", "Stale copies"),
            [
                (
                    each["name"], each.get("role") or "-", each["fault"] or "-", each["requests"],
                    sum(account["wrong_logons"] for account in each["accounts"]), _stale(each),
                )
                for each in holders
            ],
        )  # fmt: skip
        out.give(found)
        return Exit.OK
    one = next((each for each in holders if each["name"] == machine.upper()), None)
    if one is None:
        raise control.LabMissing(f"The lab has no machine {machine}. `flask lab state` lists them.")
    _say_machine(out, one)
    out.give(one)
    return Exit.OK


def _stale(holder: dict[str, Any]) -> int:
    places = holder.get("tasks", []) + holder.get("services", [])
    return sum(1 for place in places if place["stored_is_right"] is False)


def _say_machine(out: Out, one: dict[str, Any]) -> None:
    out.say(f"{one['name']}: {one['fault'] or 'no fault'}, {one['requests']} requests so far", "")
    out.table(
        ("Account", "Last set (UTC)", "As at the beginning", "Locked", "Wrong logons"),
        [
            (each["name"], each["last_set"], _yes(each["initial"]), _yes(each["locked"]), each["wrong_logons"])
            for each in one["accounts"]
        ],
    )
    places = [_place(each, "path", "last_result") for each in one.get("tasks", [])]
    places += [_place(each, "name", "state") for each in one.get("services", [])]
    if places:
        out.say("")
        out.table(
            ("Task or service", "Runs as", "Its copy", "State or last result"),
            places,
        )


_COPY = {True: "right", False: "stale", None: "stores none"}


def _place(one: dict[str, Any], name: str, how: str) -> tuple[object, ...]:
    return one[name], one["run_as"], _COPY[one["stored_is_right"]], one[how]


def _yes(flag: object) -> str:
    return "yes" if flag else "no"


@command(group, "hash", database=False)
def hash_of(out: Out) -> Exit:
    """A hash of the truth: the same as before means that nothing was changed."""
    found = ask("hash")
    out.say(found["hash"])
    out.give(found)
    return Exit.OK


@command(group, "badlogons", database=False)
def badlogons(out: Out) -> Exit:
    """Every wrong logon that the lab counted. 0 whatever the count."""
    found = ask("badlogons")
    out.say(f"Wrong logons: {found['total']}")
    if found["accounts"]:
        out.table(
            ("Machine", "Account", "Wrong logons"),
            [(each["machine"], each["account"], each["count"]) for each in found["accounts"]],
        )
    out.give(found)
    return Exit.OK


@command(group, "requests", database=False)
def requests(out: Out) -> Exit:
    """HTTP requests and NTLM authentications, by machine."""
    found = ask("requests")
    out.say(f"Requests: {found['total']}. NTLM authentications: {found['ntlm']}")
    if found["machines"]:
        out.table(
            ("Machine", "Requests", "NTLM authentications"),
            [
                (each["machine"], each["requests"], ", ".join(f"{who} {n}" for who, n in each["ntlm"].items()) or "-")
                for each in found["machines"]
            ],
        )
    out.give(found)
    return Exit.OK


@command(group, "reset", database=False)
def reset(out: Out) -> Exit:
    """Everything in the lab as it was at the beginning: passwords, counts, faults. The vault is not told."""
    found = ask("reset")
    out.say(
        "The lab is as it was at the beginning. Passwords that the vault has changed since then now differ from it."
    )
    out.give(found)
    return Exit.OK


@command(group, "fault", database=False)
@click.argument("machine")
@click.argument("word", metavar="FAULT")
def fault(out: Out, machine: str, word: str) -> Exit:
    found = ask("fault", machine=machine, word=word)
    out.say(f"{found['machine']}: {found['fault'] or 'no fault'}")
    out.give(found)
    return Exit.OK


fault.help = f"Makes something wrong with MACHINE. FAULT is one of {WORDS}."


@command(group, "set-password", database=False)
@click.argument("machine")
@click.argument("account")
def set_password(out: Out, machine: str, account: str) -> Exit:
    """Sets a password as somebody at MACHINE's console would; it comes on standard input. The vault is not told."""
    found = ask("set-password", machine=machine, account=account, value=read_secret("New password").open())
    out.say(f"{found['machine']}: the password of {found['account']} was set by hand.")
    out.give(found)
    return Exit.OK


@command(group, "holds", database=False)
@click.argument("machine")
@click.argument("account")
def holds(out: Out, machine: str, account: str) -> Exit:
    """Whether the password on standard input is the true one of ACCOUNT; counts nothing. 0 only when it is.

    ACCOUNT may also be a task ('\\Backup\\Nightly') or a service ('service:backupd'): then, whether its copy is that.
    """
    found = ask("holds", machine=machine, account=account, value=read_secret("Password", twice=False).open())
    out.say("yes" if found["holds"] else "no")
    out.give(found)
    return Exit.OK if found["holds"] else Exit.NOT_WELL


@command(group, "start-service", database=False)
@click.argument("machine")
@click.argument("name")
def start_service(out: Out, machine: str, name: str) -> Exit:
    """Starts a service anew, as a reboot of MACHINE would. 0 only when it runs then; 1069: its copy is stale."""
    found = ask("start-service", machine=machine, name=name)
    out.say(f"{found['service']} on {found['machine']}: {'runs' if found['ok'] else 'did not start'} ({found['code']})")
    out.give(found)
    return Exit.OK if found["ok"] else Exit.NOT_WELL


@command(group, "run-task", database=False)
@click.argument("machine")
@click.argument("path")
def run_task(out: Out, machine: str, path: str) -> Exit:
    """Runs a scheduled task now. 0 only when it ran; 2147943726 (0x8007052E): its copy is stale."""
    found = ask("run-task", machine=machine, path=path)
    out.say(f"{found['task']} on {found['machine']}: {'ran' if found['ok'] else 'did not run'} ({found['code']})")
    out.give(found)
    return Exit.OK if found["ok"] else Exit.NOT_WELL
