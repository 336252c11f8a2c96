# Facts of a Windows service. Writes nothing.
$psrvThis = 'read_service'
$psrvTakes = 'account,account_sid,name;'
$psrvLocal = $false
$psrvOperation = {
  Read-PsrvService
  $answer['stage'] = 'done'
}
