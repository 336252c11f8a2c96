"""Would Windows PowerShell 5.1 take the scripts, and would its logs record a secret?"""

from __future__ import annotations

import re

import pytest

from pwserver.connectors import scripts
from pwserver.connectors.contract import OPERATIONS
from tests.cli.test_docs import DOCS, blocks
from tests.engine import engine_path
from tests.scripts.check import HOLD_SECRETS, check, secret_bindings, shipped

pytestmark = [
    pytest.mark.engine,
    pytest.mark.xdist_group("engine"),
    pytest.mark.timeout(120),
    pytest.mark.budget(30, "starts an engine of its own"),
]

LEAKS = {
    "bound.ps1": "$d = 'x'\nConvertFrom-Json -InputObject $d | Out-Null\n",
    "piped.ps1": "$psrvRequest = 'x'\n$psrvRequest | Out-Null\n",
    "inside.ps1": "$letter = 'x'\nWrite-Output \"it is $letter\" | Out-Null\n",
    "function.ps1": "function Show-It($what) { }\n$d = 'x'\nShow-It $d.Length\n",
}
NEWER = {"newer.ps1": "$x = $true ? 1 : 2\n", "unknown.ps1": "Get-NoSuchThing -Loud\n", "signs.ps1": "# \u20ac\n"}


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    path = engine_path()
    if path is None:
        return None
    return check(path, {**shipped(), **LEAKS, **NEWER}, tmp_path_factory.mktemp("check"))


@pytest.fixture
def checked(engine, reports):
    if not reports:
        pytest.skip("this engine has no -Check")
    return reports


@pytest.mark.parametrize("name", sorted(shipped()))
def test_windows_powershell_5_1_would_take_it(checked, name):
    assert checked[name]["findings"] == []
    assert checked[name]["unchecked"] == []


def test_windows_powershell_5_1_would_take_what_the_documents_tell_to_type(engine, tmp_path):
    pages = {f"{name}-{number}.ps1": text for name, path in DOCS.items()
             for number, text in enumerate(blocks(path.read_text(), "powershell"))}  # fmt: skip
    assert len(pages) >= 3
    told = check(engine, pages, tmp_path)
    if not told:
        pytest.skip("this engine has no -Check")
    assert {name: report["findings"] for name, report in told.items() if report["findings"]} == {}


@pytest.mark.parametrize("name", sorted(shipped()))
def test_no_log_of_windows_records_a_secret(checked, name):
    assert secret_bindings(checked[name]) == []


@pytest.mark.parametrize("name", sorted(LEAKS))
def test_a_leaking_script_turns_the_check_red(checked, name):
    assert secret_bindings(checked[name])


@pytest.mark.parametrize("name", sorted(NEWER))
def test_a_script_for_another_powershell_turns_the_check_red(checked, name):
    assert checked[name]["findings"]


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_value_in_clear_is_only_ever_in_the_named_variables(name):
    """Whatever is assigned from a secret-holding variable, but by a method that seals or splits it, holds one too."""
    text = shipped()[name]
    for line in text.splitlines():
        assigned = re.match(r"\s*\$(\w+) = (.*)", line)
        if not assigned or assigned[1] in HOLD_SECRETS:
            continue
        assert not re.match(r"\[[\w.]+\]::PtrToString", assigned[2]), line
        assert not re.search(r"\$(d|letter|clear)\b", assigned[2]), line
        for part in re.findall(r"\$psrvRequest(\S*)", assigned[2]):
            assert re.match(r"\['(attempt|op|ttl_ms|until|params|expect|hop)'\]", part), line


def test_scripts_pass_secrets_to_no_program_and_no_forbidden_command():
    forbidden = (
        r"ConvertTo-SecureString|ConvertFrom-Json|Set-Variable|Set-ItemProperty|Register-ScheduledTask|Start-Process"
    )
    forbidden += (
        r"|Invoke-Expression|net\.exe|sc\.exe|schtasks|cmdkey|Write-(Host|Output|Verbose|Debug)|-Authentication Negot"
    )
    for name, text in shipped().items():
        assert not re.search(forbidden, text, re.IGNORECASE), name


def test_the_command_line_is_constant_short_and_empty_of_secrets():
    program, arguments = scripts.command_line()
    line = " ".join((program, *arguments))
    assert len(line) < scripts.MAX_LINE
    assert program.endswith("\\WindowsPowerShell\\v1.0\\powershell.exe")
    assert "-NonInteractive" in arguments
    assert scripts.command_line() == (program, arguments)


def test_every_operation_has_its_script_and_its_digest():
    assert scripts.digests().keys() == {*OPERATIONS, *(f"hop:{op}" for op in OPERATIONS)}
    assert len(set(scripts.digests().values())) == 2 * len(OPERATIONS)
    for op, operation in OPERATIONS.items():
        takes = f"{','.join(sorted(operation.params))};{','.join(sorted(operation.secrets))}"
        assert f"$psrvThis = '{op}'" in scripts.script(op)
        assert f"$psrvTakes = '{takes}'" in scripts.script(op)


def test_a_refused_name_or_login_is_never_offered_another_way():
    """Over a second hop there is Kerberos or a checked certificate. A rogue name must never get the login by NTLM."""
    for op in OPERATIONS:
        text = scripts.hop_script(op)
        sessions = re.findall(r"= New-PSSession .*", text)
        assert len(sessions) == 2
        assert all("-Authentication Kerberos" in one or "-UseSSL" in one for one in sessions)
        assert "SkipCACheck" not in text
        assert "SkipCNCheck" not in text
