# Who the machine is. Counts nothing, writes nothing.
$psrvThis = 'identity'
$psrvLocal = $false
$psrvOperation = { $answer['stage'] = 'done' }
