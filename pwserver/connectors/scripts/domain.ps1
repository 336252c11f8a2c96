# An account of a domain, asked and changed at the domain's PDC emulator with the linked credential.

# What the directory told under a name: the first value, or '' when there is none.
function Get-PsrvTold($entry, [string]$name) {
  $values = @($entry[$name])
  if ($null -eq $values[0]) { return '' }
  return [string]$values[0]
}

# A number, or 0.
function Get-PsrvNumber($entry, [string]$name) {
  $text = Get-PsrvTold $entry $name
  if ($text -eq '') { return [long]0 }
  return [long]::Parse($text, [Globalization.CultureInfo]::InvariantCulture)
}

function Format-PsrvFileTime([long]$time) { return Format-PsrvTime ([DateTime]::FromFileTimeUtc($time)).Ticks }

# The one entry at a place; stops when there is none, or the controller does not answer any more.
function Read-PsrvEntry([string]$at, [string[]]$names) {
  $found = [PsrvDomain]::Search($at, $false, '(objectClass=*)', $names)
  if ($found['code'] -ne 0) { Stop-Psrv 'no_controller' $found['code'] }
  return @($found['entries'])[0]
}

# A value inside a search filter.
function Get-PsrvFilterText([string]$value) {
  $out = New-Object Text.StringBuilder
  foreach ($byte in [Text.Encoding]::UTF8.GetBytes($value)) {
    $sign = [char]$byte
    if ([string]$sign -match '^[A-Za-z0-9 ._-]$') { [void]$out.Append($sign) } else { [void]$out.Append('\').Append($byte.ToString('x2')) }
  }
  return $out.ToString()
}

# Opens the PDC emulator: nothing is written at another controller, since what another one knows may be minutes old.
function Open-PsrvDomain {
  $answer['stage'] = 'hop'
  if ($answer['machine']['domain_role'] -eq 0 -or $answer['machine']['domain_role'] -eq 2) { Stop-Psrv 'not_member' 0 }
  # the locator answers from what it found last: once more, and it looks again, when that one is silent or not the PDC
  foreach ($again in $false, $true) {
    $found = [PsrvDomain]::FindPdc($psrvParams['domain'], $again)
    if ($found['code'] -ne 0) { Stop-Psrv 'no_controller' $found['code'] }
    $opened = [PsrvDomain]::Open($found['name'], $psrvParams['login'], $psrvSecure['login_password'], 20000)
    if ($opened['code'] -eq 1326) { Stop-Psrv 'login_refused' 1326 }
    # server down, time-out: nobody looked at the login. Whatever else Kerberos ended with may have been its refusal
    $silent = $opened['code'] -eq 536870993 -or $opened['code'] -eq 536870997
    if ($silent -and $again) { Stop-Psrv 'no_controller' $opened['code'] }
    if ($silent) { continue }
    if ($opened['code'] -ne 0) { Stop-Psrv 'login_unclear' $opened['code'] }
    $root = Read-PsrvEntry '' @('currentTime', 'defaultNamingContext', 'dnsHostName', 'dsServiceName', 'tokenGroups')
    $domain = Read-PsrvEntry (Get-PsrvTold $root 'defaultnamingcontext') @('objectSid', 'fSMORoleOwner', 'minPwdLength', 'minPwdAge', 'pwdHistoryLength', 'lockoutThreshold', 'lockOutObservationWindow')
    $isPdc = (Get-PsrvTold $root 'dsservicename') -eq (Get-PsrvTold $domain 'fsmoroleowner')
    if ($isPdc) { break }
  }
  $psrvState['root'] = $root
  $psrvState['domain'] = $domain
  $answer['directory'] = @{ controller = (Get-PsrvTold $root 'dnshostname'); domain_sid = (Get-PsrvTold $domain 'objectsid'); clock = ''
    policy = ''; history = $null; can_reset = $false; guarded = $false; protected_user = $false; spns = 0; write_stamp = $null }
  if (-not $isPdc) { Stop-Psrv 'not_pdc' 0 }
  if ($psrvParams['domain_sid'] -ne '' -and $psrvParams['domain_sid'] -cne $answer['directory']['domain_sid']) { Stop-Psrv 'new_machine' 0 }
}

# The account's own entry: under its name, or with a $ behind it what Windows manages.
function Find-PsrvAccount {
  $name = Get-PsrvFilterText $psrvParams['user']
  $filter = '(&(objectClass=user)(|(sAMAccountName=' + $name + ')(sAMAccountName=' + $name + '$)))'
  $names = @('sAMAccountName', 'objectClass', 'objectSid', 'userAccountControl', 'msDS-User-Account-Control-Computed', 'pwdLastSet', 'badPwdCount', 'badPasswordTime', 'accountExpires', 'adminCount', 'servicePrincipalName', 'msDS-ResultantPSO', 'nTSecurityDescriptor')
  $found = [PsrvDomain]::Search($psrvState['domain']['dn'], $true, $filter, $names)
  if ($found['code'] -ne 0) { Stop-Psrv 'no_controller' $found['code'] }
  $other = $null
  foreach ($entry in @($found['entries'])) {
    if ((Get-PsrvTold $entry 'samaccountname') -eq $psrvParams['user']) { return $entry }
    $other = $entry
  }
  if ($null -eq $other) { Stop-PsrvNoAccount $psrvParams['user'] 1332 }
  return $other
}

# The policy that counts for the account; nothing of it where a fine-grained one may not be read by our login.
function Read-PsrvPolicy($entry) {
  $domain = $psrvState['domain']
  $fine = Get-PsrvTold $entry 'msds-resultantpso'
  if ($fine -eq '') {
    return @{ name = ''; known = $true; min_length = [int](Get-PsrvNumber $domain 'minpwdlength'); min_age = -(Get-PsrvNumber $domain 'minpwdage')
      history = [int](Get-PsrvNumber $domain 'pwdhistorylength'); threshold = [int](Get-PsrvNumber $domain 'lockoutthreshold'); window = -(Get-PsrvNumber $domain 'lockoutobservationwindow') }
  }
  $found = [PsrvDomain]::Search($fine, $false, '(objectClass=*)', @('name', 'msDS-MinimumPasswordLength', 'msDS-MinimumPasswordAge', 'msDS-PasswordHistoryLength', 'msDS-LockoutThreshold', 'msDS-LockoutObservationWindow'))
  if ($found['code'] -ne 0 -or @($found['entries']).Length -eq 0) { return @{ name = $fine.Split(',')[0].Substring(3); known = $false } }
  $told = @($found['entries'])[0]
  return @{ name = (Get-PsrvTold $told 'name'); known = $true; min_length = [int](Get-PsrvNumber $told 'msds-minimumpasswordlength'); min_age = -(Get-PsrvNumber $told 'msds-minimumpasswordage')
    history = [int](Get-PsrvNumber $told 'msds-passwordhistorylength'); threshold = [int](Get-PsrvNumber $told 'msds-lockoutthreshold'); window = -(Get-PsrvNumber $told 'msds-lockoutobservationwindow') }
}

# Whether one of these groups makes its member a protected account.
function Test-PsrvProtected($groups) {
  foreach ($sid in $groups) {
    $last = [long]([string]$sid).Split('-')[-1]
    if (([string]$sid).StartsWith('S-1-5-32-')) { if (@(544, 548, 549, 550, 551, 552) -contains $last) { return $true } }
    elseif (([string]$sid).StartsWith('S-1-5-21-') -and @(512, 516, 518, 519, 521, 526, 527) -contains $last) { return $true }
  }
  return $false
}

# Reads the account into the answer, without any logon of it.
function Read-PsrvDomainAccount {
  $answer['stage'] = 'facts'
  $clock = [DateTime]::ParseExact((Get-PsrvTold (Read-PsrvEntry '' @('currentTime')) 'currenttime').Substring(0, 14), 'yyyyMMddHHmmss', [Globalization.CultureInfo]::InvariantCulture)
  $now = [DateTime]::new($clock.Ticks, 'Utc').ToFileTimeUtc()
  $answer['directory']['clock'] = Format-PsrvTime $clock.Ticks
  $entry = Find-PsrvAccount
  $psrvState['dn'] = [string]$entry['dn']
  $sid = Get-PsrvTold $entry 'objectsid'
  Stop-PsrvOther $sid
  $rid = [long]($sid.Split('-')[-1])
  $flags = Get-PsrvNumber $entry 'useraccountcontrol'
  $computed = Get-PsrvNumber $entry 'msds-user-account-control-computed'
  $set = Get-PsrvNumber $entry 'pwdlastset'
  $policy = Read-PsrvPolicy $entry
  $groups = @((Read-PsrvEntry $entry['dn'] @('tokenGroups'))['tokengroups'])
  $mine = [string[]](@($sid, 'S-1-1-0', 'S-1-5-10', 'S-1-5-11') + $groups)
  $ours = [string[]]@($psrvState['root']['tokengroups'])
  $reset = $false
  $change = $true
  if ($null -ne $entry['ntsecuritydescriptor']) {
    $reset = [PsrvDomain]::Allows($entry['ntsecuritydescriptor'], $ours, '00299570-246d-11d0-a768-00aa006e0529')
    $change = [PsrvDomain]::Allows($entry['ntsecuritydescriptor'], $mine, 'ab721a53-1e2f-11d0-9819-00aa0040529b')
  }
  # the stamp 0 is an order to change it only where the password may expire and a card alone is no way in
  $due = $set -eq 0 -and ($flags -band 327680) -eq 0
  $account = @{ name = (Get-PsrvTold $entry 'samaccountname'); sid = $sid; rid = $rid; enabled = ($flags -band 2) -eq 0
    locked = ($computed -band 16) -ne 0; expired = $false; must_change = ($due -or ($computed -band 8388608) -ne 0)
    cannot_change = -not $change; last_set = $null; may_change_at = $null; bad_count = [int](Get-PsrvNumber $entry 'badpwdcount')
    bad_at = $null; threshold = $null; window_s = $null; min_length = $null; has_profile = $false; managed = '' }
  $expires = Get-PsrvNumber $entry 'accountexpires'
  if ($expires -gt 0 -and $expires -lt 9223372036854775807 -and $expires -le $now) { $account['expired'] = $true }
  if ($set -gt 0) { $account['last_set'] = Format-PsrvFileTime $set }
  $bad = Get-PsrvNumber $entry 'badpasswordtime'
  if ($bad -gt 0) { $account['bad_at'] = Format-PsrvFileTime $bad }
  if ($policy['known']) {
    $account['min_length'] = $policy['min_length']
    $account['threshold'] = $policy['threshold']
    $account['window_s'] = [int]($policy['window'] / 10000000)
    if ($set -gt 0 -and -not $account['must_change'] -and $set + $policy['min_age'] -gt $now) { $account['may_change_at'] = Format-PsrvFileTime ($set + $policy['min_age']) }
    # the count is set back by the next logon only; what is older than the window does not count any more
    if (-not $account['locked'] -and $bad + $policy['window'] -le $now) { $account['bad_count'] = 0 }
    $answer['directory']['history'] = $policy['history']
  }
  if (@($entry['objectclass']) -like 'msDS-*ManagedServiceAccount') { $account['managed'] = 'gmsa' }
  elseif ($account['name'].EndsWith('$')) { $account['managed'] = 'computer' }
  $directory = $answer['directory']
  $directory['policy'] = [string]$policy['name']
  $directory['can_reset'] = [bool]$reset
  # the domain's own Administrator, krbtgt, and what AdminSDHolder watches over, or will once it has come round
  $directory['guarded'] = [bool]($rid -eq 500 -or $rid -eq 502 -or (Get-PsrvNumber $entry 'admincount') -gt 0 -or (Test-PsrvProtected $groups))
  $directory['protected_user'] = [bool]($groups -contains ($directory['domain_sid'] + '-525'))
  $directory['spns'] = [int](@($entry['serviceprincipalname'] | Where-Object { $null -ne $_ }).Length)
  $answer['account'] = $account
  $psrvState['set'] = $set
  if ($rid -eq 501) { Stop-Psrv 'is_guest' 0 }
  if ($rid -eq 502) { Stop-Psrv 'never_changed' 0 }
  if ($directory['guarded']) { Stop-Psrv 'guarded' 0 }
}

# NTLM takes the password before for an hour, some minutes more for the clocks: a logon proves the present one only when
# the password was set before that, or at the very moment of our own last proof.
function Test-PsrvSettled {
  $account = $answer['account']
  if ($null -eq $account['last_set']) { return $false }
  $now = [DateTime]::ParseExact($answer['directory']['clock'], 'yyyy-MM-ddTHH:mm:ssZ', [Globalization.CultureInfo]::InvariantCulture)
  $set = [DateTime]::ParseExact($account['last_set'], 'yyyy-MM-ddTHH:mm:ssZ', [Globalization.CultureInfo]::InvariantCulture)
  if (($now - $set).TotalMinutes -gt 65) { return $true }
  return $account['last_set'] -ceq $psrvParams['own_stamp']
}

# One network logon from this machine, which asks the domain and no cache.
function Test-PsrvDomainValue([string]$which, [string]$stage) {
  return Test-PsrvValue $which $stage $psrvParams['domain']
}

# After a write: the stamp it left, the logon with the new value, and the facts as they are then. Only while the stamp is
# still the one that our write left does the logon prove that value: the hour of grace is for the one before.
function Complete-PsrvDomainWrite {
  $before = $psrvState['set']
  $left = Get-PsrvNumber (Read-PsrvEntry $psrvState['dn'] @('pwdLastSet')) 'pwdlastset'
  $code = Test-PsrvDomainValue 'new' 'verify'
  Read-PsrvDomainAccount
  $answer['stage'] = 'verify'
  if ($left -gt 0 -and $left -ne $before -and $left -eq $psrvState['set']) { $answer['directory']['write_stamp'] = $answer['account']['last_set'] }
  $answer['code'] = [long]$code
  if ($code -eq 0) { $answer['stage'] = 'done' }
}
