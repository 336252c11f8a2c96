# A local account: facts without a logon, and the one logon that proves a value.

# Whether LAPS keeps the password of this account. Windows takes the first of these keys that has any setting; what is
# missing there has its default, whatever the next key says. The last one is that of the old LAPS.
function Test-PsrvLaps([string]$name, [int]$rid) {
  foreach ($key in 'SOFTWARE\Microsoft\Policies\LAPS', 'SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\LAPS', 'SOFTWARE\Microsoft\Windows\CurrentVersion\LAPS\Config') {
    if ([PsrvNative]::KeyValues($key) -eq 0) { continue }
    if ([PsrvNative]::KeyNumber($key, 'BackupDirectory') -le 0) { return $false }
    if ([PsrvNative]::KeyNumber($key, 'AutomaticAccountManagementEnabled') -gt 0) { return Test-PsrvLapsAutomatic $key $name $rid }
    return Test-PsrvLapsName $name $rid ([PsrvNative]::KeyText($key, 'AdministratorAccountName'))
  }
  $key = 'SOFTWARE\Policies\Microsoft Services\AdmPwd'
  if ([PsrvNative]::KeyNumber($key, 'AdmPwdEnabled') -le 0) { return $false }
  return Test-PsrvLapsName $name $rid ([PsrvNative]::KeyText($key, 'AdminAccountName'))
}

# LAPS keeps the account of this name; without a name the built-in Administrator.
function Test-PsrvLapsName([string]$name, [int]$rid, [string]$who) {
  if ($who -eq '') { return $rid -eq 500 }
  return $who -eq $name
}

# LAPS makes and names the account itself: the built-in one, or one of its own, with digits behind the first twelve
# letters of its name when that is random.
function Test-PsrvLapsAutomatic([string]$key, [string]$name, [int]$rid) {
  if ([PsrvNative]::KeyNumber($key, 'AutomaticAccountManagementTarget') -eq 0) { return $rid -eq 500 }
  $who = [PsrvNative]::KeyText($key, 'AutomaticAccountManagementNameOrPrefix')
  if ($who -eq '') { $who = 'WLapsAdmin' }
  if ([PsrvNative]::KeyNumber($key, 'AutomaticAccountManagementRandomizeName') -le 0) { return $who -eq $name }
  if ($who.Length -gt 12) { $who = $who.Substring(0, 12) }
  return $name -match ('^' + [Text.RegularExpressions.Regex]::Escape($who) + '[0-9]+$')
}

# The present name of a SID, into the answer; '' when nothing has it.
function Find-PsrvPresentName([string]$sid) {
  $found = [PsrvNative]::FindName($sid)
  $answer['present_name'] = [string]$found['user']
}

# No account has this name. The one that was proved here, or the built-in Administrator, may only have been renamed.
function Stop-PsrvNoAccount([string]$user, [long]$code) {
  $sid = [string]$psrvParams['account_sid']
  if ($sid -eq '' -and -not $psrvParams.ContainsKey('domain') -and $user -like 'admin*') { $sid = $answer['machine']['machine_sid'] + '-500' }
  if ($sid -ne '') { Find-PsrvPresentName $sid }
  if ($answer['present_name'] -eq $user) { $answer['present_name'] = '' }
  if ($answer['present_name'] -ne '') { Stop-Psrv 'account_renamed' $code }
  Stop-Psrv 'no_account' $code
}

# The name may belong to another account by now: the one that was proved is known by its SID.
function Stop-PsrvOther([string]$sid) {
  if ($psrvParams['account_sid'] -eq '' -or $psrvParams['account_sid'] -ceq $sid) { return }
  Find-PsrvPresentName $psrvParams['account_sid']
  Stop-Psrv 'other_account' 0
}

