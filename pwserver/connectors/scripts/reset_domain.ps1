# Administrative override: sets the new value without knowing the old one, unlocks when asked, logs on once.
$psrvThis = 'reset_domain'
$psrvTakes = 'account_sid,domain,domain_sid,login,min_left,unlock,user;login_password,new'
$psrvLocal = $false
$psrvOperation = {
  Open-PsrvDomain
  Read-PsrvDomainAccount
  Stop-PsrvManaged
  if (-not $answer['directory']['can_reset']) { Stop-Psrv 'no_reset_right' 0 }
  Stop-PsrvShort 'new'
  Enter-PsrvWrite 'reset'
  $made = [PsrvDomain]::SetPassword($psrvState['dn'], $null, $psrvSecure['new'])
  $answer['write_code'] = [long]$made['code']
  if ($made['code'] -ne 0) { Stop-Psrv '' $made['code'] }
  # a reset does not unlock; a lock that stays shows in the logon that follows
  if ($psrvParams['unlock'] -and $answer['account']['locked'] -and $psrvWatch.ElapsedMilliseconds -lt $psrvTtl) {
    [void][PsrvDomain]::Unlock($psrvState['dn'])
  }
  Complete-PsrvDomainWrite
}
