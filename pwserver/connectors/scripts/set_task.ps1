# Stores the value in a scheduled task: the same definition, identity, logon type and security, and no trigger fires.
$psrvThis = 'set_task'
$psrvTakes = 'account,account_sid,name;value'
$psrvLocal = $false
$psrvOperation = {
  Read-PsrvTask
  Stop-PsrvManaged
  if (-not $answer['place']['stores_password']) { Stop-Psrv 'stores_no_password' 0 }
  Stop-PsrvOtherIdentity
  if ($answer['place']['right'] -eq $false) { Stop-Psrv 'no_batch_right' 0 }
  if ($psrvSecure['value'].Length -eq 0) { Stop-Psrv 'blank' 0 }
  $task = $psrvState['task']
  $folder = $psrvState['folder']
  $definition = $task.Definition
  $type = [int]$definition.Principal.LogonType
  $security = $task.GetSecurityDescriptor(7)
  $before = $answer['place']
  # always with its domain: a bare name may be another account's, too
  $known = [PsrvNative]::FindName($before['run_as_sid'])
  if ($known['code'] -ne 0) { Stop-Psrv 'no_account' $known['code'] }
  $user = $known['name']
  Enter-PsrvWrite 'set'
  $code = 0
  $pointer = [Runtime.InteropServices.Marshal]::SecureStringToBSTR($psrvSecure['value'])
  try {
    # TASK_UPDATE, TASK_IGNORE_REGISTRATION_TRIGGERS and TASK_DONT_ADD_PRINCIPAL_ACE
    # What it gives back does not tell whether the task can start: COM hides which success it was, and LastTaskResult is
    # of the last run. The batch right was looked at before.
    [void]$folder.RegisterTaskDefinition($task.Name, $definition, 52, $user, [Runtime.InteropServices.Marshal]::PtrToStringBSTR($pointer), $type, $security)
  }
  catch { $code = Get-PsrvCode $_.Exception }
  finally { [Runtime.InteropServices.Marshal]::ZeroFreeBSTR($pointer) }
  $answer['write_code'] = [long]$code
  if ($code -ne 0) { Stop-Psrv '' $code }
  Read-PsrvTask
  $answer['stage'] = 'verify'
  if ($answer['place']['run_as_sid'] -cne $before['run_as_sid'] -or -not $answer['place']['stores_password']) { Stop-Psrv 'run_as_differs' 0 }
  $answer['stage'] = 'done'
}
