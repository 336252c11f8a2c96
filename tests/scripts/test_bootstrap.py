"""Each operation as powershell.exe would be called: switches, bootstrap, two base64 lines on standard input."""

from __future__ import annotations

import json
import subprocess

import pytest

from pwserver.connectors import contract, scripts
from pwserver.connectors.contract import OPERATIONS
from pwserver.lab import engine_mind
from tests.depth import deep
from tests.scripts.scenarios import DOMAIN, HOSTILE, NEW, SERVICE, TASK, Scenario, account, fault, may_change

pytestmark = [
    pytest.mark.engine,
    pytest.mark.xdist_group("engine"),
    pytest.mark.timeout(120),
    pytest.mark.budget(30, "starts an engine of its own"),
]

VALUES = list(HOSTILE.values())
CASES = list(zip(OPERATIONS, VALUES * 3, strict=False))
TYPED = deep(CASES[::3], CASES)
"""An engine of its own for each; in one engine all of them run, at any depth (``test_operations``)."""


def scenario(op: str, value: str) -> Scenario:
    if op in ("identity", "read_account"):
        return Scenario(op, op, "LAB-02")
    if op == "verify":
        return Scenario(op, op, "LAB-02", secrets={"value": value}, prepare=account(password=value))
    if op in ("change", "reset"):
        return Scenario(op, op, "LAB-02", secrets={"new": value})
    if op.endswith("_domain"):
        return Scenario(op, op, "LAB-01", DOMAIN, {"new": value}, prepare=may_change)
    if op.startswith("re"):
        return Scenario(op, op, "SRV-01", TASK if op == "read_task" else SERVICE)
    params = TASK if op.endswith("task") else SERVICE
    return Scenario(op, op, "SRV-01", params, {"value": value}, prepare=account("SRV-01", "svc-backup", password=value))


def start(one: Scenario, **more):
    lab, case = one.for_engine()
    output, status = engine_mind.run(case.network, case.machine, case.as_user, case.script_text, case.request, **more)
    return lab, output, status


@pytest.mark.parametrize(("op", "value"), TYPED, ids=[op for op, _ in TYPED])
def test_an_operation_answers_once_through_the_bootstrap(engine, op, value):
    one = scenario(op, value)
    lab, output, status = start(one)
    answer = contract.read_answer(output, attempt=f"attempt-{op}", op=op)
    assert (answer.stage, answer.code, answer.reason, status) == ("done", 0, "", 0)
    assert output.isascii()
    assert value.encode() not in output
    if op in ("change", "reset"):
        assert lab.password() == value
    if op in ("change_domain", "reset_domain"):
        assert lab.account("svc-backup", "DC1").password == value
    if op == "set_task":
        assert lab.machine("SRV-01").tasks[0].stored == value
    if op == "set_service":
        assert lab.machine("SRV-01").services[0].stored == value


def test_a_second_hop_hands_over_only_after_the_name_was_told(engine):
    one = Scenario("hop", "change", "LAB-02", secrets={"new": HOSTILE["unicode"]}, hop={}, prepare=fault("name:LAB-09"))
    lab, output, _ = start(one)
    answer = contract.read_answer(output, attempt="attempt-hop", op="change")
    assert (answer.stage, answer.reason, answer.wrote) == ("identity", "wrong_name", False)
    assert lab.password() == lab.passwords["LAB-02\\Administrator"]


@pytest.mark.budget(30, "two engines of their own: what was compiled once in an engine is not compiled again")
@pytest.mark.parametrize("hop", [None, {}])
def test_a_helper_that_cannot_be_compiled_is_an_answer_and_nothing_is_written(engine, hop):
    """A stale LIB variable, a full temporary folder, endpoint protection: without an answer it would be unknown."""
    one = Scenario("compile", "change", "LAB-02", hop=hop, prepare=fault("no-compiler"))
    lab, output, status = start(one)
    answer = contract.read_answer(output, attempt="attempt-compile", op="change")
    assert (answer.stage, answer.reason, answer.wrote, status) == ("start", "helper_not_compiled", False, 0)
    assert (answer.text, answer.attempt) == (one.by_python()[1]["text"], "attempt-compile")
    assert lab.password() == lab.passwords["LAB-02\\Administrator"]


