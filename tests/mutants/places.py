"""Faults of tasks, services and restarts: scripts, codes, lab."""

from __future__ import annotations

from tests.mutants import SourceMutant

SCRIPTS = "pwserver/connectors/scripts/"
OPERATIONS = "tests/scripts/test_operations.py::"
ORDER = "tests/disasters/test_order.py::"
CLI = "tests/cli/test_cli_sync.py::"

MUTANTS: tuple[SourceMutant, ...] = (
    SourceMutant(
        "no-account-information-is-no-account",
        "pwserver/connectors/codes.py",
        "HRESULT_NAMES = {0x80041310: 1332,",
        "HRESULT_NAMES = {0x8004130F: 1332, 0x80041310: 1332,",
        "tests/connectors/test_codes.py::test_a_task_without_account_information_may_have_met_a_wrong_password",
    ),
    SourceMutant(
        "the-clock-keeps-a-stopped-service-down",
        SCRIPTS + "restart_service.ps1",
        "    if ([PsrvService]::Uptime() -ge $psrvState['start_until']) { return $late }\n",
        "    return $late\n",
        OPERATIONS + "test_a_service_that_takes_minutes_to_stop_or_start_runs_afterwards[stops-after-the-wait]",
    ),
    SourceMutant(
        "a-busy-manager-ends-a-start",
        SCRIPTS + "restart_service.ps1",
        "      if (@(0, 1053, 1055, 1056) -notcontains $code)",
        "      if (@(0, 1056) -notcontains $code)",
        OPERATIONS + "test_a_manager_that_is_not_free_is_asked_again_for_the_start",
    ),
    SourceMutant(
        "a-stop-is-remembered-only-when-it-has-ended",
        SCRIPTS + "restart_service.ps1",
        "  foreach ($one in $psrvState['stopped']) {\n",
        "  foreach ($one in @($psrvState['stopped'] | Where-Object { [PsrvService]::State($_)['state'] -eq 1 })) {\n",
        OPERATIONS + "test_a_service_that_takes_minutes_to_stop_or_start_runs_afterwards[stops-after-the-wait]",
    ),
    SourceMutant(
        "any-state-but-stopped-is-taken-for-running",
        SCRIPTS + "restart_service.ps1",
        "    if ($facts['state'] -eq 4) { return 0 }\n",
        "    if ($facts['state'] -ne 1) { return 0 }\n",
        OPERATIONS + "test_a_service_that_takes_minutes_to_stop_or_start_runs_afterwards[stops-after-the-wait]",
    ),
    SourceMutant(
        "a-service-that-still-stops-did-not-stop",
        SCRIPTS + "restart_service.ps1",
        "  if ($stopping) { Stop-Psrv 'still_stopping' $first }\n",
        "  if ($stopping) { Stop-Psrv '' 1053 }\n",
        OPERATIONS + "test_a_service_that_still_stops_is_not_said_to_have_gone_on",
    ),
    SourceMutant(
        "a-service-that-stopped-on-its-own-ends-the-restart",
        SCRIPTS + "restart_service.ps1",
        "if ($code -ne 0 -and $code -ne 1062 -and $code -ne 1053) { return $code }",
        "if ($code -ne 0) { return $code }",
        OPERATIONS + "test_a_dependent_that_stopped_on_its_own_is_stopped_and_started_again",
    ),
    SourceMutant(
        "dependents-are-started-after-a-refused-logon",
        SCRIPTS + "restart_service.ps1",
        "    if ($refused) { continue }\n",
        "",
        OPERATIONS + "test_a_stale_service_is_said_and_tried_once",
    ),
    SourceMutant(
        "what-a-restart-left-down-is-not-named",
        SCRIPTS + "restart_service.ps1",
        "  $answer['place']['down'] = $down\n",
        "",
        OPERATIONS + "test_after_a_refused_logon_the_dependents_are_not_started_but_named",
    ),
    SourceMutant(
        "a-disabled-service-is-stopped",
        SCRIPTS + "service.ps1",
        "  if ($facts['start_type'] -eq 4) { return 1058 }\n",
        "",
        OPERATIONS + "test_nothing_is_stopped_when_it_may_not_be_restarted_or_could_not_start_again[restart-disabled]",
    ),
    SourceMutant(
        "a-service-that-needs-a-missing-one-is-stopped",
        SCRIPTS + "service.ps1",
        "    if ($state['code'] -eq 1060) {\n",
        "    if ($false) {\n",
        OPERATIONS + "test_nothing_is_stopped_when_it_may_not_be_restarted_or_could_not_start_again"
        "[restart-needs-nobody]",
    ),
    SourceMutant(
        "a-cluster-is-known-by-generic-services-only",
        SCRIPTS + "service.ps1",
        "    if ($instance -ne '' -and $name.EndsWith(",
        "    if ($false -and $name.EndsWith(",
        OPERATIONS + "test_what_a_cluster_may_own_is_not_restarted_whatever_the_type_of_its_resource[sql]",
    ),
    SourceMutant(
        "a-resource-that-is-not-understood-owns-nothing",
        SCRIPTS + "service.ps1",
        "    if (-not $understood) { return $true }\n",
        "",
        OPERATIONS + "test_what_a_cluster_may_own_is_not_restarted_whatever_the_type_of_its_resource[foreign]",
    ),
    SourceMutant(
        "a-node-for-virtual-machines-is-not-understood",
        SCRIPTS + "service.ps1",
        "; 'Virtual Machine Cluster WMI' = 'vmms'",
        "",
        OPERATIONS + "test_what_a_cluster_may_own_is_not_restarted_whatever_the_type_of_its_resource[hyper-v]",
    ),
    SourceMutant(
        "a-cluster-that-cannot-be-read-owns-nothing",
        SCRIPTS + "service.ps1",
        "return [PsrvService]::State('ClusSvc')['state'] -gt 1",
        "return $false",
        OPERATIONS + "test_nothing_is_stopped_when_it_may_not_be_restarted_or_could_not_start_again"
        "[restart-cluster-unreadable]",
    ),
    SourceMutant(
        "a-service-left-down-is-updated",
        "pwserver/sync/settle.py",
        "    state = LinkState.DOWN if outcome.reason in LEFT_DOWN else LinkState.UPDATED\n",
        "    state = LinkState.UPDATED\n",
        CLI + "test_a_service_that_we_stopped_and_that_did_not_start_fails_the_change",
    ),
    SourceMutant(
        "a-test-does-not-look-whether-the-service-runs",
        "pwserver/sync/settle.py",
        "    if evidence.state == STOPPED:\n        return link.restart_pending\n",
        "",
        ORDER + "test_a_service_that_ran_when_it_was_written_and_is_stopped_now_is_not_in_sync",
    ),
    SourceMutant(
        "a-service-that-may-not-be-restarted-ends-the-restarts",
        "pwserver/sync/engine.py",
        "if outcome is None or not (outcome.answer == Answer.APPLIED or outcome.reason in settle.NOT_RESTARTED):",
        "if outcome is None or outcome.answer != Answer.APPLIED:",
        ORDER + "test_a_service_that_may_not_be_restarted_keeps_nobody_from_being",
    ),
    SourceMutant(
        "rights-are-judged-without-the-groups-of-the-domain",
        SCRIPTS + "place.ps1",
        "$psrvLogonSid[$right]) + $token['groups']",
        "$psrvLogonSid[$right]) + @($token['groups'] | Where-Object { $_ -like 'S-1-5-32-*' })",
        OPERATIONS + "test_a_right_is_judged_as_a_logon_would_judge_it_or_not_at_all[service-domain-group]",
    ),
    SourceMutant(
        "a-denial-to-local-accounts-is-not-seen",
        SCRIPTS + "place.ps1",
        "    $sids += 'S-1-5-113'\n",
        "",
        OPERATIONS + "test_a_right_is_judged_as_a_logon_would_judge_it_or_not_at_all[service-denied-to-local-accounts]",
    ),
    SourceMutant(
        "a-denial-to-local-administrators-is-not-seen",
        SCRIPTS + "place.ps1",
        "{ $sids += 'S-1-5-114' }",
        "{ }",
        OPERATIONS
        + "test_a_right_is_judged_as_a_logon_would_judge_it_or_not_at_all[task-denied-to-local-administrators]",
    ),
    SourceMutant(
        "no-right-is-said-of-a-token-that-was-not-looked-at",
        SCRIPTS + "place.ps1",
        "  if ($token['code'] -ne 0) { return $null }\n",
        "",
        OPERATIONS + "test_a_right_is_judged_as_a_logon_would_judge_it_or_not_at_all[service-groups-unreadable]",
    ),
    SourceMutant(
        "a-task-is-known-by-the-name-of-the-object-model",
        SCRIPTS + "task.ps1",
        "  $user = Get-PsrvTaskUser $task.Xml\n",
        "  $user = ''\n",
        OPERATIONS + "test_a_task_is_known_by_the_sid_in_its_xml",
    ),
    SourceMutant(
        "a-task-runs-as-whom-its-trigger-names",
        SCRIPTS + "task.ps1",
        "    if ($part.LocalName -cne 'Principals') { continue }\n",
        "",
        OPERATIONS + "test_a_task_does_not_run_as_whom_its_trigger_names",
    ),
    SourceMutant(
        "a-bare-name-means-the-local-account",
        SCRIPTS + "place.ps1",
        "  Stop-PsrvAmbiguous $name\n",
        "",
        OPERATIONS + "test_a_name_that_two_authorities_have_is_nobodys[set_task-bare-local]",
    ),
    SourceMutant(
        "a-task-is-registered-under-a-bare-name",
        SCRIPTS + "set_task.ps1",
        "  $user = $known['name']\n",
        "  $user = $known['user']\n",
        OPERATIONS + "test_a_task_is_known_by_the_sid_in_its_xml",
    ),
    SourceMutant(
        "each-write-lets-the-account-read-its-task",
        SCRIPTS + "set_task.ps1",
        "($task.Name, $definition, 52,",
        "($task.Name, $definition, 36,",
        OPERATIONS + "test_a_task_keeps_all_but_its_password",
    ),
    SourceMutant(
        "the-hour-that-comes-twice-is-standard-time",
        SCRIPTS + "task.ps1",
        " -and -not [TimeZoneInfo]::Local.IsAmbiguousTime($started)",
        "",
        OPERATIONS + "test_a_run_in_the_hour_that_comes_twice_is_dated_by_nobody[first-hour-of-two-None]",
    ),
    SourceMutant(
        "the-service-manager-has-one-copy",
        "pwserver/lab/model/services.py",
        "service.stored, service.stored_before = password, service.stored",
        "service.stored = password",
        "tests/lab/test_places.py::test_a_start_falls_back_to_the_password_before_while_that_one_opens_the_account",
    ),
    SourceMutant(
        "a-stale-start-costs-one-try",
        "pwserver/lab/model/services.py",
        "service.stored_before is not None and service.stored_before != service.stored",
        "service.stored_before is not None and service.stored_before == who.account.password",
        "tests/lab/test_places.py::test_a_stale_start_costs_two_tries_when_neither_copy_opens_the_account",
    ),
    SourceMutant(
        "the-result-of-the-last-run-judges-the-registration",
        SCRIPTS + "set_task.ps1",
        "    [void]$folder.RegisterTaskDefinition(",
        "    if ($task.LastTaskResult -eq 267036) { $code = 267036 }\n    [void]$folder.RegisterTaskDefinition(",
        OPERATIONS + "test_the_result_of_an_old_run_is_none_of_the_registration",
    ),
    SourceMutant(
        "a-task-that-has-never-run-started-in-1999",
        SCRIPTS + "task.ps1",
        "$result -ne 267011 -and $started.Year -gt 1999 -and",
        "$started.Year -gt 1980 -and",
        OPERATIONS + "test_a_task_that_has_never_run_has_no_start_whatever_date_windows_tells[never-ran-read_task]",
    ),
    SourceMutant(
        "a-domain-is-cut-to-its-first-label",
        "pwserver/connectors/scheduled_task.py",
        "    return f\"{windows.short(machine)}\\\\{user}\" if is_local else account\n",
        "    return f\"{windows.short(machine)}\\\\{user}\"\n",
        "tests/connectors/test_kinds.py::test_only_a_machines_name_is_shortened",
    ),
    SourceMutant(
        "a-domain-is-taken-for-a-machine",
        "pwserver/services/sync/reach.py",
        "is_local=account.kind != DOMAIN.kind)",
        "is_local=True)",
        "tests/services/test_domain_names.py::test_a_place_is_told_its_domain_by_the_name_that_was_given",
    ),
)
