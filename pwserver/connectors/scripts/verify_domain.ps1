# One network logon of a domain account, unless the facts say that it could prove nothing or would lock the account.
$psrvThis = 'verify_domain'
$psrvTakes = 'account_sid,domain,domain_sid,login,min_left,user;login_password,value'
$psrvLocal = $false
$psrvOperation = {
  Open-PsrvDomain
  Read-PsrvDomainAccount
  Stop-PsrvManaged
  Stop-PsrvLocked
  Stop-PsrvClosed
  if ($psrvSecure['value'].Length -eq 0) { Stop-Psrv 'blank' 0 }
  Stop-PsrvTries $psrvParams['min_left']
  $code = Test-PsrvDomainValue 'value' 'verify'
  # the stamp as it is after the logon: it decides what that proves
  Read-PsrvDomainAccount
  $answer['stage'] = 'verify'
  $answer['code'] = [long]$code
  if ($code -eq 0) { $answer['stage'] = 'done' }
}
