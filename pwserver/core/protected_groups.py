"""The groups whose members AdminSDHolder watches over, by Microsoft's document "Protected accounts and groups in Active
Directory" (Appendix C). Windows marks a member (``adminCount``) within the hour; the groups tell it at once."""

from __future__ import annotations

from collections.abc import Iterable

RIDS = frozenset({512, 516, 518, 519, 521, 526, 527})
"""Of a domain: its administrators and controllers, those of schema and forest, those who manage keys."""
ALIASES = frozenset(f"S-1-5-32-{number}" for number in (544, 548, 549, 550, 551, 552))
"""Of a controller: Administrators, Account, Server, Print and Backup Operators, Replicator."""


def protects(groups: Iterable[str]) -> bool:
    """Whether one of these group SIDs (as ``tokenGroups`` gives them) makes its member a protected account."""
    return any(
        sid in ALIASES or (sid.startswith("S-1-5-21-") and int(sid.rpartition("-")[2]) in RIDS) for sid in groups
    )
