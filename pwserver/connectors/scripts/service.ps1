# A Windows service, by the service manager.

# Whether the cluster owns a service of this name: then the cluster alone may restart it.
function Test-PsrvCluster([string]$name) {
  foreach ($resource in [PsrvNative]::SubKeys('Cluster\Resources')) {
    if ([PsrvNative]::KeyText('Cluster\Resources\' + $resource + '\Parameters', 'ServiceName') -eq $name) { return $true }
  }
  return $false
}

function Read-PsrvService {
  $answer['stage'] = 'facts'
  $name = [string]$psrvParams['name']
  $facts = [PsrvService]::Read($name)
  if ($facts['code'] -eq 1060) {
    $place = New-PsrvPlace $name '' 'Service'
    $place['stores_password'] = $false
    $place['suggestion'] = [string][PsrvService]::NameOf($name)
    $answer['place'] = $place
    Stop-Psrv 'no_service' 1060
  }
  if ($facts['code'] -ne 0) { Stop-Psrv '' $facts['code'] }
  $place = New-PsrvPlace $name $facts['account'] 'Service'
  $place['state'] = @('', 'stopped', 'pending', 'pending', 'running', 'pending', 'pending', 'paused')[$facts['state']]
  $place['last_result'] = [long]$facts['exit_code']
  $started = [PsrvService]::StartedAt($facts['process'])
  if ($started -gt 0) { $place['last_start'] = Format-PsrvTime $started }
  $place['cluster'] = [bool](Test-PsrvCluster $name)
  $place['dependents'] = [string[]]$facts['dependents']
  $answer['place'] = $place
}

# What must hold before a service is given a value or restarted.
function Stop-PsrvServiceUnfit {
  Stop-PsrvManaged
  Stop-PsrvOtherIdentity
  if ($answer['place']['right'] -eq $false) { Stop-Psrv 'no_service_right' 0 }
}
