# Facts of a local account. No logon.
$psrvThis = 'read_account'
$psrvTakes = 'account_sid,user;'
$psrvLocal = $true
$psrvOperation = {
  Read-PsrvAccount $psrvParams['user']
  $answer['stage'] = 'done'
}