# Reads the account into the answer. Stops when it is not there, is another one by now, or is Guest.
function Read-PsrvAccount([string]$user) {
  $answer['stage'] = 'facts'
  if ($user -eq '#500') {
    $found = [PsrvNative]::FindName($answer['machine']['machine_sid'] + '-500')
    if ($found['code'] -ne 0) { Stop-Psrv 'no_account' $found['code'] }
    $user = $found['user']
  }
  $facts = [PsrvNative]::User($user)
  if ($facts['code'] -eq 2221) { Stop-PsrvNoAccount $user 2221 }
  if ($facts['code'] -ne 0) { Stop-Psrv '' $facts['code'] }
  Stop-PsrvOther $facts['sid']
  $policy = [PsrvNative]::PasswordPolicy()
  $lockout = [PsrvNative]::LockoutPolicy()
  $now = [PsrvNative]::Clock()
  $rid = [int]($facts['sid'].Split('-')[-1])
  $flags = $facts['flags']
  # an age beyond fifty years (ten, when it must be changed) is Windows' way to say that there is no date
  $lastSet = $null
  $mayChange = $null
  $setTicks = 0
  $most = 1576800000
  if ($facts['password_expired']) { $most = 315360000 }
  if ($facts['password_age_s'] -lt $most) {
    $setTicks = $now - $now % 10000000 - $facts['password_age_s'] * 10000000
    $lastSet = Format-PsrvTime $setTicks
  }
  if ($policy['code'] -eq 0 -and $setTicks -gt 0 -and -not $facts['password_expired']) {
    $free = $setTicks + $policy['min_age_s'] * 10000000
    if ($free -gt $now) { $mayChange = Format-PsrvTime $free }
  }
  $account = @{ name = [string]$facts['name']; sid = [string]$facts['sid']; rid = $rid
    enabled = ($flags -band 2) -eq 0; locked = ($flags -band 16) -ne 0; expired = $false
    must_change = [bool]$facts['password_expired']; cannot_change = ($flags -band 64) -ne 0
    last_set = $lastSet; may_change_at = $mayChange; bad_count = [int]$facts['bad_count']; bad_at = $null
    threshold = $null; window_s = $null; min_length = $null
    has_profile = [bool][PsrvNative]::KeyExists('SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList\' + $facts['sid']); managed = '' }
  if ($facts['expires'] -ge 0) {
    $account['expired'] = [bool]($now -ge [DateTime]::new(1970, 1, 1).Ticks + $facts['expires'] * 10000000)
  }
  if ($policy['code'] -eq 0) { $account['min_length'] = [int]$policy['min_length'] }
  if ($lockout['code'] -eq 0) {
    $account['threshold'] = [int]$lockout['threshold']
    $account['window_s'] = [int]$lockout['window_s']
  }
  if (Test-PsrvLaps $account['name'] $rid) { $account['managed'] = 'laps' }
  $answer['account'] = $account
  if ($rid -eq 501) { Stop-Psrv 'is_guest' 0 }
  $psrvState['flags'] = $flags
}

function Stop-PsrvManaged {
  if ($answer['account']['managed'] -ne '') { Stop-Psrv 'managed' 8654 }
}

# A locked account answers nothing, and some logons on it count.
function Stop-PsrvLocked {
  if ($answer['account']['locked']) { Stop-Psrv 'account_state' 1909 }
}

# A disabled or expired account cannot prove a value by a logon.
function Stop-PsrvClosed {
  if (-not $answer['account']['enabled']) { Stop-Psrv 'account_state' 1331 }
  if ($answer['account']['expired']) { Stop-Psrv 'account_state' 1793 }
}

# Fewer than min_left tries would be left if the coming one were wrong.
function Stop-PsrvTries([int]$least) {
  $account = $answer['account']
  if ($null -eq $account['threshold'] -or $account['threshold'] -eq 0) { return }
  if ($account['threshold'] - $account['bad_count'] - 1 -lt $least) { Stop-Psrv 'would_lock' 0 }
}

# Units as Windows counts them: UTF-16.
function Stop-PsrvShort([string]$which) {
  $length = $psrvSecure[$which].Length
  if ($length -eq 0) { Stop-Psrv 'blank' 0 }
  if ($null -ne $answer['account']['min_length'] -and $length -lt $answer['account']['min_length']) { Stop-Psrv 'too_short' 0 }
}

# One network logon (never answered from a cache). It counts only when the token is the account's own. Before anything
# was written it is not made late either: the value may be the old one by then, and cost the account a try.
function Test-PsrvValue([string]$which, [string]$stage, [string]$domain = '.') {
  $answer['stage'] = $stage
  if (-not $answer['wrote']) { Confirm-PsrvTime }
  $account = $answer['account']
  $logon = [PsrvNative]::Logon($account['name'], $domain, $psrvSecure[$which], 3)
  $answer['logon'] = @{ type = 3; code = [int]$logon['code']; sid = [string]$logon['sid']; stage = $stage }
  if ($logon['code'] -eq 0 -and $logon['sid'] -cne $account['sid']) {
    if ($logon['sid'].EndsWith('-501')) { Stop-Psrv 'is_guest' 0 }
    if ($stage -eq 'old') { Stop-Psrv 'cannot_prove_old' 0 }
    Stop-Psrv 'internal' 0
  }
  return $logon['code']
}

# After a write: the logon with the new value, and the facts as they are now.
function Complete-PsrvWrite {
  $code = Test-PsrvValue 'new' 'verify'
  Read-PsrvAccount $answer['account']['name']
  $answer['stage'] = 'verify'
  $answer['code'] = [long]$code
  if ($code -eq 0) { $answer['stage'] = 'done' }
}
