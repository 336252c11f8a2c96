"""Every operation over the lab's model, in one real engine: what it must do, and what it must not."""

from __future__ import annotations

import json

import pytest

from pwserver.connectors import contract
from pwserver.lab import calls
from pwserver.lab.model.network import SYSTEM
from tests.lab.conftest import Lab
from tests.scripts.pairs import DESIGN, pairs, successes
from tests.scripts.scenarios import (
    DOMAIN_RIGHTS,
    HOSTILE,
    LOCAL_RIGHTS,
    RESOURCES,
    accounts,
    domains,
    hops,
    of_pair,
    offsite_of,
    places,
)

pytestmark = [
    pytest.mark.engine,
    pytest.mark.xdist_group("engine"),
    pytest.mark.timeout(120),
    pytest.mark.budget(30, "starts an engine of its own"),
]

PLAIN = [one.name for one in (*accounts(), *places(), *domains(), *hops())]


def read(run):
    return contract.read_answer(run.output, attempt=f"attempt-{run.scenario.name}", op=run.scenario.op)


@pytest.mark.parametrize("name", PLAIN)
def test_one_answer_by_the_contract_and_no_secret_in_it(runs, name):
    run = runs[name]
    answer = read(run)
    assert answer.reason != "internal", answer.text
    for secret in (*run.scenario.secrets.values(), *run.lab.passwords.values()):
        if len(secret) > 3:
            assert secret.encode() not in run.output
            assert json.dumps(secret)[1:-1].encode() not in run.output


@pytest.mark.parametrize("name", PLAIN)
def test_what_says_that_nothing_was_written_wrote_nothing(runs, name):
    run = runs[name]
    if read(run).wrote or read(run).reason == "hop_broken":
        return
    fresh, *_ = run.scenario.begin()
    assert run.lab.net.hash() == fresh.net.hash()


@pytest.mark.parametrize("kind", sorted(HOSTILE))
@pytest.mark.parametrize("way", ["change", "reset", "hop-change"])
def test_a_hostile_value_arrives_byte_exact(runs, way, kind):
    run = runs[f"{way}-{kind}"]
    answer = read(run)
    assert (answer.stage, answer.wrote, answer.write_code) == ("done", True, 0)
    assert run.lab.password() == HOSTILE[kind]


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_a_hostile_value_is_stored_byte_exact(runs, kind):
    stored_task = runs[f"set_task-{kind}"].lab.machine("SRV-01").tasks[0].stored
    stored_service = runs[f"set_service-{kind}"].lab.machine("SRV-01").services[0].stored
    assert stored_task == stored_service == HOSTILE[kind]


def test_every_code_of_windows_was_met_at_every_call(runs):
    """Each pair of operation and code ran, and the answer carries the code or the script's own word for it."""
    for pair in pairs():
        answer = read(runs[pair.name])
        assert answer.code == pair.code, pair
        assert answer.stage != "done"


@pytest.mark.parametrize(
    "pair", [pair for pair in pairs() if pair.op == "change" and pair.road in ("", "old")], ids=str
)
def test_a_change_that_stops_never_tried_the_new_value_before(runs, pair):
    answer = read(runs[pair.name])
    if pair.road == "old":
        assert (answer.stage, answer.wrote) == ("old", False)
        assert answer.logon.stage == "old"
    elif pair.call == "NetUserChangePassword":
        assert (answer.stage, answer.wrote, answer.logon) == ("write", True, None)
    elif pair.call == "LogonUserW":
        assert (answer.stage, answer.write_code, answer.logon.stage) == ("verify", 0, "verify")


@pytest.mark.parametrize("op", ["read_service", "set_service", "restart_service"])
def test_a_service_of_the_system_is_managed_by_windows_however_it_is_spelled(runs, op):
    for spelled in ("system", "dot-system", "here-system"):
        run = runs[f"{op}-{spelled}"]
        assert read(run).place.managed == "system", spelled


