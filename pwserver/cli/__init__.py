"""The command line: the same services as the pages, for whoever may read the instance folder.

Exit statuses are in ``output.Exit``. Secrets come on standard input or by a hidden prompt, never as an argument.
"""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Registers the commands: ``flask sync``, ``entry``, ``agent``, ``user``, ``lab``, ``database``."""
    # Three of them add to sync.
    from pwserver.cli import agent, approve, chain, database, entry, lab, sync, sync_due, user  # noqa: F401

    for group in (sync.group, entry.group, agent.group, user.group, lab.group, database.group):
        app.cli.add_command(group)
