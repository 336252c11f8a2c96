"""The shipped scripts themselves, run by a real PowerShell engine, reached as a real machine would be."""

from __future__ import annotations

import pytest

from pwserver.connectors.contract import Hop
from pwserver.core.secrets import Secret
from tests.engine import NAME, engine_or_skip
from tests.lab_wire.kit import Lab, ask, call, eventually, reset

NEW = Secret("Aa1\"'`$()€😀")

pytestmark = [
    pytest.mark.engine,
    pytest.mark.xdist_group("engine"),
    pytest.mark.timeout(120),
    pytest.mark.budget(30, "starts an engine of its own"),
]


@pytest.fixture(autouse=True)
def _engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, engine_or_skip())


def test_the_shipped_scripts_answer_over_the_wire(lab: Lab) -> None:
    session, within = lab.session(), {"ttl_s": 60, "deadline_s": 90}
    old = lab.initial("LAB-01\\Administrator")
    account = {"user": "Administrator", "account_sid": "", "min_left": 2}
    changed = ask(session, "change", **account, reset_allowed=False, old=old, new=NEW, within=call(**within))
    assert (changed.stage, changed.code, changed.method) == ("done", 0, "change")
    assert lab.password("LAB-01", "Administrator") == NEW.open()
    hop = Hop("LAB-02", "LAB-02\\svc-psrv", lab.initial("LAB-02\\svc-psrv"), "ssl")
    over = reset(session, NEW, "LAB-02", hop=hop, within=call(**within))
    assert (over.stage, over.machine.computer_name) == ("done", "LAB-02")
    assert lab.password("LAB-02", "Administrator") == NEW.open()


def test_a_cut_line_and_a_late_application_are_the_same_with_an_engine(lab: Lab) -> None:
    lab.network.set_fault("LAB-01", "late:0.1")
    with pytest.raises(Exception, match="connection_lost"):
        reset(lab.session(), NEW, within=call(ttl_s=60, deadline_s=90))
    eventually(lambda: lab.password("LAB-01", "Administrator") == NEW.open(), "the late application", seconds=60)