def test_a_clean_change_costs_no_wrong_logon(runs):
    lab = runs["change"].lab
    assert lab.machine().bad_logons == {}
    lab = runs["change-young-resets"].lab
    assert lab.machine().bad_logons == {}


def test_a_locked_account_is_never_logged_on_to(runs):
    for op in ("verify", "change"):
        answer = read(runs[f"locked-{op}"])
        assert (answer.reason, answer.code, answer.logon) == ("account_state", 1909, None)


def test_an_override_unlocks(runs):
    answer = read(runs["locked-reset"])
    assert (answer.stage, answer.account.locked) == ("done", False)


def test_a_reset_that_would_break_a_profile_is_not_made(runs):
    assert read(runs["change-young-profile"]).reason == "too_young"
    assert read(runs["change-cannot"]).reason == "reset_not_allowed"
    assert read(runs["change-young-allowed"]).method == "reset"


def test_an_identity_is_never_switched(runs):
    for op in ("set_task", "set_service", "restart_service"):
        assert read(runs[f"{op}-other"]).reason == "run_as_differs"
        assert read(runs[f"{op}-other"]).wrote is False


RIGHTS = DOMAIN_RIGHTS | LOCAL_RIGHTS
LOGON_OF = {"service": 5, "task": 4}


@pytest.mark.parametrize("name", RIGHTS)
@pytest.mark.parametrize("place", LOGON_OF)
def test_a_right_is_judged_as_a_logon_would_judge_it_or_not_at_all(runs, place, name):
    """The lab's own logon of that type is the judge. Groups of the domain give and deny rights like any other."""
    run = runs[f"read_{place}-right-{name}"]
    is_domain = name in DOMAIN_RIGHTS
    domain = "CORP" if is_domain else "."
    value = run.lab.passwords["CORP\\svc-backup" if is_domain else "SRV-01\\svc-backup"]
    run.lab.machine("DC1").fault.off = False
    code = run.lab.log_on(value, "svc-backup", "SRV-01", domain, LOGON_OF[place])["code"]
    right = read(run).place.right
    assert right is RIGHTS[name][1]
    if right is not None:
        assert code == (0 if right else calls.NOT_GRANTED)


@pytest.mark.parametrize("success", successes(), ids=str)
def test_a_task_that_was_stored_is_not_judged_by_which_success_it_was(runs, success):
    """A task that cannot start is told by the right, which is read before."""
    answer = read(runs[success.name])
    assert (answer.stage, answer.write_code, answer.place.last_result) == ("done", 0, 0)


def test_the_result_of_an_old_run_is_none_of_the_registration(runs):
    answer = read(runs["set_task-last-run-lacked-right"])
    assert (answer.stage, answer.write_code, answer.place.last_result) == ("done", 0, 0x4131C)


@pytest.mark.parametrize("name", [name for name, (_, right) in RIGHTS.items() if right is None])
def test_what_cannot_be_read_keeps_no_password_from_a_service(runs, name):
    run = runs[f"set_service-right-{name}"]
    assert (read(run).stage, read(run).place.right) == ("done", None)


def test_a_task_is_known_by_the_sid_in_its_xml(runs):
    """From Server 2016 on the object model may give the name alone, which a local account may have as well."""
    run = runs["set_task-by-sid"]
    assert (read(run).stage, read(run).place.run_as) == ("done", "CORP\\svc-backup")
    assert offsite_of(run.lab).run_as == "CORP\\svc-backup", "registered with its domain"


def test_the_task_of_a_domain_account_is_not_written_for_the_local_account_of_that_name(runs):
    answer = read(runs["set_task-by-sid-local"])
    assert (answer.reason, answer.wrote) == ("run_as_differs", False)


def test_a_task_does_not_run_as_whom_its_trigger_names(runs):
    assert read(runs["set_task-trigger-user"]).place.run_as == "CORP\\svc-backup"


@pytest.mark.parametrize("name", ["set_task-bare", "set_task-bare-local", "read_task-bare"])
def test_a_name_that_two_authorities_have_is_nobodys(runs, name):
    answer = read(runs[name])
    assert (answer.reason, answer.wrote) == ("run_as_ambiguous", False)


