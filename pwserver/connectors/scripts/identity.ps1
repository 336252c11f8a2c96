# Who the machine is. Counts nothing, writes nothing.
$psrvThis = 'identity'
$psrvTakes = ';'
$psrvLocal = $false
$psrvOperation = { $answer['stage'] = 'done' }
