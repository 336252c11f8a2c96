# Facts of a domain account. No logon of it.
$psrvThis = 'read_domain'
$psrvTakes = 'account_sid,domain,domain_sid,login,user;login_password'
$psrvLocal = $false
$psrvOperation = {
  Open-PsrvDomain
  Read-PsrvDomainAccount
  $answer['stage'] = 'done'
}
