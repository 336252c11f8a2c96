# Restarts a running service and, when allowed, what depends on it and runs. Whatever was stopped is started again.
$psrvThis = 'restart_service'
$psrvTakes = 'account,account_sid,dependents,name;'
$psrvLocal = $false

# Waits for a state: 1 stopped, 4 running. The state it is in at the end. Bounded by the time to live, at least 5 s.
function Wait-PsrvService([string]$name, [int]$state) {
  $end = [Math]::Max($psrvTtl, $psrvWatch.ElapsedMilliseconds + 5000)
  while ($true) {
    $facts = [PsrvService]::Read($name)
    if ($facts['code'] -ne 0 -or $facts['state'] -eq $state -or $psrvWatch.ElapsedMilliseconds -ge $end) { return $facts }
    if ($state -eq 4 -and $facts['state'] -eq 1) { return $facts }
    [Threading.Thread]::Sleep(200)
  }
}

# Stops one service; Windows' number, 0 when it is stopped.
function Stop-PsrvService([string]$name) {
  $code = [PsrvService]::Stop($name)
  if ($code -ne 0) { return $code }
  $facts = Wait-PsrvService $name 1
  if ($facts['code'] -ne 0) { return $facts['code'] }
  if ($facts['state'] -ne 1) { return 1053 }
  return 0
}

# Starts one service; Windows' number, 0 when it runs. 1056: it runs already.
function Start-PsrvService([string]$name) {
  $code = [PsrvService]::Start($name)
  if ($code -eq 1056) { return 0 }
  if ($code -ne 0) { return $code }
  $facts = Wait-PsrvService $name 4
  if ($facts['code'] -ne 0) { return $facts['code'] }
  if ($facts['state'] -eq 4) { return 0 }
  if ($facts['state'] -eq 1 -and $facts['exit_code'] -ne 0) { return $facts['exit_code'] }
  return 1053
}

$psrvOperation = {
  Read-PsrvService
  Stop-PsrvServiceUnfit
  $place = $answer['place']
  $name = [string]$psrvParams['name']
  if ($place['cluster']) { Stop-Psrv 'cluster_resource' 0 }
  if ($place['state'] -ne 'running') { Stop-Psrv 'not_running' 0 }
  $others = $place['dependents']
  if ($others.Length -gt 0 -and -not $psrvParams['dependents']) { Stop-Psrv 'dependents_running' 1051 }
  Enter-PsrvWrite 'restart'
  $stopped = New-Object Collections.ArrayList
  $code = 0
  foreach ($one in @($others) + @($name)) {
    # once something was stopped there is no way back but to start it again: only going on is given up
    if ($psrvWatch.ElapsedMilliseconds -ge $psrvTtl) { $answer['reason'] = 'ttl'; break }
    $code = Stop-PsrvService $one
    if ($code -ne 0) { break }
    [void]$stopped.Insert(0, $one)
  }
  $fails = $code
  $mainFailed = $false
  $failed = $false
  foreach ($one in $stopped) {
    # with a refused logon each start of a dependent would try the same logon once more
    if ($mainFailed) { continue }
    $code = Start-PsrvService $one
    if ($code -ne 0) {
      $failed = $true
      if ($fails -eq 0) { $fails = $code }
      if ($one -eq $name -and $code -eq 1069) { $mainFailed = $true }
    }
  }
  Read-PsrvService
  $answer['stage'] = 'write'
  $answer['write_code'] = [long]$fails
  if ($failed) {
    $answer['stage'] = 'verify'
    Stop-Psrv 'did_not_start' $fails
  }
  if ($answer['reason'] -ne '' -or $fails -ne 0) { Stop-Psrv $answer['reason'] $fails }
  $answer['stage'] = 'done'
}
