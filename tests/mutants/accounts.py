"""Faults of accounts, the second hop and domains: scripts, codes, lab."""

from __future__ import annotations

from tests.mutants import SourceMutant

MUTANTS: tuple[SourceMutant, ...] = (
    # the second hop
    SourceMutant(
        "access-denied-refuses-the-credential",
        "pwserver/connectors/codes.py",
        '    5: Row(Blocked, "not_admin"),\n',
        '    5: Row(Blocked, "linked_refused", LINKED),\n',
        "tests/connectors/test_codes.py::test_only_a_code_that_names_the_password_refuses_the_linked_credential",
    ),
    SourceMutant(
        "access-denied-over-tls-costs-no-try",
        "pwserver/connectors/codes.py",
        '    "hop_unclear": Row(Blocked, "linked_denied", LINKED),\n',
        '    "hop_unclear": Row(Blocked, "linked_denied"),\n',
        "tests/connectors/test_codes.py::test_access_denied_over_tls_may_be_a_wrong_password",
    ),
    SourceMutant(
        "a-state-of-our-account-is-asked-of-every-machine",
        "pwserver/services/sync/tries.py",
        "    if outcome.answer == Answer.BLOCKED and outcome.reason == LINKED_STATE:\n",
        "    if outcome.answer == Answer.BLOCKED and outcome.reason == 'none':\n",
        "tests/disasters/test_credentials.py::test_a_locked_linked_credential_is_asked_once_and_its_value_is_free_again",
    ),
    SourceMutant(
        "the-script-calls-every-5-a-refusal",
        "pwserver/connectors/scripts/hop.ps1",
        "{ Stop-Psrv 'hop_unclear' $code }",
        "{ Stop-Psrv 'hop_refused' $code }",
        "tests/scripts/test_operations.py::test_one_machine_where_we_are_no_administrator_refuses_no_password",
    ),
    SourceMutant(
        "the-login-is-blamed-before-a-controller-is-asked-after",
        "pwserver/connectors/scripts/hop.ps1",
        "(Test-PsrvController $credential.UserName) -eq $false",
        "$false",
        "tests/scripts/test_operations.py::test_a_silent_controller_is_asked_after_before_a_login_is_blamed",
    ),
    SourceMutant(
        "new-ps-session-tries-five-times-more",
        "pwserver/connectors/scripts/hop.ps1",
        " -MaxConnectionRetryCount 0",
        "",
        "tests/scripts/test_operations.py::test_a_dead_second_machine_is_given_up_within_the_time_to_live",
    ),
    SourceMutant(
        "no-probe-of-the-port",
        "pwserver/connectors/scripts/hop.ps1",
        "  $code = Test-PsrvPort $computer $port\n",
        "  $code = 0\n",
        "tests/scripts/test_operations.py::test_a_dead_second_machine_is_given_up_within_the_time_to_live",
    ),
    SourceMutant(
        "the-hand-over-is-not-announced",
        "pwserver/connectors/scripts/hop.ps1",
        """    [Console]::Out.Write('{"psrv":"handed_over\"""",
        """    [void]('{"psrv":"handed_over\"""",
        "tests/scripts/test_operations.py"
        "::test_the_hand_over_is_announced_by_one_line_and_only_when_it_happens[hop-change]",
    ),
    SourceMutant(
        "silence-of-a-cut-line-counts-as-never-handed-over",
        "pwserver/connectors/session.py",
        "        except _NeverHandedOver:\n",
        "        except (_NeverHandedOver, pinning.LineError, requests.RequestException):\n",
        "tests/connectors/test_session_hop.py::test_a_cut_connection_is_unknown_whether_the_line_came_or_not",
    ),
    SourceMutant(
        "no-line-and-still-unknown",
        "pwserver/connectors/session.py",
        "                if is_over:\n",
        "                if False:\n",
        "tests/connectors/test_session_hop.py"
        "::test_a_second_machine_that_keeps_the_script_waiting_beyond_its_time_to_live_was_sent_nothing",
    ),
    SourceMutant(
        "the-helpers-are-compiled-where-no-answer-comes",
        "pwserver/connectors/scripts/machine.ps1",
        "    Stop-Psrv 'helper_not_compiled' 0\n",
        "    exit 1\n",
        "tests/scripts/test_bootstrap.py::test_a_helper_that_cannot_be_compiled_is_an_answer_and_nothing_is_written",
    ),
    SourceMutant(
        "kerberos-without-a-controller-lacks-credentials",
        "pwserver/lab/calls.py",
        "SEC_NO_AUTHORITY = 0x80090311\n",
        "SEC_NO_AUTHORITY = 0x8009030E\n",
        "tests/scripts/test_operations.py::test_a_silent_controller_is_asked_after_before_a_login_is_blamed",
    ),
)