def test_a_name_that_one_authority_has_is_taken_and_registered_in_full(runs):
    run = runs["set_task-bare-alone"]
    assert (read(run).stage, offsite_of(run.lab).run_as) == ("done", "CORP\\svc-backup")


def test_an_account_whose_domain_is_named_in_full_is_found(runs):
    answer = read(runs["set_task-full-domain"])
    assert (answer.stage, answer.place.account_sid) == ("done", answer.place.run_as_sid)


def test_the_built_in_administrator_of_a_place_is_found_whatever_its_name(runs):
    answer = read(runs["read_task-500"])
    assert answer.place.account_sid == f"{answer.machine.machine_sid}-500"


@pytest.mark.parametrize(
    ("moment", "start"),
    [
        ("before-the-hour-twice", "2026-10-24T23:30:00Z"),
        ("first-hour-of-two", None),
        ("second-hour-of-two", None),
        ("after-the-hour-twice", "2026-10-25T02:30:00Z"),
    ],
)
def test_a_run_in_the_hour_that_comes_twice_is_dated_by_nobody(runs, moment, start):
    assert read(runs[f"read_task-{moment}"]).place.last_start == start


@pytest.mark.parametrize("op", ["read_task", "set_task"])
@pytest.mark.parametrize("told", ["never-ran", "never-ran-by-date", "never-ran-by-result"])
def test_a_task_that_has_never_run_has_no_start_whatever_date_windows_tells(runs, op, told):
    """Since Windows 10 its date is 30 November 1999, which is no start of 1999 for a page or a proof."""
    answer = read(runs[f"{op}-{told}"])
    assert (answer.stage, answer.place.last_start) == ("done", None)


def test_a_task_keeps_all_but_its_password(runs):
    run = runs["set_task"]
    before = Lab().ask("GetTask", "SRV-01", SYSTEM, path="\\Backup\\Nightly")
    after = run.lab.ask("GetTask", "SRV-01", SYSTEM, path="\\Backup\\Nightly")
    assert after == before


def test_a_restart_starts_again_what_it_stopped(runs):
    run = runs["restart_service-with-dependents"]
    assert read(run).stage == "done"
    states = {one.name: one.state for one in run.lab.machine("SRV-02").services}
    assert (states["webd"], states["webcache"]) == (calls.SERVICE_RUNNING, calls.SERVICE_RUNNING)


def test_a_restart_may_be_done_by_the_second_copy_or_cost_two_tries(runs):
    """The service manager keeps the password before, and tries it where the first one fails."""
    done, failed = runs["restart-by-second-copy"], runs["restart-stale-twice"]
    assert (read(done).stage, read(done).place.state) == ("done", "running")
    assert done.lab.machine("SRV-02").service("webd").stored == done.lab.account("svc-web", "SRV-02").password
    assert (read(failed).reason, read(failed).write_code) == ("did_not_start", 1069)
    assert [sum(run.lab.machine("SRV-02").bad_logons.values()) for run in (done, failed)] == [1, 2]


def test_a_stale_service_is_said_and_tried_once(runs):
    run = runs["restart-stale-dependents"]
    answer = read(run)
    assert (answer.reason, answer.code, answer.stage) == ("did_not_start", 1069, "verify")
    assert sum(run.lab.machine("SRV-02").bad_logons.values()) == 1


NEVER_STOPPED = {
    "restart_service-cluster": ("cluster_resource", 0, ""),
    "restart_service-stopped": ("not_running", 0, ""),
    "restart_service-dependents": ("dependents_running", 1051, ""),
    "restart-dependent-clustered": ("cluster_resource", 0, ""),
    "restart-cluster-unreadable": ("cluster_resource", 0, ""),
    "restart-disabled": ("start_disabled", 1058, "webd"),
    "restart-dependent-disabled": ("start_disabled", 1058, "webcache"),
    "restart-needs-nobody": ("dependency_missing", 1075, "gone"),
    "restart-needs-what-is-disabled": ("dependency_missing", 1068, "clusdb"),
    "restart-needs-what-needs-nobody": ("dependency_missing", 1068, "gone"),
}


