"""Read models for pages: what rows mean, in words. Nothing here writes."""

from pwserver.services.views.chain import Band, ChainView, next_test_words, read_chain, read_chains, run_title
from pwserver.services.views.counting import IssueCounts, count_issues, count_running, visible_vaults
from pwserver.services.views.dashboard import DashboardView, pending_agents, read_dashboard
from pwserver.services.views.history import EventRow, VersionRow, edits_since, events_of, versions_of
from pwserver.services.views.issues import IssueView, issue_of, issue_title, step_of
from pwserver.services.views.links import Around, LinkView, link_view
from pwserver.services.views.runs import RunRow, RunView, happened, read_run, run_look, runs_for, runs_of_chain
from pwserver.services.views.said import Said, clock, counted, lasted, listed, named, say
from pwserver.services.views.tasks import Task

__all__ = [
    "Around",
    "Band",
    "ChainView",
    "DashboardView",
    "EventRow",
    "IssueCounts",
    "IssueView",
    "LinkView",
    "RunRow",
    "RunView",
    "Said",
    "Task",
    "VersionRow",
    "clock",
    "count_issues",
    "count_running",
    "counted",
    "edits_since",
    "events_of",
    "happened",
    "issue_of",
    "issue_title",
    "lasted",
    "link_view",
    "listed",
    "named",
    "next_test_words",
    "pending_agents",
    "read_chain",
    "read_chains",
    "read_dashboard",
    "read_run",
    "run_look",
    "run_title",
    "runs_for",
    "runs_of_chain",
    "say",
    "step_of",
    "versions_of",
    "visible_vaults",
]
