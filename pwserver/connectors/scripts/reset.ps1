# Administrative override: sets the new value without knowing the old one, unlocks when asked, logs on once.
$psrvThis = 'reset'
$psrvTakes = 'account_sid,min_left,unlock,user;new'
$psrvLocal = $true
$psrvOperation = {
  Read-PsrvAccount $psrvParams['user']
  Stop-PsrvManaged
  Stop-PsrvShort 'new'
  $name = $answer['account']['name']
  $flags = $psrvState['flags']
  Enter-PsrvWrite 'reset'
  $code = [PsrvNative]::ResetPassword($name, $psrvSecure['new'])
  $answer['write_code'] = [long]$code
  if ($code -ne 0) { Stop-Psrv '' $code }
  # a lock that stays shows in the logon that follows
  if ($psrvParams['unlock'] -and $answer['account']['locked'] -and $psrvWatch.ElapsedMilliseconds -lt $psrvTtl) {
    [void][PsrvNative]::Unlock($name, $flags)
  }
  Complete-PsrvWrite
}
