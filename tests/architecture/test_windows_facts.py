"""What the code uses of Windows has a row in ``docs/windows-facts.md``, and each row says what it stands on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import facts

HEAD = f"{facts.HEAD}\n|---|---|---|---|\n"
OWN = f"{facts.OWN_HEAD}\n|---|---|\n"
SOURCE = "https://example.org/page"
DOCUMENTED = f"documented, {SOURCE}, read 2026-11-30"
SENTENCE = "86 is a password that is not right"


def row(
    fact: str = SENTENCE, where: str = "`connectors/codes.py`", evidence: str = DOCUMENTED, used: str = "`86`"
) -> str:
    return f"| {fact} | {where} | {evidence} | {used} |\n"


def use(token: facts.Token) -> facts.Use:
    return facts.Use(token, "pwserver/connectors/codes.py", 7)


def test_whatever_the_code_uses_of_windows_has_a_row_and_every_row_is_used() -> None:
    table = facts.read(facts.TABLE.read_text())
    assert facts.broken(table, facts.uses()) == []


def test_the_counts_of_the_page_add_up() -> None:
    counts = facts.count(facts.read(facts.TABLE.read_text()))
    assert counts["facts"] == sum(counts[kind] for kind in ("run", "recorded", "documented", "lab_only"))
    assert counts["facts"] >= facts.LEAST_FACTS
    assert counts["lab_only"] <= facts.MOST_LAB_ONLY


def test_a_code_that_no_row_names_is_told_with_its_file_and_line() -> None:
    table = facts.read(HEAD + row())
    told = facts.broken(table, [use(86), use(1909)])
    assert "1909 is used in pwserver/connectors/codes.py:7, and no row of docs/windows-facts.md names it" in told
    assert not any(told_of.startswith("86 ") for told_of in told)


def test_a_row_for_what_nothing_uses_any_more_is_told() -> None:
    table = facts.read(HEAD + row(used="`86`, `LogonUserW`"))
    assert "docs/windows-facts.md:3 names LogonUserW, which nothing uses" in facts.broken(table, [use(86)])


def test_a_number_that_is_called_our_own_is_used_and_is_not_windows_too() -> None:
    table = facts.read(HEAD + row() + "\n" + OWN + "| `86` | room |\n| `4711` | more room |\n")
    told = facts.broken(table, [use(86)])
    assert "docs/windows-facts.md:7 calls 86 our own, and a row says that it is Windows'" in told
    assert "docs/windows-facts.md:8 calls 4711 our own, and nothing uses it" in told


def test_too_few_facts_and_too_many_of_the_lab_are_told() -> None:
    lab = "lab only, check: `net user guest`"
    text = HEAD + "".join(row(f"{SENTENCE}, case {number}", evidence=lab) for number in range(21))
    told = facts.broken(facts.read(text), [use(86)])
    assert "there are 21 facts; at least 60 are wanted" in told
    assert "21 facts stand on the lab only; at most 20 may" in told


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("codes.py", "ROWS = {5: 1, 1326: 2}", {5, 1326}),
        ("kerberos.py", "MEANINGS = {24: 1}", {"Kerberos 24"}),
        ("directory_codes.py", "BINDS = {'52e': 1, '0000052D': 2}\nBUSY = 51", {"data 52e", 1325, "BUSY"}),
        ("calls.py", "UF_LOCKED = 0x10\nE_NO = 0x80070002", {"UF_LOCKED", 2147942402}),
        ("calls.py", "Call('LogonUserW', 'what it does')", {"LogonUserW"}),
        ("machines.py", "A = 'SeBatchLogonRight', 'S-1-5-113'", {"SeBatchLogonRight", "S-1-5-113"}),
        ("mind_domain.py", "A = ['pwdLastSet', 'min_length']", {"pwdLastSet"}),
        ("x.py", '"""1326 in a docstring is no use."""', set()),
        ("x.cs", '[DllImport("a.dll", EntryPoint = "OpenW")]\nstatic extern int Other(int a);', {"OpenW"}),
        ("x.cs", '[DllImport("a.dll")]\nstatic extern bool CloseHandle(IntPtr h); // 1326', {"CloseHandle"}),
        ("x.ps1", "$s = New-PSSession -UseSSL # 1326", {"New-PSSession", "-UseSSL"}),
        ("x.ps1", "$f.RegisterTaskDefinition($n, $d, 36, $u)", {"flags 36"}),
        ("x.ps1", "if (($flags -band 16) -ne 0) { Stop-Psrv 'locked' 1909 }", {"bit 16", 1909}),
        ("x.ps1", "New-Object -ComObject Schedule.Service", {"New-Object", "Schedule.Service"}),
        (
            "x.ps1", "[PsrvNative]::KeyNumber('SOFTWARE\\Policies\\Microsoft Services\\AdmPwd', 'AdmPwdEnabled')",
            {"SOFTWARE\\Policies\\Microsoft Services\\AdmPwd", "value AdmPwdEnabled"},
        ),
        ("x.c", "return code() == 2 ? 0xC0000034 : 0; /* 1326 */", {0xC0000034}),
    ],
)  # fmt: skip
def test_what_counts_as_a_use(tmp_path: Path, name: str, text: str, expected: set[facts.Token]) -> None:
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / name).write_text(text)
    assert {found.token for found in facts.uses([folder / name])} == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEAD + "| one | two |\n", "line 3: 2 cells and not 4"),
        (HEAD + row(fact="too short"), "line 3: a fact is a sentence"),
        (HEAD + row(where="codes"), "line 3: a fact is a sentence, and names at least one file"),
        (HEAD + row(where="`connectors/gone.py`"), "line 3: no file pwserver/connectors/gone.py"),
        (HEAD + row(evidence="proved"), "line 3: no evidence that is known: proved"),
        (HEAD + row(evidence=f"documented, {SOURCE}"), "line 3: no evidence that is known"),
        (HEAD + row(evidence=f"documented, somewhere, {DOCUMENTED}"), "line 3: no evidence that is known"),
        (HEAD + row(evidence="run on a real Windows Server 2025"), "line 3: no evidence that is known"),
        (HEAD + row(evidence="lab only, check: look at it"), "line 3: no evidence that is known"),
        (HEAD + row(used="86"), "line 3: tokens stand in back-ticks"),
        (HEAD + row(used="`86` and `87`"), "line 3: tokens stand in back-ticks"),
        (HEAD + row() + row(), "line 4: the same fact as in line 3"),
        (OWN + "| `1000` | |\n", "line 3: 1000 is no number, stands here twice, or has no words"),
        (OWN + "| `LogonUserW` | a call |\n", "line 3: LogonUserW is no number"),
    ],
)
def test_a_row_that_is_not_as_the_page_says_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(facts.BrokenTable) as error:
        facts.read(text)
    assert str(error.value).startswith(told)


def test_a_fact_counts_by_its_first_piece_of_evidence_and_may_have_a_bar_in_it() -> None:
    evidence = f"run on Samba 4.17 AD<br>{DOCUMENTED}<br>lab only, check: `sc query \\| findstr x`"
    assert [fact.kind for fact in facts.read(HEAD + row(evidence=evidence)).facts] == ["run"]


def test_the_command_ends_with_the_counts_and_with_1_when_a_rule_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert facts.main() == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == facts.count(facts.read(facts.TABLE.read_text()))
    page = tmp_path / "windows-facts.md"
    monkeypatch.setattr(facts, "TABLE", page)
    page.write_text(HEAD + row())
    assert facts.main() == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["facts"] == 1
    page.write_text(HEAD + "| one |\n")
    assert facts.main() == 1
    assert capsys.readouterr().out.startswith("docs/windows-facts.md, line 3: ")
