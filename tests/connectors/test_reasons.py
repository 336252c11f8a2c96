"""Every reason has words and a next step: one that no page could say would leave a person alone at 2 a.m."""

from __future__ import annotations

import ast
import string
from pathlib import Path
from typing import get_args

import pytest

from pwserver.connectors import codes
from pwserver.core import reasons
from pwserver.core.reasons import REASONS, reason

FIELDS = {"machine", "account", "name", "login", "time"}
RAISED = {"Refused", "Blocked", "Unreachable", "Unknown", "NotNow"}
ROOT = Path(reasons.__file__).parents[1]


def raised() -> dict[str, str]:
    """Every reason that is written as a literal in the product's source, with the place where."""
    found = {}
    for path in [*ROOT.glob("connectors/*.py"), *ROOT.glob("sync/*.py"), *ROOT.glob("services/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in RAISED and isinstance(node.args[0].value, str):
                found[node.args[0].value] = f"{path.name}:{node.lineno}"
    return found


@pytest.mark.parametrize("code", sorted(REASONS))
def test_its_words_can_be_filled_in(code):
    row = REASONS[code]
    for template in (row.words, row.next):
        fields = {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}
        assert fields <= FIELDS
        assert template.count("{time}") <= 1
        template.format(machine="LAB-05", account="LAB-05\\bob", name="backupd", login="CORP\\adm", time="14:20")
    assert row.step in get_args(reasons.Step)


@pytest.mark.parametrize("code", sorted(REASONS.keys() - {""}))
def test_its_voice_is_calm(code):
    row = REASONS[code]
    text = f"{row.words} {row.next}"
    assert row.words.endswith(".")
    assert not row.next or row.next.endswith(".")
    assert "!" not in text
    for word in ("please", "successfully", "error", "failed!", "retry", "the target"):
        assert word not in text.lower()


def test_whatever_is_raised_has_words():
    assert len(raised()) > 15
    assert {code: place for code, place in raised().items() if code not in REASONS} == {}


def test_whatever_the_table_of_codes_can_say_has_words():
    rows = [*codes.STOPS.values(), *codes.HOP.values(), *codes.FACTS.values(), *codes.OLD.values()]
    rows += [*codes.LOGON.values(), *(row for table in codes.WRITES.values() for row in table.values())]
    assert {row.reason for row in rows} | set(codes.ACCOUNT_STATES.values()) <= REASONS.keys()


def test_our_own_refused_login_is_never_worded_as_the_targets_password():
    for code in (
        "login_refused", "login_not_accepted", "no_ntlm", "linked_refused", "waiting_for_login", "override_refused",
        "not_admin",
    ):
        assert "{account}" not in REASONS[code].words


def test_an_unknown_reason_still_says_something():
    assert "new_thing" in reason("new_thing").words.format(machine="LAB-05")
    assert reason("{evil.__class__}").words.format(machine="LAB-05")
