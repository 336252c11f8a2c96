# Stores the value in a service. Its identity stays as it stands, and it is not restarted.
$psrvThis = 'set_service'
$psrvTakes = 'account,account_sid,name;value'
$psrvLocal = $false
$psrvOperation = {
  Read-PsrvService
  Stop-PsrvServiceUnfit
  if ($psrvSecure['value'].Length -eq 0) { Stop-Psrv 'blank' 0 }
  $before = $answer['place']
  Enter-PsrvWrite 'set'
  $code = [PsrvService]::SetPassword($psrvParams['name'], $before['run_as'], $psrvSecure['value'])
  $answer['write_code'] = [long]$code
  if ($code -ne 0) { Stop-Psrv '' $code }
  Read-PsrvService
  $answer['stage'] = 'verify'
  if ($answer['place']['run_as_sid'] -cne $before['run_as_sid']) { Stop-Psrv 'run_as_differs' 0 }
  $answer['stage'] = 'done'
}
