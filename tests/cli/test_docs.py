"""The user documents say what is so. ``python -m tests.cli.test_docs`` writes ``docs/reasons.md`` anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pwserver.connectors.kinds import LINK_KINDS
from pwserver.core.reasons import REASONS
from pwserver.core.states import LINK, STATUS, LinkState
from tests.cli.test_cli_rest import commands

PROJECT = Path(__file__).parent.parent.parent
DOCS = {path.name: path for path in [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]}
STEPS = {
    "approve": "Approve",
    "retest": "Retest Sync",
    "agent": "repair the login or the agent",
    "credential": "repair the linked credential",
    "edit": "edit the link",
    "wait": "goes on by itself",
    "adopt": "Adopt",
    "none": "-",
}
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
NAMES = {
    "machine": "LAB-05",
    "account": "LAB-05\\Administrator",
    "login": "CORP\\lab-adm",
    "name": "backupd",
    "time": "14:20",
}


def reasons_page() -> str:
    rows = [
        f"| `{code}` | {row.words.format_map(NAMES)} | {row.next.format_map(NAMES) or '-'} | {STEPS[row.step]} |"
        for code, row in REASONS.items()
        if code
    ]
    head = [
        "# Reasons",
        "",
        "What a link, a try or a run may say, and what to do next. The pages and the command line (key `reason`) take",
        "these words from one table in the code, `pwserver/core/reasons.py`; this page is made from it.",
        "",
        "| code | what happened, and what it means | next | step |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a page that are marked so; "" for those without a mark."""
    return [body for found, body in FENCED.findall(text) if found == language]


def test_the_page_of_reasons_is_the_table_in_the_code() -> None:
    assert DOCS["reasons.md"].read_text() == reasons_page(), "run: python -m tests.cli.test_docs"


def test_every_status_state_and_kind_is_explained() -> None:
    text = DOCS["chains.md"].read_text()
    shown = [row.label for state, row in LINK.items() if state not in (LinkState.TESTING, LinkState.CHANGING)]
    for label in [*shown, *(row.label for row in STATUS.values()), *(kind.label for kind in LINK_KINDS.values())]:
        assert f"| {label} |" in text, label


def test_every_command_is_in_the_documents() -> None:
    text = DOCS["chains.md"].read_text()
    for name, _ in commands():
        assert name.split()[-1] in text, name
    for name in re.findall(r"^flask (sync|entry|agent|user|lab|database) ([a-z-]+)", text, re.M):
        assert " ".join(name) in {known for known, _ in commands()}, name


def test_every_sentence_about_two_at_once_names_a_test_that_is_there() -> None:
    section = DOCS["chains.md"].read_text().split("## Two at once")[1].split("\n## ")[0]
    code = "\n".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    sentences = section.split("\n- ")[1:]
    assert len(sentences) == 11
    for sentence in sentences:
        named = re.findall(r"`(test_\w+)`", sentence)
        assert named, sentence
        assert [name for name in named if f"def {name}(" not in code] == []


@pytest.mark.parametrize("name", DOCS)
def test_links_and_anchors_lead_somewhere(name: str) -> None:
    path = DOCS[name]
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        file, _, anchor = target.partition("#")
        other = (path.parent / file).resolve() if file else path
        assert other.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", other.read_text(), re.M)
            assert anchor in {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings}, target


def test_every_setting_of_the_environment_is_in_the_readme() -> None:
    code = "\n".join(path.read_text() for path in (PROJECT / "pwserver").rglob("*.py"))
    known = set(re.findall(r'"(PWSERVER_[A-Z_]+|REDIS_URL|DATABASE_URL)"', code)) - {
        "PWSERVER_DEMO", "PWSERVER_SUPERVISOR",
    }  # fmt: skip  # set by the demo, and by the supervisor for its own processes
    assert {"PWSERVER_INSTANCE", "PWSERVER_WORKERS", "PWSERVER_LAB_POWERSHELL"} <= known
    told = set(re.findall(r"`(PWSERVER_[A-Z_]+|REDIS_URL|DATABASE_URL)`", DOCS["README.md"].read_text()))
    assert known == told


if __name__ == "__main__":
    (PROJECT / "docs" / "reasons.md").write_text(reasons_page())
