# Facts of a local account. No logon.
$psrvThis = 'read_account'
$psrvLocal = $true
$psrvOperation = {
  Read-PsrvAccount $psrvParams['user']
  $answer['stage'] = 'done'
}
