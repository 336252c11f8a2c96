# A scheduled task, by the COM object Schedule.Service.

# The task at a full path; stops with no_task or with Windows' own number.
function Get-PsrvTask([string]$path) {
  $at = $path.LastIndexOf('\')
  $folder = '\'
  if ($at -gt 0) { $folder = $path.Substring(0, $at) }
  try {
    $scheduler = New-Object -ComObject Schedule.Service
    $scheduler.Connect()
    $psrvState['folder'] = $scheduler.GetFolder($folder)
    $psrvState['task'] = $psrvState['folder'].GetTask($path.Substring($at + 1))
  }
  catch {
    $code = Get-PsrvCode $_.Exception
    if ($code -eq 2147942402 -or $code -eq 2147942403) { Stop-Psrv 'no_task' $code }
    Stop-Psrv '' $code
  }
}

# Who the task runs as by its XML: a SID, or a name as older machines write it. From Server 2016 on the object model may
# give the name without its domain.
function Get-PsrvTaskUser([string]$text) {
  $document = New-Object Xml.XmlDocument
  $document.XmlResolver = $null
  $document.LoadXml($text)
  foreach ($part in $document.DocumentElement.ChildNodes) {
    if ($part.LocalName -cne 'Principals') { continue }
    foreach ($principal in $part.ChildNodes) {
      foreach ($one in $principal.ChildNodes) { if ($one.LocalName -ceq 'UserId') { return $one.InnerText.Trim() } }
    }
  }
  return ''
}

# DOMAIN\user of a SID; what was given where that cannot be told.
function Get-PsrvFullUser([string]$user) {
  if ($user -notlike 'S-1-*') { return $user }
  $known = [PsrvNative]::FindName($user)
  if ($known['code'] -ne 0) { return $user }
  return $known['name']
}

function Read-PsrvTask {
  $answer['stage'] = 'facts'
  Get-PsrvTask $psrvParams['name']
  $task = $psrvState['task']
  $principal = $task.Definition.Principal
  $user = Get-PsrvTaskUser $task.Xml
  if ($user -eq '') { $user = [string]$principal.UserId }
  $place = New-PsrvPlace $psrvParams['name'] (Get-PsrvFullUser $user) 'Batch'
  $type = [int]$principal.LogonType
  if ($type -ne 1 -and $type -ne 6) { $place['stores_password'] = $false }
  $place['enabled'] = [bool]$task.Enabled
  $place['state'] = @('', 'disabled', 'queued', 'ready', 'running')[[int]$task.State]
  $result = [long]$task.LastTaskResult
  if ($result -lt 0) { $result += 4294967296 }
  $place['last_result'] = $result
  # local time: in the hour that comes twice nothing says which of the two it was. A task that has never run has a date,
  # too: one of 1999 since Windows 10
  $started = [DateTime]::SpecifyKind($task.LastRunTime, 'Unspecified')
  if ($result -ne 267011 -and $started.Year -gt 1999 -and -not [TimeZoneInfo]::Local.IsAmbiguousTime($started)) {
    $place['last_start'] = Format-PsrvTime $started.ToUniversalTime().Ticks
  }
  $answer['place'] = $place
}
