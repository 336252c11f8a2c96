"""Accounts as the SAM or a domain keeps them, and the policy a new password must meet."""

from __future__ import annotations

import unicodedata

from pydantic import BaseModel, ConfigDict, Field

from pwserver.lab import calls

DAY = 86_400.0
GRACE_S = 3_600.0
"""How long NTLM at a domain goes on accepting the password before (OldPasswordAllowedPeriod)."""

ADMINISTRATOR, GUEST = 500, 501


class State(BaseModel):
    """A part of the truth: changed in place, written to disk as JSON."""

    model_config = ConfigDict(extra="forbid")


class Policy(State):
    """Password and lock-out policy. Seconds; ``threshold`` 0 never locks."""

    min_length: int = 7
    history: int = 24
    min_age_s: float = DAY
    max_age_s: float = 42 * DAY
    complexity: bool = True
    threshold: int = 10
    window_s: float = 600.0
    duration_s: float = 600.0
    locks_administrator: bool = True
    """New installs lock even RID 500."""


class Account(State):
    """One account. ``password`` and ``history`` (newest first) are the lab's truth, in clear."""

    name: str
    rid: int
    password: str
    last_set: float
    history: list[str] = Field(default_factory=list)
    disabled: bool = False
    must_change: bool = False
    """pwdLastSet is 0, as "must change at the next logon" sets it."""
    cannot_change: bool = False
    never_expires: bool = True
    expires: float | None = None
    outside_hours: bool = False
    other_workstation: bool = False
    protected: bool = False
    """In Protected Users: no NTLM."""
    managed: str = ""
    """"" or laps, gmsa: Windows sets it and answers 8654 to others, whether or not the registry shows why."""
    null_dacl: bool = False
    """Its security descriptor has a null list of rights."""
    admin_count: bool = False
    """Watched over by AdminSDHolder: rights that were handed down do not reach it."""
    fine_policy: str = ""
    """The name of the fine-grained policy that counts for it; "": the domain's own."""
    spns: list[str] = Field(default_factory=list)
    groups: list[str] = Field(default_factory=list)
    """SIDs of domain groups; ``@`` stands for the SID of its own domain."""
    bad_count: int = 0
    last_bad: float | None = None
    locked_at: float | None = None

    def is_locked(self, policy: Policy, now: float) -> bool:
        """Whether it is locked now; a lock ends by itself after the duration (0: only an administrator ends it)."""
        if self.locked_at is None:
            return False
        return policy.duration_s == 0 or now - self.locked_at < policy.duration_s

    def count_bad(self, policy: Policy, now: float) -> None:
        """One wrong password; locks at the threshold. The count starts again only here, when the wrong password before
        is longer ago than the window: until then it stands as it is, whatever its age (MS-SAMR 3.1.5.14.6)."""
        if self.is_locked(policy, now):
            return
        is_old = self.last_bad is None or now - self.last_bad > policy.window_s
        self.bad_count = 1 if is_old else self.bad_count + 1
        self.last_bad, self.locked_at = now, None
        may_lock = self.rid != ADMINISTRATOR or policy.locks_administrator
        if policy.threshold and self.bad_count >= policy.threshold and may_lock:
            self.locked_at = now

    def forget_bad(self) -> None:
        self.bad_count, self.last_bad, self.locked_at = 0, None, None

    def password_expired(self, policy: Policy, now: float) -> bool:
        return not self.never_expires and policy.max_age_s > 0 and now - self.last_set > policy.max_age_s

    @property
    def is_due(self) -> bool:
        """Whether nobody is let in before it is changed: not where the password never expires (MS-SAMR 3.1.5.14.4)."""
        return self.must_change and not self.never_expires

    def too_young(self, policy: Policy, now: float) -> bool:
        return not self.must_change and now - self.last_set < policy.min_age_s

    def store(self, password: str, now: float) -> None:
        """Takes a new password as changes and resets do; a reset does not unlock."""
        self.history = [self.password, *self.history][:24]
        self.password, self.last_set, self.must_change = password, now, False

    def flags(self, policy: Policy, now: float) -> int:
        """UF_SCRIPT is always set (USER_INFO_4)."""
        value = calls.UF_SCRIPT | calls.UF_NORMAL | (calls.UF_NEVER_EXPIRES if self.never_expires else 0)
        value |= calls.UF_DISABLED if self.disabled else 0
        value |= calls.UF_LOCKED if self.is_locked(policy, now) else 0
        return value | (calls.UF_CANNOT_CHANGE if self.cannot_change else 0)


class Authority(State):
    """A machine's SAM, or on a domain controller the domain. ``name`` is what stands before the backslash."""

    name: str
    sid: str
    policy: Policy = Field(default_factory=Policy)
    accounts: list[Account] = Field(default_factory=list)
    fine: dict[str, Policy] = Field(default_factory=dict)
    """A domain's fine-grained policies by name."""
    delegated: list[str] = Field(default_factory=list)
    """SIDs that may reset the passwords of a domain's ordinary accounts."""
    nested: dict[str, list[str]] = Field(default_factory=dict)
    """A domain's groups in groups: the SID of a group → SIDs of the groups that are its members."""
    groups_readable: bool = True
    """Whether other machines' sessions may read which groups an account is in."""
    pdc: str = ""
    """The controller that is the domain's PDC emulator; "": this one."""
    pdc_record: str = ""
    """The controller that DNS names as the PDC emulator; "": the one that is. After a move the record may lag."""

    def policy_of(self, account: Account) -> Policy:
        """The policy that counts for an account."""
        return self.fine.get(account.fine_policy, self.policy)

    def find(self, name: str) -> Account | None:
        wanted = name.casefold()
        return next((account for account in self.accounts if account.name.casefold() == wanted), None)

    def by_rid(self, rid: int) -> Account | None:
        return next((account for account in self.accounts if account.rid == rid), None)


def utf16_units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def meets(policy: Policy, account: Account, password: str) -> bool:
    """Length and complexity: what both a change and a reset are held to."""
    return utf16_units(password) >= policy.min_length and (not policy.complexity or is_complex(password, account.name))


def in_history(policy: Policy, account: Account, password: str) -> bool:
    """Whether a change to it would repeat one of the remembered passwords."""
    return password in [account.password, *account.history][: policy.history]


def is_complex(password: str, name: str) -> bool:
    """Three of five kinds of characters, and the account's name is not part of it."""
    if len(name) > 2 and name.casefold() in password.casefold():
        return False
    kinds = set()
    for character in password:
        category = unicodedata.category(character)
        if category == "Lu":
            kinds.add("upper")
        elif category == "Ll":
            kinds.add("lower")
        elif category in ("Lo", "Lm", "Lt"):
            kinds.add("letter")
        elif character.isdigit() and character.isascii():
            kinds.add("digit")
        else:
            kinds.add("other")
    return len(kinds) >= 3
