# A place that stores a copy of an account's password: whose it is, and whether that account may log on there.

# A name as LookupAccountName takes it.
function Get-PsrvFullName([string]$name) {
  if ($name.StartsWith('.\')) { return $answer['machine']['computer_name'] + $name.Substring(1) }
  return $name
}

# The SID behind a name or a SID text; '' when nobody has it.
function Find-PsrvSid([string]$name) {
  if ($name -eq '') { return '' }
  if ($name -eq 'LocalSystem') { return 'S-1-5-18' }
  if ($name -like 'S-1-*') { return $name }
  return [PsrvNative]::FindSid((Get-PsrvFullName $name))['sid']
}

# By what Windows manages the password of this identity; '' when a person does.
function Get-PsrvManager([string]$name, [string]$sid) {
  if ($sid -eq 'S-1-5-18' -or $sid -eq 'S-1-5-19' -or $sid -eq 'S-1-5-20') { return 'system' }
  if ($name -like 'NT AUTHORITY\*') { return 'system' }
  if ($sid -like 'S-1-5-80-*' -or $name -like 'NT SERVICE\*') { return 'virtual' }
  if ($name.EndsWith('$')) { return 'gmsa' }
  return ''
}

# Whether the account holds a logon right here, itself or through its groups; a denial wins. $null: not readable.
function Test-PsrvRight([string]$sid, [string]$right) {
  $known = [PsrvNative]::FindName($sid)
  if ($known['code'] -ne 0) { return $null }
  $who = $known['name']
  if ($who.StartsWith($answer['machine']['computer_name'] + '\', [StringComparison]::OrdinalIgnoreCase)) { $who = $known['user'] }
  $groups = [PsrvNative]::LocalGroups($who)
  $sids = @($sid, 'S-1-1-0', 'S-1-5-11')
  foreach ($group in $groups['groups']) {
    $one = [PsrvNative]::FindSid($group)
    if ($one['code'] -eq 0) { $sids += $one['sid'] }
  }
  $held = $false
  $denied = $false
  foreach ($one in $sids) {
    $rights = [PsrvNative]::Rights($one)
    if ($rights['code'] -eq 2) { continue }
    if ($rights['code'] -ne 0) { return $null }
    if ($rights['rights'] -contains ('Se' + $right + 'LogonRight')) { $held = $true }
    if ($rights['rights'] -contains ('SeDeny' + $right + 'LogonRight')) { $denied = $true }
  }
  if ($denied) { return $false }
  # without its groups a right may be overlooked
  if (-not $held -and $groups['code'] -ne 0) { return $null }
  return $held
}

# The facts that tasks and services share.
function New-PsrvPlace([string]$name, [string]$runAs, [string]$right) {
  $sid = Find-PsrvSid $runAs
  $place = @{ name = $name; run_as = $runAs; run_as_sid = [string]$sid; account_sid = [string](Find-PsrvSid $psrvParams['account'])
    stores_password = $true; right = $null; enabled = $true; state = ''; last_start = $null; last_result = $null
    managed = (Get-PsrvManager $runAs $sid); cluster = $false; dependents = [string[]]@(); suggestion = ''
    start_type = $null; hindered = ''; down = [string[]]@() }
  if ($place['managed'] -eq '' -and $sid -ne '') { $place['right'] = Test-PsrvRight $sid $right }
  if ($place['managed'] -ne '') { $place['stores_password'] = $false }
  return $place
}

# We never switch an identity: the SIDs are compared at the write.
function Stop-PsrvOtherIdentity {
  $place = $answer['place']
  if ($place['account_sid'] -eq '') { Stop-Psrv 'no_account' 1332 }
  if ($place['run_as_sid'] -cne $place['account_sid']) { Stop-Psrv 'run_as_differs' 0 }
  if ($psrvParams['account_sid'] -ne '' -and $psrvParams['account_sid'] -cne $place['account_sid']) { Stop-Psrv 'run_as_differs' 0 }
}

function Stop-PsrvManaged {
  if ($answer['place']['managed'] -ne '') { Stop-Psrv 'managed' 0 }
}
