# A place that stores a copy of an account's password: whose it is, and whether that account may log on there.

# A name as LookupAccountName takes it.
function Get-PsrvFullName([string]$name) {
  if ($name.StartsWith('.\')) { return $answer['machine']['computer_name'] + $name.Substring(1) }
  return $name
}

# The SID behind a name or a SID text; '' when nobody has it.
function Find-PsrvSid([string]$name) {
  if ($name -eq '') { return '' }
  # the service manager's own words for the system, which no lookup finds
  $system = 'LocalSystem', '.\LocalSystem', ($answer['machine']['computer_name'] + '\LocalSystem')
  if ($system -contains $name) { return 'S-1-5-18' }
  if ($name -like 'S-1-*') { return $name }
  # the built-in administrator, whatever its name
  if ($name -eq ($answer['machine']['computer_name'] + '\#500')) { return $answer['machine']['machine_sid'] + '-500' }
  Stop-PsrvAmbiguous $name
  return [PsrvNative]::FindSid((Get-PsrvFullName $name))['sid']
}

# A bare name is looked for on the machine first, then in its domain. Where both have it, nothing says who is meant.
function Stop-PsrvAmbiguous([string]$name) {
  $machine = $answer['machine']
  if ($name.Contains('\') -or $name.Contains('@') -or @(1, 3) -notcontains $machine['domain_role']) { return }
  $local = [PsrvNative]::FindSid($machine['computer_name'] + '\' + $name)
  $other = [PsrvNative]::FindSid($machine['domain'] + '\' + $name)
  if ($local['sid'] -ne '' -and $other['sid'] -ne '') { Stop-Psrv 'run_as_ambiguous' 0 }
}

# By what Windows manages the password of this identity; '' when a person does.
function Get-PsrvManager([string]$name, [string]$sid) {
  if ($sid -eq 'S-1-5-18' -or $sid -eq 'S-1-5-19' -or $sid -eq 'S-1-5-20') { return 'system' }
  if ($name -like 'NT AUTHORITY\*') { return 'system' }
  if ($sid -like 'S-1-5-80-*' -or $name -like 'NT SERVICE\*') { return 'virtual' }
  if ($name.EndsWith('$')) { return 'gmsa' }
  return ''
}

# What the kind of a logon adds to its token.
$psrvLogonSid = @{ Batch = 'S-1-5-3'; Service = 'S-1-5-6' }

# Whether a logon of the account would hold a logon right here; a denial wins. The right may come, and be denied, through
# any group of its token. $null: not the whole token could be looked at, so only a denial that was seen is certain.
function Test-PsrvRight([string]$sid, [string]$right) {
  $token = [PsrvNative]::TokenGroups($sid)
  $sids = @($sid, 'S-1-1-0', 'S-1-5-11', $psrvLogonSid[$right]) + $token['groups']
  $machine = $answer['machine']
  if ($machine['domain_role'] -lt 4 -and $sid.StartsWith($machine['machine_sid'] + '-')) {
    # a local account, and one that is an administrator
    $sids += 'S-1-5-113'
    if ($token['groups'] -contains 'S-1-5-32-544') { $sids += 'S-1-5-114' }
  }
  $held = $false
  foreach ($one in $sids) {
    $rights = [PsrvNative]::Rights($one)
    if ($rights['code'] -eq 2) { continue }
    if ($rights['code'] -ne 0) { return $null }
    if ($rights['rights'] -contains ('SeDeny' + $right + 'LogonRight')) { return $false }
    if ($rights['rights'] -contains ('Se' + $right + 'LogonRight')) { $held = $true }
  }
  if ($token['code'] -ne 0) { return $null }
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