@pytest.mark.parametrize("name", NEVER_STOPPED)
def test_nothing_is_stopped_when_it_may_not_be_restarted_or_could_not_start_again(runs, name):
    answer = read(runs[name])
    assert (answer.reason, answer.code, answer.place.hindered) == NEVER_STOPPED[name]
    assert answer.wrote is False
    assert all(one.starts <= 1 for machine in ("SRV-01", "SRV-02") for one in runs[name].lab.machine(machine).services)


@pytest.mark.parametrize("name", RESOURCES)
def test_what_a_cluster_may_own_is_not_restarted_whatever_the_type_of_its_resource(runs, name):
    answer = read(runs[f"restart-cluster-{name}"])
    assert (answer.place.cluster, answer.reason) == ((True, "cluster_resource") if RESOURCES[name][2] else (False, ""))
    assert answer.wrote is not RESOURCES[name][2]


def test_a_manager_that_is_not_free_is_asked_again_for_the_start(runs):
    """Any service may keep it busy, and a locked database is opened again: what we stopped stays not down for that."""
    answer = read(runs["restart-manager-busy"])
    assert (answer.stage, answer.write_code, answer.place.down) == ("done", 0, ())
    assert set(webs(runs["restart-manager-busy"]).values()) == {calls.SERVICE_RUNNING}
    late = runs["restart-manager-never-free"]
    assert (read(late).reason, read(late).code) == ("did_not_start", 1055)
    assert sum(late.lab.slept) <= 540, "within the restart's own limit"


def webs(run):
    return {one.name: one.state for one in run.lab.machine("SRV-02").services if one.name.startswith("web")}


@pytest.mark.parametrize("name", ["slow-stop", "slow-dependent", "stops-after-the-wait", "slow-start"])
def test_a_service_that_takes_minutes_to_stop_or_start_runs_afterwards(runs, name):
    """A stop that was accepted is answered for, whatever the time to live says by then."""
    run = runs[f"restart-{name}"]
    answer = read(run)
    assert (answer.stage, answer.write_code, answer.place.down) == ("done", 0, ())
    assert webs(run) == {"webd": calls.SERVICE_RUNNING, "webcache": calls.SERVICE_RUNNING}
    assert run.scenario.ttl_ms < 1000 * sum(run.lab.slept) <= 600_000


def test_a_service_that_still_stops_is_not_said_to_have_gone_on(runs):
    run = runs["restart-never-stops"]
    answer = read(run)
    assert (answer.stage, answer.reason, answer.place.down) == ("verify", "still_stopping", ("webd", "webcache"))
    assert sum(run.lab.slept) <= 540


def test_a_dependent_that_does_not_stop_is_named_and_the_service_goes_on(runs):
    run = runs["restart-dependent-never-stops"]
    answer = read(run)
    assert (answer.reason, answer.place.down) == ("dependents_down", ("webcache",))
    assert webs(run)["webd"] == calls.SERVICE_RUNNING


def test_a_dependent_that_stopped_on_its_own_is_stopped_and_started_again(runs):
    run = runs["restart-dependent-stops-on-its-own"]
    assert (read(run).stage, read(run).code) == ("done", 0)
    assert set(webs(run).values()) == {calls.SERVICE_RUNNING}


def test_after_a_refused_logon_the_dependents_are_not_started_but_named(runs):
    answer = read(runs["restart-stale-dependents"])
    assert answer.place.down == ("webd", "webcache")


def test_the_time_to_live_ends_it_before_the_write(runs):
    for name in ("change-too-late", "reset-too-late", "set_task-too-late", "set_service-too-late", "hop-too-late"):
        assert (read(runs[name]).reason, read(runs[name]).wrote) == ("ttl", False)


