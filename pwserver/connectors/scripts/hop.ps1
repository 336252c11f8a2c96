# Runs the same script on a second machine, opened with the linked credential. That machine first says who it is; the
# request is handed over, as a SecureString, only after its answer is right, and one line on standard output comes before.
# Kerberos for a domain login, else a checked certificate; there is no third way, since a rogue name would get the login.

# Whether the code speaks of the linked credential: its password, a state of its account, or a right it lacks there. With
# everything else nobody looked at it.
function Test-PsrvLoginSeen([long]$code) {
  $low = $code
  if ($code -ge 2147942400 -and $code -lt 2148007936) { $low = $code - 2147942400 }
  return @(5, 86, 1326, 1327, 1328, 1329, 1330, 1331, 1385, 1793, 1907, 1909) -contains $low -or $code -eq 2148074252
}

# Whether WinRM's port takes a connection within two seconds: 0, or the socket's own code. A host that drops packets would
# keep New-PSSession for as long as TCP tries.
function Test-PsrvPort([string]$computer, [int]$port) {
  try {
    $probe = New-Object Net.Sockets.TcpClient ([Net.Sockets.AddressFamily]::InterNetworkV6)
    $probe.Client.DualMode = $true
  }
  catch { $probe = New-Object Net.Sockets.TcpClient }
  try {
    $begun = $probe.BeginConnect($computer, $port, $null, $null)
    if (-not $begun.AsyncWaitHandle.WaitOne(2000)) { return 10060 }
    $probe.EndConnect($begun)
    return 0
  }
  catch {
    $failure = $_.Exception
    while ($null -ne $failure.InnerException) { $failure = $failure.InnerException }
    if ($failure -is [Net.Sockets.SocketException]) { return [int]$failure.SocketErrorCode }
    return 0
  }
  finally { $probe.Close() }
}

# Whether a domain controller answers for the login's domain: true, false, or null when it could not be asked.
function Test-PsrvController([string]$login) {
  $domain = $login.Split('\')[0]
  if ($login.IndexOf('\') -lt 0) { $domain = $login.Split('@')[-1] }
  try {
    . $psrvHelpers
    return [PsrvLocator]::FindController($domain) -eq 0
  }
  catch { return $null }
}

# The number that remoting gives, or the one at the bottom. Of a security error that WinRM has no number for it tells the
# package's own in its text only.
function Get-PsrvRemoteCode($exception) {
  if ($exception -is [Management.Automation.Remoting.PSRemotingTransportException] -and $exception.ErrorCode -ne 0) {
    $number = [long]$exception.ErrorCode
    if ($number -lt 0) { $number += 4294967296 }
    if ($number -eq 2150858909 -and $exception.Message -match '0x[0-9a-f]{8}') { $number = [Convert]::ToInt64($Matches[0], 16) }
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
  $options = New-PSSessionOption -OpenTimeout 20000 -OperationTimeout 660000 -MaxConnectionRetryCount 0 -NoMachineProfile
  $port = 5985
  if ($auth -ceq 'ssl') { $port = 5986 }
  elseif ($auth -cne 'kerberos') { Stop-Psrv 'bad_request' 0 }
  $code = Test-PsrvPort $computer $port
  if ($code -ne 0) { Stop-Psrv 'hop_unreachable' $code }
  $session = $null
  try {
    try {
      if ($auth -ceq 'kerberos') { $session = New-PSSession -ComputerName $computer -Credential $credential -Authentication Kerberos -SessionOption $options }
      else { $session = New-PSSession -ComputerName $computer -Credential $credential -UseSSL -SessionOption $options }
    }
    catch {
      $code = Get-PsrvRemoteCode $_.Exception
      # over TLS the machine's service answers 401 whatever the cause; by Kerberos a wrong password never is a 5
      if ($auth -ceq 'ssl' -and ($code -eq 5 -or $code -eq 2147942405)) { Stop-Psrv 'hop_unclear' $code }
      if (Test-PsrvLoginSeen $code) { Stop-Psrv 'hop_refused' $code }
      # no logon session, no credentials, no such target: also what Kerberos may end with when no controller answers
      if ((1312, 2148074243, 2148074254) -contains $code -and (Test-PsrvController $credential.UserName) -eq $false) { Stop-Psrv 'hop_no_controller' $code }
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
    # the server counts the request as sent from this line on, and only from here on
    [Console]::Out.Write('{"psrv":"handed_over","attempt":' + (ConvertTo-PsrvJson $answer['attempt']) + '}' + "`n")
    [Console]::Out.Flush()
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