@pytest.mark.budget(30, "two engines of their own")
@pytest.mark.parametrize("hop", [None, {}])
def test_a_stale_lib_variable_is_no_warning_that_counts_as_an_error(engine, hop):
    one = Scenario("lib", "read_account", "LAB-02", hop=hop, prepare=fault("stale-lib"))
    _, output, _ = start(one)
    answer = contract.read_answer(output, attempt="attempt-lib", op="read_account")
    assert (answer.stage, answer.reason) == ("done", "")


def test_constrained_language_is_said_and_echoes_the_attempt(engine):
    lab, output, _ = start(Scenario("clm", "change", "LAB-02", prepare=fault("constrained")))
    answer = contract.read_answer(output, attempt="attempt-clm", op="change")
    assert (answer.stage, answer.reason, answer.wrote) == ("start", "language_mode", False)
    assert lab.password() == lab.passwords["LAB-02\\Administrator"]


@pytest.mark.parametrize("lines", [b"", b"QQ==\r\n"])
def test_without_input_nothing_runs(engine, lines):
    done = subprocess.run(
        [engine, *scripts.command_line()[1]], input=lines, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 90
    assert contract.read_answer(done.stdout, attempt="a", op="verify").reason == "bad_request"


def test_the_lab_runs_no_foreign_script(engine):
    lab, case = Scenario("foreign", "verify", "LAB-02").for_engine()
    with pytest.raises(engine_mind.ForeignScript):
        engine_mind.run(lab.net, case.machine, case.as_user, case.script_text + "\n", case.request)


def test_an_exception_inside_never_tells_what_it_was_about(engine):
    """A helper that fails with the value in its message: the answer names type and line only."""
    value = "Geheim-wort 4711"
    broken = "class PsrvNative { static [string] ComputerName() { throw '" + value + "' } }\n"
    _, output, _ = start(Scenario("broken", "verify", "LAB-02", secrets={"value": value}), before=broken)
    answer = contract.read_answer(output, attempt="attempt-broken", op="verify")
    assert answer.reason == "internal"
    assert "at line" in answer.text
    assert value.encode() not in output


def test_an_engine_without_the_serializer_gets_one(engine, tmp_path):
    """pwsh on newer .NET has no JavaScriptSerializer: the double reads and writes what the scripts need."""
    source = (engine_mind.DOUBLES / "json.cs").read_text().replace("System.Web.Script", "Other.Script")
    (tmp_path / "json.cs").write_text(source)
    text = '{"a":1,"b":[1.5,true,null,5000000000,"\\u20ac\\"<"],"c":{}}'
    (tmp_path / "try.ps1").write_text(
        f"Add-Type -TypeDefinition ([IO.File]::ReadAllText('{tmp_path}/json.cs'))\n"
        "$j = New-Object Other.Script.Serialization.JavaScriptSerializer\n"
        f"$x = $j.DeserializeObject('{text}')\n"
        "$x['ttl'] = [int]5\n[Console]::Out.Write($j.Serialize($x))\n"
    )
    done = subprocess.run([engine, "-File", str(tmp_path / "try.ps1")], capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout) == json.loads(text) | {"ttl": 5}


@pytest.mark.parametrize(("waits_s", "applied"), [(5, True), (120, False)])
def test_a_hand_over_that_arrives_late_is_applied_only_within_its_time(engine, waits_s, applied):
    """The line broke after the hand-over; the second machine starts later. Past its time to live it writes nothing."""
    one = Scenario("late", "change", "LAB-02", hop={}, prepare=fault(f"late:{waits_s}"), ttl_ms=60_000)
    lab, output, _ = start(one)
    answer = contract.read_answer(output, attempt="attempt-late", op="change")
    assert (answer.stage, answer.reason) == ("hop", "hop_broken")
    assert lab.password() == lab.passwords["LAB-02\\Administrator"]
    [(seconds, function)] = lab.waiting
    assert seconds == waits_s
    lab.clock.move(seconds=waits_s)
    late_output, _ = function()
    late = contract.read_answer(late_output, attempt="attempt-late", op="change")
    assert late.reason == ("" if applied else "ttl")
    assert (lab.password() == NEW) is applied
