# Facts of a scheduled task. Writes nothing: registering a task again would be a write.
$psrvThis = 'read_task'
$psrvTakes = 'account,account_sid,name;'
$psrvLocal = $false
$psrvOperation = {
  Read-PsrvTask
  $answer['stage'] = 'done'
}
