"""``flask user``: the people who may sign in."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from pwserver.cli.output import Exit, Out, command, read_secret
from pwserver.core.errors import Invalid
from pwserver.core.secrets import Secret
from pwserver.services import firstrun, users

group = AppGroup("user", short_help="Adds and lists people.", help=__doc__)


@command(group, "list")
def list_users(out: Out) -> Exit:
    """Everybody who has an account here."""
    found, vaults = users.everybody(), users.vault_counts()
    rows = [
        {
            "email": each.email, "name": each.name, "active": each.active, "org_admin": each.org_admin,
            "vaults": vaults.get(each.id, 0),
        }
        for each in found
    ]  # fmt: skip
    out.table(
        ("E-mail", "Name", "May sign in", "Organization administrator", "Vaults"),
        [(row["email"], row["name"], _yes(row["active"]), _yes(row["org_admin"]), row["vaults"]) for row in rows],
    )
    out.give({"users": rows})
    return Exit.OK


def _yes(flag: object) -> str:
    return "yes" if flag else "no"


@command(group, "add")
@click.argument("email")
@click.argument("name")
@click.option("--admin", is_flag=True, help="An organization administrator.")
@click.option("--password", "typed", is_flag=True, help="Read the password; else a one-time one is made and printed.")
def add(out: Out, email: str, name: str, admin: bool, typed: bool) -> Exit:
    """Adds a person. The password is a one-time one that is printed, or with --password comes on standard input."""
    password = users.check_new(read_secret("Password")) if typed else None
    made: Secret | None
    if firstrun.done():
        user, made = users.add_user(None, email, name, org_admin=admin, password=password)
    else:
        if not admin or password is None:
            raise Invalid(
                "There is no user yet. The first one is an organization administrator with a password of their own: "
                "give --admin and --password, or open /setup with the code on the server's console."
            )
        user, made = firstrun.make_at_console(email, name, password), None
    out.say(f"{user.name} <{user.email}> was added.")
    if made is not None:
        out.say(f"One-time password, to be changed at the first sign-in: {made.open()}")
    facts = {"email": user.email, "name": user.name, "org_admin": user.org_admin}
    out.give(facts | {"one_time_password": made.open() if made else None})
    return Exit.OK
