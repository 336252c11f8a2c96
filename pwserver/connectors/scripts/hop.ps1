# Runs the same script on a second machine, opened with the linked credential. That machine first says who it is; the
# request is handed over, as a SecureString, only after its answer is right. Kerberos for a domain login, else a checked
# certificate; there is no third way, since a rogue name would get the login.

# Whether the second machine, or its domain, looked at the login and said no. Everything else never got so far.
function Test-PsrvLoginRefused([long]$code) {
  $low = $code
  if ($code -ge 2147942400 -and $code -lt 2148007936) { $low = $code - 2147942400 }
  return @(5, 86, 1311, 1326, 1327, 1328, 1329, 1330, 1331, 1385, 1396, 1397, 1787, 1789, 1793, 1907, 1909) -contains $low -or
    @(2148074252, 2148074254, 2148074257, 2148074274) -contains $code
}

# The number that remoting gives, or the one at the bottom.
function Get-PsrvRemoteCode($exception) {
  if ($exception -is [Management.Automation.Remoting.PSRemotingTransportException] -and $exception.ErrorCode -ne 0) {
    $number = [long]$exception.ErrorCode
    if ($number -lt 0) { $number += 4294967296 }
    return $number
  }
  return Get-PsrvCode $exception
}

$psrvFar = {
  param($psrvText, $psrvPayload)
  $psrvInner = $true
  if ($ExecutionContext.SessionState.LanguageMode -ne 'FullLanguage') { '{"psrv":"language_mode"}'; return }
  $pointer = [Runtime.InteropServices.Marshal]::SecureStringToBSTR($psrvPayload)
  try { $d = [Runtime.InteropServices.Marshal]::PtrToStringBSTR($pointer) } finally { [Runtime.InteropServices.Marshal]::ZeroFreeBSTR($pointer) }
  . ([ScriptBlock]::Create($psrvText))
}

$psrvBegin = {
  $answer['stage'] = 'hop'
  $hop = $psrvRequest['hop']
  if ($null -eq $hop) { Stop-Psrv 'bad_request' 0 }
  $computer = [string]$hop['machine']
  $auth = [string]$hop['auth']
  $secure = New-Object Security.SecureString
  foreach ($letter in $hop['secret'].ToCharArray()) { $secure.AppendChar($letter) }
  $credential = [Management.Automation.PSCredential]::new([string]$hop['user'], $secure)
  $hop = $null
  $psrvRequest['hop'] = $null
  $inner = [Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($psrvInnerText))
  $options = New-PSSessionOption -OpenTimeout 20000 -OperationTimeout 180000 -NoMachineProfile
  $session = $null
  try {
    try {
      if ($auth -ceq 'kerberos') { $session = New-PSSession -ComputerName $computer -Credential $credential -Authentication Kerberos -SessionOption $options }
      elseif ($auth -ceq 'ssl') { $session = New-PSSession -ComputerName $computer -Credential $credential -UseSSL -SessionOption $options }
      else { Stop-Psrv 'bad_request' 0 }
    }
    catch {
      if ([string]$_.Exception.Message -ceq 'psrv:stop') { throw }
      $code = Get-PsrvRemoteCode $_.Exception
      if (Test-PsrvLoginRefused $code) { Stop-Psrv 'hop_refused' $code }
      Stop-Psrv 'hop_unreachable' $code
    }
    # first who it is: nothing secret is in this question
    $ask = @{ attempt = $answer['attempt']; op = $answer['op']; ttl_ms = $psrvTtl; expect = $psrvRequest['expect']; params = $psrvRequest['params']; secrets = @{}; hop = $null; only = 'identity' }
    $question = New-Object Security.SecureString
    foreach ($sign in (ConvertTo-PsrvJson $ask).ToCharArray()) { $question.AppendChar($sign) }
    try { $told = [string]@(Invoke-Command -Session $session -ScriptBlock $psrvFar -ArgumentList $inner, $question)[-1] }
    catch { Stop-Psrv 'hop_unreachable' (Get-PsrvRemoteCode $_.Exception) }
    if ($told -ceq '{"psrv":"language_mode"}') { Stop-Psrv 'language_mode' 0 }
    $who = $psrvReader.DeserializeObject($told)
    if (-not $who.ContainsKey('ticks')) {
      $answer['passed'] = $told
      return
    }
    # the far machine's own clock bounds the hand-over too
    $left = $psrvTtl - $psrvWatch.ElapsedMilliseconds
    if ($left -le 0) { Stop-Psrv 'ttl' 0 }
    $psrvRequest['ttl_ms'] = [int]$left
    $psrvRequest['until'] = [long]($who['ticks'] + $left * 10000)
    $payload = New-Object Security.SecureString
    foreach ($letter in $psrvReader.Serialize($psrvRequest).ToCharArray()) { $payload.AppendChar($letter) }
    $psrvRequest = $null
    try {
      $told = [string]@(Invoke-Command -Session $session -ScriptBlock $psrvFar -ArgumentList $inner, $payload)[-1]
      [void]$psrvReader.DeserializeObject($told)
    }
    catch { Stop-Psrv 'hop_broken' (Get-PsrvRemoteCode $_.Exception) }
    $answer['passed'] = $told
  }
  finally {
    if ($null -ne $session) { Remove-PSSession -Session $session -ErrorAction SilentlyContinue }
  }
}
