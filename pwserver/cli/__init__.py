"""The command line: the same services as the pages, for whoever may read the instance folder.

Exit statuses are in ``output.Exit``. Secrets come on standard input or by a hidden prompt, never as an argument.
"""

from __future__ import annotations

from flask import Flask


def init_app(app: Flask) -> None:
    """Registers the commands: ``flask sync``, ``entry``, ``agent``, ``user``, ``lab``."""
    from pwserver.cli import agent, approve, chain, entry, lab, sync, sync_due, user  # noqa: F401  # three add to sync

    for group in (sync.group, entry.group, agent.group, user.group, lab.group):
        app.cli.add_command(group)