HANDED_OVER = ("hop-change", "hop-read_task", "hop-set_service", "hop-cut-before", "hop-cut-after", "kerberos")
KEPT = ("hop-off", "hop-no-winrm", "hop-wrong-password", "hop-other-name", "hop-filtered", "hop-too-late", "change",
        "kerberos-no-admin", "kerberos-dc-off", "hop-constrained")  # fmt: skip


@pytest.mark.parametrize("name", [*HANDED_OVER, *KEPT])
def test_the_hand_over_is_announced_by_one_line_and_only_when_it_happens(runs, name):
    run = runs[name]
    line = contract.handed_over_line(f"attempt-{name}")
    assert run.before_answer == (line if name in HANDED_OVER else b"")


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("hop-off", [2.0]), ("hop-no-port", []), ("hop-no-winrm", [20.0]), ("hop-slow", [20.0]), ("hop-change", [])],
)
def test_a_dead_second_machine_is_given_up_within_the_time_to_live(runs, name, seconds):
    """The default of New-PSSession, five more tries, outlives our call, and the change ends as unknown."""
    assert runs[name].lab.slept == seconds


def test_one_machine_where_we_are_no_administrator_refuses_no_password(runs):
    """Else it stops every machine that the same credential opens."""
    refused = read(runs["kerberos-wrong"])
    assert (refused.reason, refused.code) == ("hop_refused", 1326)
    denied = read(runs["kerberos-no-admin"])
    assert (denied.reason, denied.code) == ("hop_refused", 5)
    assert runs["kerberos-no-admin"].lab.machine().bad_logons == {}
    assert read(runs["hop-wrong-password"]).reason == "hop_unclear", "over TLS a 5 may be either"


@pytest.mark.parametrize("user", ["CORP\\lab-adm", "lab-adm@corp.test"])
@pytest.mark.parametrize("code", [1312, 0x80090303, 0x8009030E])
def test_a_silent_controller_is_asked_after_before_a_login_is_blamed(runs, code, user):
    assert read(runs[f"kerberos-{code:#x}-{user}"]).reason == "hop_unreachable"
    assert read(runs[f"kerberos-{code:#x}-{user}-dc-off"]).reason == "hop_no_controller"
    assert read(runs["kerberos-dc-off"]).code == 1311


def test_a_name_that_belongs_to_another_account_is_told_by_the_number_in_the_text(runs):
    """WinRM has one number for all that it has none for; with a web site's account behind HTTP/MACHINE it is this."""
    run = runs["kerberos-name-of-another"]
    answer = read(run)
    assert (answer.stage, answer.reason, answer.code) == ("hop", "hop_unreachable", 0x80090322)
    assert (run.before_answer, run.lab.machine().bad_logons) == (b"", {})


def test_every_code_of_the_design_is_in_some_pair():
    assert {*DESIGN} - {pair.code for pair in pairs()} == set()


def test_every_pair_has_a_scenario():
    assert len({pair.name for pair in pairs()}) == len(pairs())
    assert {of_pair(pair).pair for pair in pairs()} == set(pairs())


def test_a_stamp_of_0_orders_no_change_where_the_password_never_expires(runs):
    assert read(runs["read_domain-must"]).account.must_change is True
    assert read(runs["read_domain-must-never-expires"]).account.must_change is False
    assert read(runs["verify_domain-must-never-expires"]).logon.code == 0
    changed = read(runs["change_domain-must-never-expires"])
    assert (changed.method, changed.stage) == ("change", "done"), "no stamp tells that the hour of grace is over"


def test_only_groups_that_windows_watches_over_guard_their_members(runs):
    assert read(runs["change_domain-guarded-by-keys"]).reason == "guarded"
    assert read(runs["change_domain-publisher"]).stage == "done", "publishers of certificates: up to Server 2003"


def test_a_null_list_of_rights_grants_everything(runs):
    """Not to be taken for an empty one, which grants nothing."""
    answer = read(runs["read_domain-null-list"])
    assert (answer.directory.can_reset, answer.account.cannot_change) == (True, False)
