# Facts of a local account. No logon.
$psrvThis = 'read_account'
$psrvTakes = 'user;'
$psrvLocal = $true
$psrvOperation = {
  Read-PsrvAccount $psrvParams['user']
  $answer['stage'] = 'done'
}
