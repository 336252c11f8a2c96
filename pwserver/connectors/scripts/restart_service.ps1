# Restarts a running service and, when allowed, what depends on it and runs. Whatever was stopped is started again: once
# a stop was accepted there is no way back, so the time to live no longer counts, only the two limits of the restart.
$psrvThis = 'restart_service'
$psrvTakes = 'account,account_sid,answer_s,dependents,name,stop_s;'
$psrvLocal = $false
# A start that ended with one of these tried the stored password.
$psrvLogonFailures = @(1069, 1326, 1330, 1331, 1385, 1909)

# Waits before the next look: a tenth of the service's own hint, between one second and ten.
function Wait-PsrvService($facts) {
  [PsrvService]::Wait([Math]::Max(1000, [Math]::Min(10000, [long]($facts['wait_hint'] / 10))))
}

# Stops one service; Windows' number, 0 once it is stopped. It is remembered before the wait: even a stop that takes
# longer than we wait ends in a stopped service. 1062: it stopped meanwhile. 1053: its process did not answer, and may
# stop all the same; for a minute it is believed to.
function Stop-PsrvService([string]$name) {
  $code = [PsrvService]::Stop($name)
  if ($code -ne 0 -and $code -ne 1062 -and $code -ne 1053) { return $code }
  [void]$psrvState['stopped'].Insert(0, $name)
  $answered = [PsrvService]::Uptime() + 60000
  while ($true) {
    $facts = [PsrvService]::State($name)
    if ($facts['code'] -ne 0) { return $facts['code'] }
    if ($facts['state'] -eq 1) { return 0 }
    $now = [PsrvService]::Uptime()
    if ($now -ge $psrvState['stop_until'] -or ($code -eq 1053 -and $facts['state'] -eq 4 -and $now -ge $answered)) { return 1053 }
    Wait-PsrvService $facts
  }
}

# Starts one service unless it runs; Windows' number, 0 when it runs. One that still stops is waited for. What is
# stopped is started once, whatever the clock says. 1056 is no proof that it runs: Windows says so of any state but stopped.
# 1053: any service may keep the manager busy; 1055: its database is locked. Both pass, and neither refused a password.
function Start-PsrvService([string]$name) {
  $started = $false
  $late = 1053
  while ($true) {
    $facts = [PsrvService]::State($name)
    if ($facts['code'] -ne 0) { return $facts['code'] }
    if ($facts['state'] -eq 4) { return 0 }
    if ($facts['state'] -eq 1 -and $started) {
      if ($facts['exit_code'] -ne 0) { return $facts['exit_code'] }
      return 1053
    }
    if ($facts['state'] -eq 1) {
      # whatever the manager answers: if it runs in the end, it has started since it was stopped
      [void]$psrvState['started'].Add($name)
      $code = [PsrvService]::Start($name)
      if (@(0, 1053, 1055, 1056) -notcontains $code) { return $code }
      if ($code -eq 0) {
        $started = $true
        continue
      }
      if ($code -eq 1055) { $late = 1055 }
    }
    if ([PsrvService]::Uptime() -ge $psrvState['start_until']) { return $late }
    Wait-PsrvService $facts
  }
}

# Those of the services that do not run now.
function Find-PsrvDown([string[]]$names) {
  foreach ($one in $names) { if ([PsrvService]::State($one)['state'] -ne 4) { $one } }
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
  foreach ($one in $others) { if (Test-PsrvCluster $one) { Stop-Psrv 'cluster_resource' 0 } }
  foreach ($one in @($name) + @($others)) { Stop-PsrvUnstartable $one }
  Enter-PsrvWrite 'restart'
  $now = [PsrvService]::Uptime()
  $psrvState['stop_until'] = $now + 1000 * $psrvParams['stop_s']
  $psrvState['start_until'] = $now + 1000 * $psrvParams['answer_s']
  $psrvState['stopped'] = New-Object Collections.ArrayList
  $psrvState['started'] = New-Object Collections.ArrayList
  $fails = 0
  foreach ($one in @($others) + @($name)) {
    $fails = Stop-PsrvService $one
    if ($fails -ne 0) { break }
  }
  # the service itself first, since its dependents need it; a dependent that still stops holds nobody back
  $ready = @()
  $slow = @()
  foreach ($one in $psrvState['stopped']) {
    if ($one -ne $name -and [PsrvService]::State($one)['state'] -eq 3) { $slow += $one } else { $ready += $one }
  }
  $refused = $false
  $first = 0
  foreach ($one in $ready + $slow) {
    # with a refused logon each start of a dependent would try the same logon once more
    if ($refused) { continue }
    $code = Start-PsrvService $one
    if ($first -eq 0) { $first = $code }
    if ($one -eq $name -and $psrvLogonFailures -contains $code) { $refused = $true }
  }
  $down = [string[]]@(Find-PsrvDown $psrvState['stopped'])
  $stopping = [PsrvService]::State($name)['state'] -eq 3
  Read-PsrvService
  $answer['place']['down'] = $down
  $answer['stage'] = 'write'
  if ($down.Length -eq 0) {
    $answer['write_code'] = [long]$fails
    # a stop that was given up may have ended meanwhile
    if ($psrvState['started'] -contains $name) { $answer['write_code'] = [long]0 }
    elseif ($fails -ne 0) { Stop-Psrv '' $fails }
    $answer['stage'] = 'done'
    return
  }
  if ($first -eq 0) { $first = 1053 }
  $answer['write_code'] = [long]$first
  $answer['stage'] = 'verify'
  if ($down -notcontains $name) { Stop-Psrv 'dependents_down' $first }
  if ($stopping) { Stop-Psrv 'still_stopping' $first }
  Stop-Psrv 'did_not_start' $first
}
