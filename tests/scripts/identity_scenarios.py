"""What both minds are asked about who is meant: machines of one short name, accounts renamed or replaced, LAPS, counts
of any age, a PDC emulator that moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pwserver.lab import calls
from pwserver.lab.model.machines import Laps, new_sid
from tests.lab.conftest import LOGIN, Lab
from tests.scripts.scenarios import DOMAIN, Scenario, account, both, fault

BUILT_IN = f"{new_sid('test LAB-02')}-500"
BACKUP = f"{new_sid('test CORP')}-1104"
GONE = f"{new_sid('test LAB-02')}-1077"
OPS = ("read_account", "verify", "change", "reset")
DOMAIN_OPS = ("read_domain", "verify_domain", "change_domain", "reset_domain")


def identities() -> list[Scenario]:
    return [*machines(), *local(), *in_domain(), *laps(), *controllers()]


def machine(**values: Any) -> Callable[[Lab], None]:
    def prepare(lab: Lab) -> None:
        for key, value in values.items():
            setattr(lab.machine(), key, value)

    return prepare


def machines() -> list[Scenario]:
    """The machine that answers has the short name that is meant; its domain decides where both have one."""
    elsewhere, suffix = "LAB-02.dmz.example", machine(dns_suffix="dmz.example")
    return [
        Scenario("other-domain", "change", "LAB-02", expect=elsewhere),
        Scenario("hop-other-domain", "change", "LAB-02", expect=elsewhere, hop={}),
        Scenario("own-suffix", "verify", "LAB-02", expect=elsewhere, prepare=suffix),
        Scenario("own-domain", "verify", "LAB-02", expect="lab-02.CORP.test", prepare=suffix),
        Scenario(
            "other-suffix", "verify", "LAB-02", expect=elsewhere, prepare=machine(domain_role=2, dns_suffix="a.test")
        ),
        Scenario("no-domain", "verify", "LAB-02", expect=elsewhere, prepare=machine(domain_role=2)),
        Scenario("longer-name", "verify", "LAB-02", expect="LAB-02-AND-MORE-OF-IT.corp.test"),
    ]


def renamed(name: str = "Administrator", where: str = "LAB-02") -> Callable[[Lab], None]:
    return lambda lab: setattr(lab.account(name, where), "name", "labroot")


def decoy(name: str = "Administrator", where: str = "LAB-02") -> Callable[[Lab], None]:
    """The account was renamed, and another one made under its name."""

    def prepare(lab: Lab) -> None:
        found = lab.account(name, where)
        lab.machine(where).sam.accounts.append(found.model_copy(update={"rid": 1205, "password": "Decoy-17 zaehlt"}))
        found.name = "labroot"

    return prepare


def local() -> list[Scenario]:
    made = []
    for op in OPS:
        made += [
            Scenario(f"{op}-same", op, "LAB-02", {"account_sid": BUILT_IN}),
            Scenario(f"{op}-decoy", op, "LAB-02", {"account_sid": BUILT_IN}, prepare=decoy()),
            Scenario(f"{op}-decoy-500", op, "LAB-02", {"account_sid": BUILT_IN, "user": "#500"}, prepare=decoy()),
            Scenario(f"{op}-decoy-unproved", op, "LAB-02", prepare=decoy()),
            Scenario(f"{op}-replaced", op, "LAB-02", {"account_sid": GONE}),
            Scenario(f"{op}-renamed", op, "LAB-02", {"account_sid": BUILT_IN}, prepare=renamed()),
            Scenario(f"{op}-renamed-unproved", op, "LAB-02", prepare=renamed()),
            Scenario(f"{op}-gone", op, "LAB-02", {"account_sid": GONE, "user": "svc-gone"}),
        ]
    # the count is of yesterday: Windows sets it back only at the next wrong logon
    old = account(bad_count=9, last_bad=1.0)
    made += [Scenario(f"{op}-old-count", op, "LAB-02", prepare=old) for op in ("verify", "change")]
    made.append(Scenario("hop-decoy", "change", "LAB-02", {"account_sid": BUILT_IN}, prepare=decoy(), hop={}))
    return made


def in_domain() -> list[Scenario]:
    known = DOMAIN | {"account_sid": BACKUP}
    made = []
    for op in DOMAIN_OPS:
        made += [
            Scenario(f"{op}-same", op, "LAB-01", known),
            Scenario(f"{op}-decoy", op, "LAB-01", known, prepare=decoy("svc-backup", "DC1")),
            Scenario(f"{op}-renamed", op, "LAB-01", known, prepare=renamed("svc-backup", "DC1")),
            Scenario(f"{op}-gone", op, "LAB-01", known | {"account_sid": f"{BACKUP}7", "user": "svc-gone"}),
        ]
    return made


CUSTOM = {"BackupDirectory": 2, "AdministratorAccountName": LOGIN}
AUTOMATIC = {"BackupDirectory": 2, "AutomaticAccountManagementEnabled": 1}
NAMED = AUTOMATIC | {"AutomaticAccountManagementNameOrPrefix": LOGIN}
RANDOM = {"AutomaticAccountManagementRandomizeName": 1, "AutomaticAccountManagementNameOrPrefix": "LongAdminPrefix"}
POLICIES: Mapping[str, tuple[Mapping[str, Mapping[str, int | str]], str]] = {
    "policy": ({calls.LAPS_POLICY: {"BackupDirectory": 2}}, "Administrator"),
    "csp": ({calls.LAPS_CSP: {"BackupDirectory": 1}}, "Administrator"),
    "local": ({calls.LAPS_LOCAL: {"BackupDirectory": 2}}, "Administrator"),
    "custom": ({calls.LAPS_POLICY: CUSTOM}, LOGIN),
    "custom-other": ({calls.LAPS_POLICY: CUSTOM}, "Administrator"),
    "off": ({calls.LAPS_POLICY: {"BackupDirectory": 0}}, "Administrator"),
    "empty-root": ({calls.LAPS_CSP: {}, calls.LAPS_POLICY: {"BackupDirectory": 2}}, "Administrator"),
    # the first root with any setting is the active one, and the directory that it lacks is 0: nothing is managed
    "other-setting": ({calls.LAPS_CSP: {"PasswordAgeDays": 7}, calls.LAPS_POLICY: CUSTOM}, LOGIN),
    "legacy": ({calls.LAPS_LEGACY: {"AdmPwdEnabled": 1}}, "Administrator"),
    "legacy-other": ({calls.LAPS_LEGACY: {"AdmPwdEnabled": 1}}, LOGIN),
    "legacy-custom": ({calls.LAPS_LEGACY: {"AdmPwdEnabled": 1, "AdminAccountName": LOGIN}}, LOGIN),
    "legacy-off": ({calls.LAPS_LEGACY: {"AdmPwdEnabled": 0, "PasswordLength": 14}}, "Administrator"),
    "legacy-behind": ({calls.LAPS_POLICY: CUSTOM, calls.LAPS_LEGACY: {"AdmPwdEnabled": 1}}, "Administrator"),
    "automatic": ({calls.LAPS_POLICY: NAMED}, LOGIN),
    "automatic-other": ({calls.LAPS_POLICY: NAMED}, "Administrator"),
    "automatic-default": ({calls.LAPS_POLICY: AUTOMATIC}, "WLapsAdmin"),
    "automatic-built-in": ({calls.LAPS_POLICY: NAMED | {"AutomaticAccountManagementTarget": 0}}, "Administrator"),
    "automatic-random": ({calls.LAPS_CSP: AUTOMATIC | RANDOM}, "LongAdminPre12345678"),
    "automatic-random-other": ({calls.LAPS_CSP: AUTOMATIC | RANDOM}, "LongAdminPrefix"),
}
"""Policy roots, and the account that is changed."""


def under(roots: Mapping[str, Mapping[str, int | str]], user: str) -> Callable[[Lab], None]:
    def prepare(lab: Lab) -> None:
        lab.machine().laps = Laps(roots={root: dict(settings) for root, settings in roots.items()})
        if lab.machine().sam.find(user) is None:
            lab.machine().sam.accounts.append(lab.account().model_copy(update={"name": user, "rid": 1300}))

    return prepare


def laps() -> list[Scenario]:
    made = []
    for name, (roots, user) in POLICIES.items():
        secrets = {"old": Lab().password("LAB-02", LOGIN)} if user == LOGIN else {}
        made.append(Scenario(f"laps-{name}", "change", "LAB-02", {"user": user}, secrets, prepare=under(roots, user)))
    return made


def found_before(name: str) -> Callable[[Lab], None]:
    """LAB-01 has met this controller as the PDC emulator, and remembers it."""

    def prepare(lab: Lab) -> None:
        lab.second_controller().pdc = "DC2"
        lab.machine("LAB-01").located["corp"] = name

    return prepare


def record_lags(lab: Lab) -> None:
    lab.machine("DC1").sam.pdc_record = "DC1"


def controllers() -> list[Scenario]:
    made = []
    for op in DOMAIN_OPS:
        made += [
            Scenario(f"{op}-role-moved", op, "LAB-01", DOMAIN, prepare=found_before("DC1")),
            Scenario(f"{op}-role-lags", op, "LAB-01", DOMAIN, prepare=both(found_before("DC1"), record_lags)),
        ]
    silent = both(found_before("DC1"), fault("off", "DC1"))
    alone = both(found_before("DC2"), fault("off", "DC2"))
    refused = {"login_password": "not it"}
    made += [
        Scenario("read_domain-old-pdc-off", "read_domain", "LAB-01", DOMAIN, prepare=silent),
        Scenario("read_domain-pdc-off", "read_domain", "LAB-01", DOMAIN, prepare=alone),
        Scenario("read_domain-moved-refused", "read_domain", "LAB-01", DOMAIN, refused, prepare=found_before("DC1")),
    ]
    return made
