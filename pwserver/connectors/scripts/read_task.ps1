# Facts of a scheduled task. Writes nothing: registering a task again would be a write.
$psrvThis = 'read_task'
$psrvLocal = $false
$psrvOperation = {
  Read-PsrvTask
  $answer['stage'] = 'done'
}
