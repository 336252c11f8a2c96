# A Windows service, by the service manager.

# Types of cluster resources that run no service of their own.
$psrvPlainResources = @('Physical Disk', 'Storage Pool', 'IP Address', 'IPv6 Address', 'IPv6 Tunnel Address',
  'Disjoint IPv4 Address', 'Disjoint IPv6 Address', 'Network Name', 'Distributed Network Name', 'File Share Witness', 'Cloud Witness',
  'Health Agent', 'Health Service', 'Storage Policies', 'Storage QoS Policy Manager')
# Services that stand behind a type of resource without being named in it.
$psrvResourceServices = @{ 'File Server' = 'LanmanServer'; 'Print Spooler' = 'Spooler'; 'DHCP Service' = 'DHCPServer'; 'WINS Service' = 'WINS'
  'Distributed File System' = 'Dfs'; 'DFS Replicated Folder' = 'DFSR'; 'Distributed Transaction Coordinator' = 'MSDTC'
  'Virtual Machine' = 'vmms'; 'Virtual Machine Configuration' = 'vmms'; 'Virtual Machine Cluster WMI' = 'vmms'
  'Virtual Machine Replication Broker' = 'vmms'; 'iSCSI Target Server' = 'WinTarget'; 'Task Scheduler' = 'Schedule'
  'Scale Out File Server' = 'LanmanServer' }
$psrvDefaultInstance = @('MSSQLSERVER', 'SQLSERVERAGENT', 'MSSQLFDLauncher', 'SQLTELEMETRY', 'MSSQLServerOLAPService')

# Whether a cluster may own a service of this name: then the cluster alone may restart it. Each type of resource has
# properties of its own; one that cannot be understood is a doubt, and in doubt nothing is restarted.
function Test-PsrvCluster([string]$name) {
  $resources = [PsrvNative]::SubKeys('Cluster\Resources')
  if ($resources.Length -eq 0) { return [PsrvService]::State('ClusSvc')['state'] -gt 1 }
  foreach ($resource in $resources) {
    $key = 'Cluster\Resources\' + $resource
    $type = [PsrvNative]::KeyText($key, 'Type')
    $service = [PsrvNative]::KeyText($key + '\Parameters', 'ServiceName')
    $instance = [PsrvNative]::KeyText($key + '\Parameters', 'InstanceName')
    if ($service -eq $name) { return $true }
    if ($instance -eq 'MSSQLSERVER' -and $psrvDefaultInstance -contains $name) { return $true }
    if ($instance -ne '' -and $name.EndsWith('$' + $instance, [StringComparison]::OrdinalIgnoreCase)) { return $true }
    if ($psrvResourceServices[$type] -eq $name) { return $true }
    $understood = $service -ne '' -or $instance -ne '' -or $psrvPlainResources -contains $type -or $psrvResourceServices.ContainsKey($type)
    if (-not $understood) { return $true }
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
  $place['start_type'] = [int]$facts['start_type']
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

# Windows' number with which a service that is stopped would not start again, 0: nothing is seen to stand against it.
# 1058: it is disabled. 1075: a service that it needs is not there. 1068: that one could not start. Groups are not followed.
function Find-PsrvHindrance([string]$name, [string[]]$above) {
  $answer['place']['hindered'] = $name
  $facts = [PsrvService]::Read($name)
  if ($facts['code'] -ne 0) { return $facts['code'] }
  if ($facts['start_type'] -eq 4) { return 1058 }
  foreach ($need in $facts['needs']) {
    if ($need.StartsWith('+') -or $above -contains $need) { continue }
    $state = [PsrvService]::State($need)
    if ($state['code'] -eq 1060) {
      $answer['place']['hindered'] = $need
      return 1075
    }
    if ($state['state'] -eq 1 -and (Find-PsrvHindrance $need ($above + $name)) -ne 0) { return 1068 }
  }
  $answer['place']['hindered'] = ''
  return 0
}

# What could not start again is not stopped.
function Stop-PsrvUnstartable([string]$name) {
  $code = Find-PsrvHindrance $name @()
  if ($code -eq 0) { return }
  if ($code -eq 1058) { Stop-Psrv 'start_disabled' $code }
  if ($code -eq 1068 -or $code -eq 1075) { Stop-Psrv 'dependency_missing' $code }
  Stop-Psrv '' $code
}
