"""Every reason a link, an attempt or a run may have, in words, with its next step: one table for pages and mails.

``words`` and ``next`` are ``str.format`` templates that know only ``{machine}``, ``{account}``, ``{login}``, ``{name}``
(the task or service) and ``{time}`` (when it is tried again or becomes safe). Order: what happened, what it means;
then what to do next. The machine's own sentence and code stand beside them and are not repeated here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Step = Literal["approve", "retest", "agent", "credential", "edit", "wait", "adopt", "none"]
"""Approve… · Retest Sync · repair the login or the agent · repair the linked credential · edit the link · retried
automatically · Adopt… · nothing."""


@dataclass(frozen=True, slots=True)
class Reason:
    words: str
    next: str
    step: Step


_BY_ITSELF = "It goes on by itself, next at {time}. Nothing to do if {machine} is meant to be off."
_LOGIN_STAYS = "Repair the login. Whatever waits for it then goes on by itself."

REASONS: Mapping[str, Reason] = {
    "": Reason("", "", "none"),
    # ---- the target said no to this account's value ----------------------------------------------
    "value_refused": Reason(
        "{machine} refused the vault's password for {account}. It was tried once and is not tried again by itself.",
        "Approve sets a password without knowing the old one; Correct says which one is right.",
        "approve",
    ),
    "old_value_refused": Reason(
        "{machine} refused the password that {account} was last proved to have. Somebody set another one there. "
        "Nothing was changed.",
        "Approve sets a password without knowing the old one.",
        "approve",
    ),
    "holds_another": Reason(
        "{account} on {machine} holds a password that the vault does not know. Somebody set it there.",
        "Approve sets a password without knowing the old one.",
        "approve",
    ),
    "refused_before": Reason(
        "{machine} refused this password for {account} before. It is not sent again by itself.",
        "Approve sets a password without knowing the old one; Retest Sync tries this one once more.",
        "approve",
    ),
    "policy": Reason(
        "Nothing was changed. The password policy of {machine} does not take this password: its length, its classes, "
        "one used before, or changed too soon. Windows does not say which.",
        "Choose another password, or Approve with another one.",
        "approve",
    ),
    "too_short": Reason(
        "Nothing was changed. {machine} wants a longer password for {account}.",
        "Choose a longer password.",
        "approve",
    ),
    "blank": Reason("Nothing was sent. Windows does not take an empty password here.", "Choose a password.", "approve"),
    "may_change_at": Reason(
        "Nothing was changed. {machine} lets {account} change its password again at {time} (minimum age).",
        "It is changed by itself then. Or allow a reset on this link; Approve resets at once.",
        "wait",
    ),
    "reset_not_allowed": Reason(
        "Nothing was changed. {account} may not change its own password, and a reset would make its saved credentials, "
        "EFS files and private keys on {machine} unreadable.",
        "Edit the link and allow the reset, or Approve.",
        "edit",
    ),
    "change_denied": Reason(
        "Nothing was changed. {machine} does not let {account} change its own password.",
        "Allow a reset on this link, or Approve.",
        "approve",
    ),
    "cannot_prove_old": Reason(
        "Nothing was changed. {machine} would not let us prove the present password of {account} before a reset.",
        "Look at the account on {machine}, then Retest Sync; or Approve.",
        "approve",
    ),
    "not_provable": Reason(
        "The SSH server of {machine} does not let {account} log in with a password, whatever the password is. So no "
        "login can prove it. Nothing was changed.",
        "Approve sets a password without a proof. To have it proved, allow such logins there, then Retest Sync.",
        "approve",
    ),
    "asks_more": Reason(
        "{machine} asks {account} for more than a password, so no login of ours can prove it. Nothing was changed.",
        "Approve sets a password without a proof. To have it proved, allow a login by password alone there.",
        "approve",
    ),
    "login_closed": Reason(
        "{machine} closed the connection when the password of {account} came, and did not refuse it. So acts a server "
        "whose other rules (pam_access, a time, a limit) keep the account out. Nothing was changed.",
        "Look at those rules there, then Retest Sync. Approve sets a password without a proof.",
        "approve",
    ),
    "turned_away": Reason(
        "{machine} turned a login as {account} away, but its password has not been set since we last proved or set it. "
        "Another cause keeps the account out. Nothing was changed.",
        "Look there for what it is (pam_access, a time, a limit), then Retest Sync.",
        "retest",
    ),
    "account_state": Reason(
        "Nothing was changed. {account} on {machine} is disabled, locked or expired, so its password cannot be proved.",
        "Put the account right, then Retest Sync; or Approve.",
        "approve",
    ),
    "account_disabled": Reason(
        "{account} is disabled on {machine}. Its password cannot be proved by logging on. Nothing was changed.",
        "Enable the account, then Retest Sync; or Approve sets it without a proof.",
        "approve",
    ),
    "account_locked": Reason(
        "{account} is locked out on {machine}. Nothing was changed and no try was spent on it.",
        "Unlock it there, or Approve with unlocking; else Retest Sync after {time}.",
        "approve",
    ),
    "account_expired": Reason(
        "{account} has expired on {machine}. Its password cannot be proved by logging on. Nothing was changed.",
        "Extend the account, then Retest Sync; or Approve sets it without a proof.",
        "approve",
    ),
    "account_restricted": Reason(
        "A restriction on {machine} keeps {account} from logging on, so its password cannot be proved. Nothing was "
        "changed.",
        "Look at the account's restrictions, then Retest Sync.",
        "retest",
    ),
    "account_hours": Reason(
        "{account} may not log on to {machine} at this hour, so its password cannot be proved. Nothing was changed.",
        "Retest Sync within its hours.",
        "retest",
    ),
    "account_workstation": Reason(
        "{account} may not log on from {machine}, so its password cannot be proved there. Nothing was changed.",
        "Allow that machine for the account, then Retest Sync.",
        "retest",
    ),
    "password_expired": Reason(
        "The password of {account} has expired on {machine}, so a logon cannot prove it. Nothing was changed.",
        "Change it everywhere, or Approve.",
        "approve",
    ),
    "must_change": Reason(
        "{account} must change its password at the next logon on {machine}, so a logon cannot prove it. Nothing was "
        "changed.",
        "Change it everywhere, or Approve.",
        "approve",
    ),
    "logon_type_denied": Reason(
        "A policy on {machine} does not let {account} log on over the network, so its password cannot be proved. "
        "Nothing was changed.",
        "Allow network logon for the account there, then Retest Sync.",
        "retest",
    ),
    "grace_hour_before_write": Reason(
        "Nothing was changed. The password of {account} was set within the last hour, not by us. For that hour "
        "{machine} takes the one before as well, so it is not known whether the vault's is the present one.",
        "It is tried again at {time}. Approve sets it without knowing.",
        "wait",
    ),
    "would_lock": Reason(
        "Nothing was tried. So many wrong logons of {account} are counted on {machine} that one more could lock it.",
        "It is tried again at {time}. Approve sets the password without a try.",
        "wait",
    ),
    "over_budget": Reason(
        "Nothing was sent. Another try would risk locking {account}; it is safe again at {time}.",
        "Retest Sync after that.",
        "wait",
    ),
    "login_over_budget": Reason(
        "Nothing was sent to {machine}. Another try would risk locking our login {login}; it is safe again at {time}.",
        "Repair the login, or Retest Sync after that.",
        "agent",
    ),
    "managed_by_windows": Reason(
        "Windows manages this password on {machine} itself (LAPS, a managed service account or a system account) and "
        "takes no other.",
        "Take the link out of the chain, or the account out of that management.",
        "edit",
    ),
    # ---- our own way in --------------------------------------------------------------------------
    "linked_state": Reason(
        "{machine} did not let our linked credential {login} log on: its account is locked, disabled, expired or "
        "restricted, or has to change its password. The password was not refused. Nothing was changed.",
        "Put that account right, then Retest Sync.",
        "credential",
    ),
    "linked_restricted": Reason(
        "{login} may not log on to {machine} over the network: a policy there, or a list of workstations, forbids it. "
        "The password was not refused. Nothing was changed.",
        "Allow it there, or choose another linked credential; then Retest Sync.",
        "credential",
    ),
    "linked_denied": Reason(
        "{machine} denied {login} access. Over TLS Windows gives no cause: the password may be wrong, or the account "
        "is not an administrator there. It was sent once and is not sent again automatically. Nothing was changed.",
        "Check the password of {login} and its rights on {machine}, then Retest Sync.",
        "credential",
    ),
    "linked_unclear": Reason(
        "Our linked credential {login} did not open {machine}, and it was not said why: its name, its password, a "
        "clock. It was sent once and is not sent again by itself. Nothing was changed.",
        "Repair or test that login; it has to be one of the domain. Then Retest Sync.",
        "credential",
    ),
    "helper_not_compiled": Reason(
        "{machine} could not compile the helper of our script, so the script did not run. A full or protected "
        "temporary folder, endpoint protection, or a missing C# compiler cause this. Nothing was changed.",
        "Let the account of our login compile there (Add-Type in Windows PowerShell), then Retest Sync.",
        "retest",
    ),
    "wrong_domain": Reason(
        "The controller that answers for {machine} serves another domain. Nothing was changed.",
        "Correct the addresses or the domain of the directory.",
        "agent",
    ),
    "pdc_not_listed": Reason(
        "Passwords are set at the domain controller that holds the role PDC emulator. It is not on the list of "
        "{machine}. Nothing was sent to it.",
        "An administrator adds it to the controllers of the directory.",
        "agent",
    ),
    "account_not_listed": Reason(
        "{account} is not on the list of accounts and units that may be touched in {machine}. Nothing was sent.",
        "An administrator adds it to the directory's list, or an owner takes the link out; then Retest Sync.",
        "agent",
    ),
    "protected_account": Reason(
        "{account} is the built-in administrator of {machine} or in a protected group, and not named on the "
        "directory's list. Nothing was sent.",
        "An administrator names this very account there, if it is meant to be changed from here.",
        "agent",
    ),
    "guarded_account": Reason(
        "{account} is the built-in administrator of {machine} or in a protected group. Through a Windows machine such "
        "an account is not changed. Nothing was sent.",
        "Use a directory for it: there an administrator can name this very account.",
        "agent",
    ),
    "not_member": Reason(
        "The sync agent's machine stands in no domain, so it cannot ask {machine}. Nothing was sent.",
        "Use an agent whose machine is a member of that domain.",
        "agent",
    ),
    "never_changed": Reason(
        "{account} holds the key of the whole domain {machine} and is never changed from here.",
        "Take the link out of the chain.",
        "edit",
    ),
    "login_refused": Reason(
        "{machine} refused our login {login}. It was sent once and is not sent again by itself.", _LOGIN_STAYS, "agent"
    ),
    "login_not_accepted": Reason(
        "{machine} did not let our login {login} in and gave no reason. It may be a wrong password; an account that is "
        "locked, expired, disabled or denied network logon; no domain controller within reach; NTLM restricted; or a "
        "reduced token (LocalAccountTokenFilterPolicy). We sent it once and will not send it again automatically.",
        "Find the cause in the machine's Security log (event 4625), repair it, then test the login. Whatever waits for "
        "it then continues automatically.",
        "agent",
    ),
    "no_ntlm": Reason(
        "{machine} does not take NTLM logins, so our login {login} was not sent.",
        "Allow Negotiate in the machine's WinRM service, and incoming NTLM in its policy, then Retest Sync.",
        "agent",
    ),
    "linked_refused": Reason(
        "{machine} refused our linked credential {login}. It was sent once and is not sent again by itself.",
        "Repair the linked credential. Whatever waits for it then goes on by itself.",
        "credential",
    ),
    "override_refused": Reason(
        "{machine} refused the administrative credentials that were typed. They were sent once. Nothing was changed.",
        "Approve again with others.",
        "approve",
    ),
    "waiting_for_login": Reason(
        "Waiting for our login {login}, which was not let in elsewhere. Nothing was sent to {machine}.",
        _LOGIN_STAYS,
        "agent",
    ),
    "no_login": Reason(
        "The sync agent has no login to work with. Nothing was sent.", "Give the agent a login.", "agent"
    ),
    "not_on_list": Reason(
        "{machine} is not on the list of machines that the sync agent may reach. Nothing was sent.",
        "An administrator adds it to the agent's list, or an owner takes the link out; then Retest Sync.",
        "agent",
    ),
    "no_linked_credential": Reason(
        "This link needs a linked credential and has none. Nothing was sent.",
        "Choose one for the link or for its agent.",
        "edit",
    ),
    "no_linked": Reason(
        "This link needs a linked credential and has none. Nothing was sent.",
        "Choose one for the link or for its agent.",
        "edit",
    ),
    "linked_expired": Reason(
        "{machine} let our linked credential {login} in, but its password has expired there, and no command is run "
        "before it is changed. Nothing was changed.",
        "Set a new password for it there and in the vault, or stop it from expiring. Then Retest Sync.",
        "agent",
    ),
    "linked_elsewhere": Reason(
        "The linked credential {login} is the account of another device than {machine}, so it was not sent there.",
        "Choose a linked credential of {machine} for this link, or for the agent.",
        "edit",
    ),
    "not_root": Reason(
        "{login} can log in to {machine} but is not root there and may not run what is needed by sudo. Nothing was "
        "changed.",
        "Allow it there (the manual lists the commands) or choose root as linked credential; then Retest Sync.",
        "agent",
    ),
    "sudo_asks": Reason(
        "{login} can log in to {machine}, but sudo asks it for a password there before it runs, or refuses, a command. "
        "Nothing was changed.",
        "Allow the commands with NOPASSWD there (the manual lists them), or choose root as linked credential.",
        "agent",
    ),
    "no_shadow": Reason(
        "{machine} has no line for {account} in its shadow database, or that database cannot be read. Nothing was "
        "changed.",
        "A Device Password is an account of the machine itself, not one of a directory. Correct the link.",
        "edit",
    ),
    "not_admin": Reason(
        "{login} can log on to {machine} but is no administrator there, or Windows gives it a reduced token over the "
        "network (LocalAccountTokenFilterPolicy). Nothing was changed.",
        "Give it the right, then Retest Sync.",
        "agent",
    ),
    "denied": Reason(
        "{machine} let {login} in but denied it this step. Nothing was changed.",
        "Give it the right, then Retest Sync.",
        "agent",
    ),
    "other_session": Reason(
        "{machine} has another session of ours with other credentials open. Nothing was changed.",
        "Retest Sync in a few minutes.",
        "retest",
    ),
    "no_password_login": Reason(
        "{login} may not use a password on {machine}. Nothing was changed.",
        "Allow it there, or choose another linked credential.",
        "agent",
    ),
    "no_tools": Reason(
        "{machine} has no shell for {login}, or lacks a program that sets or reads passwords. Nothing was changed.",
        "Only a device with sh, chpasswd and sha256sum can be managed: install them there, or take the link out.",
        "edit",
    ),
    "pin_changed": Reason(
        "{machine} shows another certificate or host key than the one that was confirmed. Either it was renewed or "
        "something stands between. No login was sent.",
        "Compare the new fingerprint at the machine and confirm it.",
        "agent",
    ),
    "hop_certificate": Reason(
        "The agent could not make sure that the machine that answers is {machine}: its certificate does not fit. No "
        "login was sent.",
        "Give {machine} a certificate that the agent trusts, then Retest Sync.",
        "agent",
    ),
    "hop_principal": Reason(
        "The machine that answers for {machine} could not open the Kerberos ticket for that name. As a rule the name "
        "HTTP/{machine} belongs to another account, such as that of a web site there; else a stale DNS record leads to "
        "another machine. No password was sent.",
        "Find the account with setspn -Q HTTP/{machine} and take that name off it, or use a local account of {machine} "
        "as linked credential. Then Retest Sync.",
        "agent",
    ),
    "no_kerberos": Reason(
        "{login} cannot be shown to {machine} by Kerberos. No login was sent.",
        "Use a domain login with the machine's full name, or a local account of {machine}.",
        "credential",
    ),
    "language_mode": Reason(
        "Application control on {machine} blocks our script (Constrained Language), or its PowerShell is older than "
        "5.1. Nothing was changed.",
        "Allow the script there, then Retest Sync.",
        "agent",
    ),
    "wrong_name": Reason(
        "The machine that answers for {machine} calls itself otherwise. Nothing was changed.",
        "Clear the stale DNS record, or correct the link.",
        "edit",
    ),
    "new_machine": Reason(
        "{machine} is not the machine it was: its machine SID is new. Was it installed again? Nothing was changed.",
        "Save the link anew to start over with this machine.",
        "edit",
    ),
    "is_dc": Reason(
        "{machine} is a domain controller: it has no local accounts, and the change would be one of the whole domain. "
        "Nothing was changed.",
        "Take this link out and use a Domain Password.",
        "edit",
    ),
    "no_account": Reason(
        "{machine} has no account {account}. Nothing was changed.", "Correct the link or make the account.", "edit"
    ),
    "account_renamed": Reason(
        "{machine} has no account {account} any more: it was renamed. Nothing was changed.",
        "Edit the link and use its present name.",
        "edit",
    ),
    "other_account": Reason(
        "Another account is called {account} on {machine} now: its SID is not that of the account that was proved. "
        "Nothing was changed, and no password was tried.",
        "Edit the link and use the present name of the account that was meant; saved as it is, it means the account "
        "that has this name now.",
        "edit",
    ),
    "is_guest": Reason(
        "Windows answered with Guest instead of {account} on {machine}. That proves nothing; Guest is never changed.",
        "Correct the user name; switch Guest off.",
        "edit",
    ),
    "another_link_has_account": Reason(
        "Another link has the account {account} already. Two chains would fight over it. Nothing was sent.",
        "Take one of the two links out.",
        "edit",
    ),
    "link_changed": Reason("The link was edited meanwhile. Nothing was sent.", "Retest Sync.", "retest"),
    # ---- tasks and services ----------------------------------------------------------------------
    "no_task": Reason(
        "{machine} has no task at this path. Nothing was changed.", "Correct the path in the link.", "edit"
    ),
    "no_service": Reason(
        "{machine} has no service of this name. Nothing was changed.",
        "Correct the link: it takes the service's name, not its display name.",
        "edit",
    ),
    "stores_no_password": Reason(
        "The task on {machine} runs without a stored password. There is nothing to update.",
        "Take the link out of the chain.",
        "edit",
    ),
    "run_as_differs": Reason(
        "It runs as another account on {machine} than {account}. An identity is never switched. Nothing was changed.",
        "Correct the link, or the identity at the machine.",
        "edit",
    ),
    "run_as_ambiguous": Reason(
        "{name} on {machine} names the account it runs as without a domain, and both {machine} and its domain have an "
        "account of that name. Nothing was changed.",
        "Set the account there with its domain, then Retest Sync.",
        "retest",
    ),
    "no_batch_right": Reason(
        "{account} lacks the right Log on as a batch job on {machine}: the task would be saved and never start.",
        "Give it the right there, then Retest Sync.",
        "retest",
    ),
    "no_service_right": Reason(
        "{account} lacks the right Log on as a service on {machine}: the service would not start again.",
        "Give it the right there, then Retest Sync.",
        "retest",
    ),
    "may_not_store": Reason(
        "A policy on {machine} forbids storing passwords for tasks. Nothing was changed.",
        "Change the policy, then Retest Sync.",
        "retest",
    ),
    "cluster_resource": Reason(
        "{machine} is a node of a cluster, and the cluster owns this service, or has a resource of which we could not "
        "tell what service it runs. The password is stored; it is not restarted by us.",
        "Restart it in the cluster's own manager if the cluster owns it, else on {machine}.",
        "none",
    ),
    "not_running": Reason(
        "The service on {machine} is stopped. The password is stored, and it is never started by us.", "", "none"
    ),
    "dependents_running": Reason(
        "Other services on {machine} depend on this one and run. The password is stored; it was not restarted.",
        "Restart it there, or allow restarting them in the link.",
        "edit",
    ),
    "did_not_stop": Reason(
        "The service on {machine} did not stop. The password is stored; it goes on with the old one.",
        "Restart it there.",
        "none",
    ),
    "start_disabled": Reason(
        "{name} on {machine} was not restarted: it, or a service that would be stopped with it, is disabled and could "
        "not start again. The password is stored; it goes on with the old one.",
        "Enable that service, then restart it there.",
        "none",
    ),
    "dependency_missing": Reason(
        "{name} on {machine} was not restarted: a service that it needs is missing or cannot start, so it could not "
        "start again. The password is stored; it goes on with the old one.",
        "Put that service right, then restart {name} there.",
        "none",
    ),
    "did_not_start": Reason(
        "We stopped {name} on {machine} and it did not start.",
        "Find the cause in the System log there, start the service, then Retest Sync.",
        "retest",
    ),
    "still_stopping": Reason(
        "We stopped {name} on {machine}. It was still stopping when we gave up waiting, so it is not started again.",
        "Start the service there as soon as it has stopped, then Retest Sync.",
        "retest",
    ),
    "dependents_down": Reason(
        "We restarted {name} on {machine}; services that depend on it were stopped with it and did not start again.",
        "Start them there, then Retest Sync.",
        "retest",
    ),
    "stopped_since": Reason(
        "{name} on {machine} ran when we stored the password, and is stopped now. It has not started with the password "
        "yet.",
        "Start the service there, then Retest Sync.",
        "retest",
    ),
    "not_yet_written": Reason(
        "We have not written this password into this place yet, and it has not started since.",
        "Adopt writes the proved password there.",
        "adopt",
    ),
    # ---- nothing was sent, it goes on by itself --------------------------------------------------
    "unreachable": Reason("{machine} does not answer. Nothing was sent.", _BY_ITSELF, "wait"),
    "no_answer": Reason("{machine} does not answer. Nothing was sent.", _BY_ITSELF, "wait"),
    "no_dns": Reason("{machine} has no address in DNS. Nothing was sent.", _BY_ITSELF, "wait"),
    "hop_unreachable": Reason("{machine} does not answer the sync agent. Nothing was handed over.", _BY_ITSELF, "wait"),
    "out_of_shells": Reason(
        "{machine} has as many open shells for our login as it allows. Nothing was sent.",
        "We wait until {time}.",
        "wait",
    ),
    "no_domain_controller": Reason(
        "{machine} could not ask a domain controller. No password was judged.", _BY_ITSELF, "wait"
    ),
    "no_logon_server": Reason(
        "No domain controller answered for our linked credential {login} on the way to {machine}, so no password was "
        "looked at. Nothing was changed.",
        "It is tried again automatically at {time}. If this stays, check the domain in the name of that login.",
        "wait",
    ),
    "pdc_silent": Reason(
        "The domain controller of {machine} that holds the role PDC emulator does not answer the sync agent's machine. "
        "Nothing was changed.",
        _BY_ITSELF,
        "wait",
    ),
    "not_pdc": Reason(
        "The domain controller that answered for {machine} does not hold the role PDC emulator any more. Passwords are "
        "set there alone. Nothing was changed.",
        _BY_ITSELF,
        "wait",
    ),
    "clock_skew": Reason(
        "Kerberos on the way to {machine} found the clocks too far apart. No password was looked at, nothing changed.",
        "Set the clocks; it goes on by itself at {time}.",
        "wait",
    ),
    "not_ready": Reason("A part of Windows on {machine} is not ready. Nothing was changed.", _BY_ITSELF, "wait"),
    "ttl": Reason("{machine} was too slow: the time ran out before anything was changed there.", _BY_ITSELF, "wait"),
    "credential_busy": Reason(
        "The linked credential is being changed itself. Nothing was sent.",
        "It goes on by itself when that is done.",
        "wait",
    ),
    "busy": Reason("Another run works on this account. Nothing was sent.", "It goes on by itself.", "wait"),
    # ---- it may or may not have happened ---------------------------------------------------------
    "connection_lost": Reason(
        "The line to {machine} broke after the password was sent. It is not known yet whether it was taken.",
        "When it was last set is read at {time}.",
        "wait",
    ),
    "line_broken": Reason(
        "The line to {machine} broke. If a password was sent, it is not known yet whether it was taken.",
        "It is read again at {time}.",
        "wait",
    ),
    "hop_broken": Reason(
        "The line from the sync agent to {machine} broke after the password was handed over. It is not known yet "
        "whether it was taken.",
        "When it was last set is read at {time}.",
        "wait",
    ),
    "no_answer_after_write": Reason(
        "{machine} stopped answering after the password was sent. It is not known yet whether it was taken.",
        "It is read again at {time}.",
        "wait",
    ),
    "refused_after_write": Reason(
        "{machine} said that it set the password, then refused a logon with it. It is not known what {account} holds.",
        "It is read again at {time}.",
        "wait",
    ),
    "deadline": Reason(
        "{machine} did not answer in time. If a password was sent, it is not known yet whether it was taken.",
        "It is read again at {time}.",
        "wait",
    ),
    "answer_foreign": Reason(
        "{machine} sent text that is not an answer of our script, so nothing is concluded from it. If a password was "
        "sent, it is not known yet whether it was taken.",
        "Read again automatically at {time}. If this stays, run Windows PowerShell there as our login and see what it "
        "prints.",
        "wait",
    ),
    "code_not_known": Reason(
        "{machine} answered with a code whose meaning is not known here, so nothing is concluded from it.",
        "It is read again at {time}.",
        "wait",
    ),
    "script_failed": Reason(
        "Our script met something on {machine} that it does not know.", "It is read again at {time}.", "wait"
    ),
    "bad_request": Reason(
        "Our script on {machine} did not take the request. Nothing was changed.", "Tell your administrator.", "none"
    ),
    "worker_died": Reason(
        "The worker that talked to {machine} died. If a password was sent, it is not known yet whether it was taken.",
        "It is read again at {time}.",
        "wait",
    ),
    "settling": Reason(
        "Waiting until an earlier attempt on {machine} can do nothing more.", "It is read after {time}.", "wait"
    ),
    "next_candidate": Reason(
        "{account} on {machine} does not hold the one that was sent last; the one sent before it is tried next.",
        "It is tried at {time}.",
        "wait",
    ),
    "grace_hour": Reason(
        "{machine} took the password of {account}. Within an hour after a change it takes the one before as well, so "
        "it is not known yet which of the two this is.",
        "It is tested again at {time}, after that hour.",
        "wait",
    ),
    "cannot_tell": Reason("The logon on {machine} could not tell which password {account} holds.", "", "retest"),
    "bug": Reason(
        "Our own code failed. It is not known what happened on {machine}.",
        "The log has the details; it is read again at {time}.",
        "wait",
    ),
    # ---- the engine's own ------------------------------------------------------------------------
    "written_only": Reason(
        "Written, but no logon can prove it: {account} on {machine} is locked, disabled, restricted, or not let in "
        "with a password.",
        "Put the account right, then Retest Sync.",
        "retest",
    ),
    "was_not_applied": Reason("{machine} still holds the one before: what was sent was not applied.", "", "retest"),
    "corrected": Reason(
        "The stored value was corrected. Whether {machine} holds it is read next.", "It is read at {time}.", "wait"
    ),
    "account_not_done": Reason("Skipped: its account {account} is not done.", "Put the account right first.", "none"),
    "given_up": Reason(
        "{machine} was tried for three days and is not tried again by itself.",
        "Retest Sync when it is there.",
        "retest",
    ),
    "not_tried": Reason("Not tried in this run: an earlier link stopped it.", "", "retest"),
    "untested": Reason("Not tested yet.", "", "retest"),
    "stopped": Reason("The run was stopped before this link. Nothing was sent.", "", "retest"),
    "cancelled": Reason("The run was cancelled before this link. Nothing was sent.", "", "retest"),
    "disabled": Reason("Synchronization is disabled. Nothing was sent.", "", "none"),
    "agent_disabled": Reason(
        "The sync agent of this chain is disabled, not approved, not tested, or has a certificate that no owner "
        "confirmed. Nothing was sent.",
        "See what it waits for on the agent's page, or confirm its new certificate on the page of the chain.",
        "agent",
    ),
    "gate_closed": Reason("The chain, its agent or this link was changed. Nothing was sent.", "Retest Sync.", "retest"),
}


def reason(code: str) -> Reason:
    """The row of ``code``; for one that nobody wrote a row for, words that show it."""
    if code in REASONS:
        return REASONS[code]
    shown = "".join(character for character in code if character.isalnum() or character in "_-")[:40]
    return Reason(f"{{machine}} did not end as it should ({shown}).", "Retest Sync.", "retest")
