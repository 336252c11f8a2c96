# Whether this machine is the one that is meant. A full name is compared with its domain wherever the machine has one: that
# of the directory, or the suffix of its own DNS name, which may differ.
function Test-PsrvName([string]$wanted, $machine) {
  if ($wanted -eq '') { return $true }
  $dot = $wanted.IndexOf('.')
  $label = $wanted
  if ($dot -ge 0) { $label = $wanted.Substring(0, $dot) }
  if ($label.Length -gt 15) { $label = $label.Substring(0, 15) }
  if ($label -ne $machine['computer_name']) { return $false }
  if ($dot -lt 0 -or ($machine['domain_dns'] -eq '' -and $machine['dns_suffix'] -eq '')) { return $true }
  $domain = $wanted.Substring($dot + 1)
  return $domain -eq $machine['domain_dns'] -or $domain -eq $machine['dns_suffix']
}

# Who the machine is: before anything else is read, and long before anything is written.
function Confirm-PsrvMachine($expect, [bool]$localAccounts) {
  $answer['stage'] = 'identity'
  $name = [PsrvNative]::ComputerName()
  $role = [PsrvNative]::Role()
  $sid = [PsrvNative]::MachineSid()
  $machine = @{ computer_name = [string]$name; domain = ''; domain_dns = ''; dns_suffix = [string][PsrvNative]::DnsSuffix()
    domain_role = -1; machine_sid = ''
    ps_version = [string]$PSVersionTable['PSVersion']; elevated = [bool][PsrvNative]::Administrator()
    clock = (Format-PsrvTime ([PsrvNative]::Clock())) }
  if ($role['code'] -eq 0) {
    $machine['domain'] = [string]$role['domain']
    $machine['domain_dns'] = [string]$role['dns']
    $machine['domain_role'] = [int]$role['role']
  }
  if ($sid['code'] -eq 0) { $machine['machine_sid'] = [string]$sid['sid'] }
  $answer['machine'] = $machine
  if (-not (Test-PsrvName ([string]$expect['computer_name']) $machine)) { Stop-Psrv 'wrong_name' 0 }
  if (-not $machine['elevated']) { Stop-Psrv 'not_admin' 0 }
  if ($sid['code'] -ne 0) { Stop-Psrv '' $sid['code'] }
  if ($role['code'] -ne 0) { Stop-Psrv '' $role['code'] }
  if ($null -ne $expect['machine_sid'] -and $expect['machine_sid'] -cne $machine['machine_sid']) { Stop-Psrv 'new_machine' 0 }
  if ($localAccounts -and $machine['domain_role'] -ge 4) { Stop-Psrv 'is_dc' 0 }
}

# Called immediately before every mutation: nothing is changed once the server no longer waits for it.
function Confirm-PsrvTime {
  if ($psrvWatch.ElapsedMilliseconds -ge $psrvTtl) { Stop-Psrv 'ttl' 0 }
  if ($psrvUntil -gt 0 -and [PsrvNative]::Clock() -ge $psrvUntil) { Stop-Psrv 'ttl' 0 }
}

# Enters the write: from here on the answer says that something may have changed.
function Enter-PsrvWrite([string]$method) {
  $answer['stage'] = 'write'
  Confirm-PsrvTime
  $answer['method'] = $method
  $answer['wrote'] = $true
}

# Names in order, as one text.
function Join-PsrvNames($names) {
  $list = [string[]]@($names)
  [Array]::Sort($list, [StringComparer]::Ordinal)
  return $list -join ','
}

# What every operation on a machine begins with. Over a second hop the machine is first only asked who it is.
$psrvBegin = {
  $psrvRequest['secrets'].Clear()
  if ($answer['op'] -cne $psrvThis -or $null -ne $psrvRequest['hop']) { Stop-Psrv 'bad_request' 0 }
  $psrvGiven = (Join-PsrvNames $psrvParams.Keys) + ';' + (Join-PsrvNames $psrvSecure.Keys)
  if ($psrvRequest.ContainsKey('only')) { $psrvTakes = $psrvTakes.Split(';')[0] + ';' }
  if ($psrvGiven -cne $psrvTakes) { Stop-Psrv 'bad_request' 0 }
  try { . $psrvHelpers }
  catch {
    # the compiler's own words, which know of nothing that was handed over
    $answer['text'] = ([string]$_.Exception.Message).Split("`n")[0].Trim()
    Stop-Psrv 'helper_not_compiled' 0
  }
  $psrvExpect = $psrvRequest['expect']
  Confirm-PsrvMachine $psrvExpect $psrvLocal
  if ($psrvRequest.ContainsKey('only')) { $answer['ticks'] = [long][PsrvNative]::Clock() }
  else { . $psrvOperation }
}
