# A reset where our login has the right, after one logon with the old value; else a change knowing the old value. Then one
# logon with the new one. Which it will be is decided from facts, never by trying. A reset comes only when that logon can
# prove the old value: within the hour of grace a password that somebody else has just set would be overwritten.
$psrvThis = 'change_domain'
$psrvTakes = 'account_sid,domain,domain_sid,login,min_left,own_stamp,user;login_password,new,old'
$psrvLocal = $false
$psrvOperation = {
  Open-PsrvDomain
  Read-PsrvDomainAccount
  Stop-PsrvManaged
  Stop-PsrvLocked
  Stop-PsrvClosed
  Stop-PsrvShort 'new'
  Stop-PsrvTries $psrvParams['min_left']
  $account = $answer['account']
  $directory = $answer['directory']
  $settled = Test-PsrvSettled
  if ($directory['can_reset'] -and $settled -and -not $directory['protected_user'] -and -not $account['must_change']) {
    $code = Test-PsrvDomainValue 'old' 'old'
    if ($code -eq 1326) { Stop-Psrv '' 1326 }
    if ($code -ne 0) { Stop-Psrv 'cannot_prove_old' $code }
    Enter-PsrvWrite 'reset'
    $made = [PsrvDomain]::SetPassword($psrvState['dn'], $null, $psrvSecure['new'])
  }
  elseif (-not $account['cannot_change'] -and $null -eq $account['may_change_at']) {
    Enter-PsrvWrite 'change'
    $made = [PsrvDomain]::SetPassword($psrvState['dn'], $psrvSecure['old'], $psrvSecure['new'])
  }
  elseif ($directory['can_reset'] -and -not $settled) { Stop-Psrv 'grace_hour' 0 }
  elseif ($directory['can_reset']) { Stop-Psrv 'cannot_prove_old' 1327 }
  elseif ($account['cannot_change']) { Stop-Psrv 'change_denied' 0 }
  else { Stop-Psrv 'too_young' 0 }
  $answer['write_code'] = [long]$made['code']
  if ($made['code'] -ne 0) { Stop-Psrv '' $made['code'] }
  Complete-PsrvDomainWrite
}
