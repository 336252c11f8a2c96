# One network logon with the value, unless the facts say that it could prove nothing or would lock the account.
$psrvThis = 'verify'
$psrvTakes = 'account_sid,min_left,user;value'
$psrvLocal = $true
$psrvOperation = {
  Read-PsrvAccount $psrvParams['user']
  Stop-PsrvManaged
  Stop-PsrvLocked
  Stop-PsrvClosed
  if ($psrvSecure['value'].Length -eq 0) { Stop-Psrv 'blank' 0 }
  Stop-PsrvTries $psrvParams['min_left']
  $code = Test-PsrvValue 'value' 'verify'
  $answer['code'] = [long]$code
  if ($code -eq 0) { $answer['stage'] = 'done' }
}
