"""Faults of accounts on servers over SSH."""

from __future__ import annotations

from tests.mutants import SourceMutant

DEVICE = "pwserver/connectors/device.py"
LOGIN = "pwserver/connectors/device_login.py"
PROTOCOL = "pwserver/connectors/device_protocol.py"
STATES = "tests/ssh/test_device_states.py"
NEVER_ADMITTED = f"{STATES}::test_a_right_password_that_sshd_never_admits_is_never_taken_for_another_one"
UNMOVED = f"{STATES}::test_a_login_refused_under_an_unmoved_stamp_is_no_other_password"
CLI = "tests/cli/test_cli_devices.py"
ON_THE_PAGES = "tests/web/test_sync_devices.py"

MUTANTS: tuple[SourceMutant, ...] = (
    SourceMutant(
        "sshd's own settings are not read before a login",
        LOGIN,
        "        or _of_server(account, state,",
        "        or None and _of_server(account, state,",
        f"{NEVER_ADMITTED}[DenyUsers]",
    ),
    SourceMutant(
        "PermitRootLogin is not read",
        LOGIN,
        'if account.uid == "0" and root != ["yes"]:',
        'if account.uid == "" and root != ["yes"]:',
        f"{NEVER_ADMITTED}[root with a key only]",
    ),
    SourceMutant(
        "the settings of another sshd than the running one are read",
        PROTOCOL,
        """("sshd: "*"[listener]"*) server=${title#sshd: };""",
        """("none: "*"[listener]"*) server=${title#sshd: };""",
        f"{NEVER_ADMITTED}[AllowGroups]",
    ),
    SourceMutant(
        "a refused login after our own write is another password",
        DEVICE,
        "            if moved or not judged:\n",
        "            if not judged:\n",
        UNMOVED,
    ),
    SourceMutant(
        "a refused login under an unmoved stamp is a refused password",
        DEVICE,
        'if error.reason == "value_refused" and held:',
        'if error.reason == "value_refused" and not held:',
        UNMOVED,
    ),
    SourceMutant(
        "a server that closes the login after the password is a broken line",
        "pwserver/connectors/ssh.py",
        "if client.sent and isinstance(error, asyncssh.ConnectionLost):",
        "if not client.sent and isinstance(error, asyncssh.ConnectionLost):",
        f"{STATES}::test_what_pam_alone_turns_away_is_written_and_its_unmoved_stamp_carries_on",
    ),
    SourceMutant(
        "an unmoved stamp does not carry a change on where no login is let in",
        DEVICE,
        "if not (barred is not None and barred.standing and held):",
        "if True:",
        f"{CLI}::test_after_approve_the_vault_has_what_an_account_that_may_not_log_in_holds",
    ),
    SourceMutant(
        "a change is carried on whatever the stamp is",
        DEVICE,
        "if not (barred is not None and barred.standing and held):",
        "if not (barred is not None and barred.standing):",
        f"{CLI}::test_a_password_set_by_hand_is_not_overwritten_where_no_login_can_tell",
    ),
    SourceMutant(
        "a written-only account that is unchanged is proved",
        "pwserver/sync/settle.py",
        "        if outcome.evidence.means == Means.UNCHANGED:",
        "        if outcome.evidence.means == Means.STARTED:",
        f"{CLI}::test_after_approve_the_vault_has_what_an_account_that_may_not_log_in_holds",
    ),
    SourceMutant(
        "faillock cannot be seen from outside",
        LOGIN,
        "        or _of_faillock(account, state,",
        "        or None and _of_faillock(account, state,",
        f"{STATES}::test_an_account_locked_by_faillock_is_read_and_costs_no_login",
    ),
    SourceMutant(
        "an old failure counts for faillock for ever",
        LOGIN,
        "count = sum(newest - each < interval for each in state.failures)",
        "count = len(state.failures)",
        "tests/connectors/test_device_login.py::test_faillock_locks_as_its_own_module_does",
    ),
    SourceMutant(
        "the expiry of the password itself is not read",
        LOGIN,
        "    if state.last == 0:\n        return True\n",
        "    if state.last == 0:\n        return False\n",
        f"{STATES}::test_an_expired_password_is_read_where_the_server_would_ask_for_another",
    ),
    SourceMutant(
        "an expired password answers the server's questions",
        DEVICE,
        "value, questions=not expired))",
        "value, questions=True))",
        "tests/ssh/test_device_tools.py::"
        "test_an_expired_password_answers_no_questions_though_sshds_settings_cannot_be_read",
    ),
    SourceMutant(
        "our login's expired password is a broken line",
        DEVICE,
        "        if _EXPIRED in self.trace.noise:\n            raise Blocked(",
        "        if _EXPIRED in self.trace.noise:\n            raise ssh.LineBroken(self.trace.noise)\n"
        "        if not self.trace:\n            raise Blocked(",
        f"{STATES}::test_the_expired_password_of_our_login_is_no_broken_line[sshd]",
    ),
    SourceMutant(
        "a command line that is no shell is a broken line",
        DEVICE,
        '        raise Blocked("no_tools", text=self.trace.noise)\n',
        '        raise ssh.LineBroken("the line was cut")\n',
        f"{STATES}::test_a_command_line_that_is_no_shell_is_said_at_the_first_test[exit 1]",
    ),
    SourceMutant(
        "a command line that waits is a machine that does not answer",
        DEVICE,
        "            if trace.noise and not trace.heard:\n",
        "            if trace.noise and trace.heard:\n",
        f"{STATES}::test_a_command_line_that_is_no_shell_is_said_at_the_first_test[exec sleep 60]",
    ),
    SourceMutant(
        "sudo that asks is a missing right of Windows",
        PROTOCOL,
        "stop sudo_asks;; esac",
        "stop no_shadow;; esac",
        "tests/ssh/test_device_tools.py::test_a_login_that_sudo_does_not_serve_is_said_in_linux_words",
    ),
    SourceMutant(
        "without getent nothing is read",
        PROTOCOL,
        '  $1 cat "/etc/$2" 2>/dev/null </dev/null |',
        '  $1 false "/etc/$2" 2>/dev/null </dev/null |',
        "tests/ssh/test_device_tools.py::test_busybox_without_getent_faillock_and_sshd_is_read_as_far_as_it_goes",
    ),
    SourceMutant(
        "a second question is a refused password",
        "pwserver/connectors/ssh.py",
        "            self.asked_more = words\n",
        '            self.asked_more = ""\n',
        "tests/ssh/test_device_asking.py::test_a_second_factor_is_no_refused_password",
    ),
    SourceMutant(
        "a run shows one device's login to another",
        "pwserver/services/sync/credentials.py",
        'return NotNow("linked_elsewhere", blocked=True)',
        "pass",
        f"{CLI}::test_a_run_sends_no_login_of_another_device_whatever_was_saved_before",
    ),
    SourceMutant(
        "another device's credential is taken when it is sent all the same",
        "pwserver/services/sync/checks.py",
        "if entry is None or not names_another_device(",
        "if entry is not None or not names_another_device(",
        f"{CLI}::test_one_devices_administrator_is_never_shown_to_another",
    ),
    SourceMutant(
        "another device's credential is offered",
        "pwserver/web/sync.py",
        "if each.id != entry.id and not sync.is_of_another_device(each, kind, machine, settings)",
        "if each.id != entry.id",
        f"{ON_THE_PAGES}::test_turning_it_on_offers_no_other_devices_credential",
    ),
    SourceMutant(
        "what a refused login stopped stays so when the agent has another",
        "pwserver/services/agents.py",
        'if row.transport == "ssh":  # its',
        'if row.transport == "none":  # its',
        f"{ON_THE_PAGES}::test_the_agents_new_credential_sets_them_going_too",
    ),
    SourceMutant(
        "the spent budget of our login is said to be the account's",
        "pwserver/services/sync/tries.py",
        '"" if each.role == Key.TARGET else LOGIN_BUDGET',
        '""',
        f"{CLI}::test_a_refused_login_is_named_and_stops_no_other_devices_chain",
    ),
    SourceMutant(
        "the words name the agent's login where the link has its own",
        "pwserver/services/views/links.py",
        'if link.linked_entry is not None and link.reason != "login_refused":',
        'if link.linked_entry is None and link.reason != "login_refused":',
        f"{CLI}::test_a_refused_login_is_named_and_stops_no_other_devices_chain",
    ),
)
