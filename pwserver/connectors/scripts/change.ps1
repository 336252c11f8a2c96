# A change knowing the old value where Windows allows one; else one logon with the old value and a reset. Then one logon
# with the new one. Which it will be is decided from facts, never by trying; the new value is never tried before the write.
$psrvThis = 'change'
$psrvTakes = 'account_sid,min_left,reset_allowed,user;new,old'
$psrvLocal = $true
$psrvOperation = {
  Read-PsrvAccount $psrvParams['user']
  Stop-PsrvManaged
  Stop-PsrvLocked
  Stop-PsrvShort 'new'
  Stop-PsrvTries $psrvParams['min_left']
  $account = $answer['account']
  $name = $account['name']
  if (-not $account['cannot_change'] -and $null -eq $account['may_change_at']) {
    Enter-PsrvWrite 'change'
    $code = [PsrvNative]::ChangePassword($answer['machine']['computer_name'], $name, $psrvSecure['old'], $psrvSecure['new'])
  }
  elseif (-not $account['has_profile'] -or $psrvParams['reset_allowed']) {
    Stop-PsrvClosed
    $code = Test-PsrvValue 'old' 'old'
    if ($code -eq 1326) { Stop-Psrv '' 1326 }
    if ($code -ne 0) { Stop-Psrv 'cannot_prove_old' $code }
    Enter-PsrvWrite 'reset'
    $code = [PsrvNative]::ResetPassword($name, $psrvSecure['new'])
  }
  elseif ($account['cannot_change']) { Stop-Psrv 'reset_not_allowed' 0 }
  else { Stop-Psrv 'too_young' 0 }
  $answer['write_code'] = [long]$code
  if ($code -ne 0) { Stop-Psrv '' $code }
  Complete-PsrvWrite
}
