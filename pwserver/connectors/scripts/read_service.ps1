# Facts of a Windows service. Writes nothing.
$psrvThis = 'read_service'
$psrvLocal = $false
$psrvOperation = {
  Read-PsrvService
  $answer['stage'] = 'done'
}
