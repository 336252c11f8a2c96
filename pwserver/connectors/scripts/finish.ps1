# Takes the request apart, runs the operation, writes the one answer.
try {
  [void][Reflection.Assembly]::LoadWithPartialName('System.Web.Extensions')
  $psrvReader = New-Object Web.Script.Serialization.JavaScriptSerializer
  $psrvRequest = $psrvReader.DeserializeObject($d)
  $d = $null
  $answer['attempt'] = [string]$psrvRequest['attempt']
  $answer['op'] = [string]$psrvRequest['op']
  $psrvTtl = [long]$psrvRequest['ttl_ms']
  if ($psrvRequest.ContainsKey('until')) { $psrvUntil = [long]$psrvRequest['until'] }
  $psrvParams = $psrvRequest['params']
  foreach ($psrvName in $psrvRequest['secrets'].Keys) {
    $psrvSecure[$psrvName] = New-Object Security.SecureString
    foreach ($letter in $psrvRequest['secrets'][$psrvName].ToCharArray()) { $psrvSecure[$psrvName].AppendChar($letter) }
  }
  . $psrvBegin
}
catch {
  if ([string]$_.Exception.Message -cne 'psrv:stop') {
    # never the message: it may hold what was handed over
    $answer['reason'] = 'internal'
    $answer['code'] = Get-PsrvCode $_.Exception
    $answer['text'] = $_.Exception.GetType().Name + ' at line ' + $_.InvocationInfo.ScriptLineNumber
  }
}
$d = $null
$psrvRequest = $null
$answer['elapsed_ms'] = [int]$psrvWatch.ElapsedMilliseconds
if ($psrvInner) { ConvertTo-PsrvJson $answer }
elseif ($answer.ContainsKey('passed')) { [Console]::Out.Write($answer['passed']) }
else { [Console]::Out.Write((ConvertTo-PsrvJson $answer)) }
