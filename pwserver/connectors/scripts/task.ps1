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

function Read-PsrvTask {
  $answer['stage'] = 'facts'
  Get-PsrvTask $psrvParams['name']
  $task = $psrvState['task']
  $principal = $task.Definition.Principal
  $place = New-PsrvPlace $psrvParams['name'] ([string]$principal.UserId) 'Batch'
  $type = [int]$principal.LogonType
  if ($type -ne 1 -and $type -ne 6) { $place['stores_password'] = $false }
  $place['enabled'] = [bool]$task.Enabled
  $place['state'] = @('', 'disabled', 'queued', 'ready', 'running')[[int]$task.State]
  $started = ([DateTime]$task.LastRunTime).ToUniversalTime()
  if ($started.Year -gt 1980) { $place['last_start'] = Format-PsrvTime $started.Ticks }
  $result = [long]$task.LastTaskResult
  if ($result -lt 0) { $result += 4294967296 }
  $place['last_result'] = $result
  $answer['place'] = $place
}
