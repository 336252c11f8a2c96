# The parts of Windows that the scripts reach without P/Invoke, as the practice lab answers them: PowerShell's own version
# and language mode, the Schedule.Service object, remote sessions. Put before a shipped script, which stays as it is.
# One line of JSON per call over the Unix socket named by PSRV_LAB_SOCKET, one line of JSON back.
[void][Reflection.Assembly]::LoadWithPartialName('System.Web.Extensions')
if ($null -eq ('Web.Script.Serialization.JavaScriptSerializer' -as [type])) { Add-Type -TypeDefinition ([IO.File]::ReadAllText($env:PSRV_LAB_DOUBLES + '/json.cs')) }
$LabSocket = [Net.Sockets.Socket]::new([Net.Sockets.AddressFamily]::Unix, [Net.Sockets.SocketType]::Stream, [Net.Sockets.ProtocolType]::Unspecified)
$LabSocket.Connect([Net.Sockets.UnixDomainSocketEndPoint]::new($env:PSRV_LAB_SOCKET))
class Lab {
  static $Stream; static $Reader; static $Json
  static [object] Ask([string]$name, $with) {
    $line = [Text.Encoding]::UTF8.GetBytes([Lab]::Json.Serialize(@{ name = $name; args = $with }) + "`n")
    [Lab]::Stream.Write($line, 0, $line.Length)
    return [Lab]::Json.DeserializeObject([Lab]::Reader.ReadLine())
  }
  static [int] Number([long]$code) {
    if ($code -gt 2147483647) { $code -= 4294967296 }
    return [int]$code
  }
}
[Lab]::Stream = [Net.Sockets.NetworkStream]::new($LabSocket)
[Lab]::Reader = [IO.StreamReader]::new([Lab]::Stream)
[Lab]::Json = New-Object Web.Script.Serialization.JavaScriptSerializer

# ---- the task scheduler ----
class LabPrincipal { [string]$UserId; [int]$LogonType }
class LabDefinition { [LabPrincipal]$Principal; [object]$Raw }
class LabTask {
  [string]$Name; [string]$Path; [LabDefinition]$Definition; [bool]$Enabled; [int]$State; [DateTime]$LastRunTime; [int]$LastTaskResult; [string]$Sddl; [string]$Xml
  LabTask([string]$path, $told) {
    $this.Path = $path; $this.Name = $path.Substring($path.LastIndexOf('\') + 1)
    $this.Definition = [LabDefinition]::new()
    $this.Definition.Raw = $told['definition']
    $this.Xml = $told['xml']
    $this.Definition.Principal = [LabPrincipal]::new()
    $this.Definition.Principal.UserId = $told['user_id']
    $this.Definition.Principal.LogonType = $told['logon_type']
    $this.Enabled = $told['enabled']; $this.State = $told['state']; $this.Sddl = $told['sddl']
    $this.LastTaskResult = [Lab]::Number($told['last_result'])
    $this.LastRunTime = [DateTime]::new(1999, 11, 30)
    # a DATE of Automation: the time on the wall, and nothing about which
    if ($null -ne $told['last_run']) { $this.LastRunTime = [DateTime]::SpecifyKind([DateTimeOffset]::FromUnixTimeMilliseconds([long]([double]$told['last_run'] * 1000)).LocalDateTime, 'Unspecified') }
  }
  [string] GetSecurityDescriptor([int]$what) { return $this.Sddl }
}
class LabFolder {
  [string]$Path
  LabFolder([string]$path) { $this.Path = $path }
  [object] GetTask([string]$name) {
    $full = $this.Path.TrimEnd('\') + '\' + $name
    $told = [Lab]::Ask('GetTask', @{ path = $full })
    if ($told['hresult'] -ne 0) { throw [Runtime.InteropServices.COMException]::new('The task scheduler refused.', [Lab]::Number($told['hresult'])) }
    return [LabTask]::new($full, $told)
  }
  [object] RegisterTaskDefinition([string]$name, $definition, [int]$flags, $user, $password, [int]$logon, $security) {
    $full = $this.Path.TrimEnd('\') + '\' + $name
    $told = [Lab]::Ask('RegisterTaskDefinition', @{ path = $full; flags = $flags; user = $user; password = $password; logon_type = $logon; sddl = $security; definition = $definition.Raw })
    # Windows throws failures only, and does not tell one success from another
    if ($told['hresult'] -ge 2147483648) { throw [Runtime.InteropServices.COMException]::new('The task scheduler refused.', [Lab]::Number($told['hresult'])) }
    return $this.GetTask($name)
  }
}
class LabScheduler { [void] Connect() { } [object] GetFolder([string]$path) { return [LabFolder]::new($path) } }

# ---- a connection to a port ----
class LabWaitHandle {
  [Collections.IDictionary]$Attempt
  # ask the network once; it takes as long as the connection, or the wait, lasts
  [bool] WaitOne([int]$milliseconds) {
    $told = [Lab]::Ask('TcpConnect', @{ computer = $this.Attempt['computer']; port = $this.Attempt['port']; wait_ms = $milliseconds })
    $this.Attempt['code'] = $told['code']
    return $told['code'] -ne 10060
  }
}
class LabTcpClient {
  [Collections.IDictionary]$Client = @{ DualMode = $false }
  [object] BeginConnect([string]$computer, [int]$port, $callback, $state) {
    $attempt = @{ computer = $computer; port = $port; code = 10060 }
    $attempt['AsyncWaitHandle'] = [LabWaitHandle]::new()
    $attempt['AsyncWaitHandle'].Attempt = $attempt
    return $attempt
  }
  [void] EndConnect($attempt) { if ($attempt['code'] -ne 0) { throw [Net.Sockets.SocketException]::new($attempt['code']) } }
  [void] Close() { }
}

# the body is kept: a FunctionInfo would follow the redefinition
$LabNewObject = Get-Command New-Object
if ($LabNewObject.CommandType -eq 'Function') { $LabNewObject = $LabNewObject.ScriptBlock }
function New-Object {
  param([Parameter(Position = 0)][string]$TypeName, [Parameter(Position = 1)][object[]]$ArgumentList, [string]$ComObject)
  if ($ComObject -eq 'Schedule.Service') { return [LabScheduler]::new() }
  if ($TypeName -eq 'Net.Sockets.TcpClient') { return [LabTcpClient]::new() }
  , (& $LabNewObject @PSBoundParameters)
}

# ---- directories: the library is put behind the helper that asks for it ----
$LabAddType = Get-Command Add-Type
if ($LabAddType.CommandType -eq 'Function') { $LabAddType = $LabAddType.ScriptBlock }
function Add-Type {
  param([string]$TypeDefinition, [string[]]$ReferencedAssemblies, [switch]$IgnoreWarnings)
  $told = [Lab]::Ask('CompileType', @{ lib = [string]$env:LIB; ignore_warnings = [bool]$IgnoreWarnings })
  if ($told['code'] -ne 0) { throw [InvalidOperationException]::new($told['text']) }
  if ($ReferencedAssemblies -notcontains 'System.DirectoryServices.Protocols') { & $LabAddType -TypeDefinition $TypeDefinition; return }
  & $LabAddType -TypeDefinition ($TypeDefinition + [IO.File]::ReadAllText($env:PSRV_LAB_DOUBLES + '/directory.cs'))
  [DirectoryServices.Protocols.Lab]::Ask = { param($name, $with) [Lab]::Ask($name, $with) }
}

# ---- remote sessions: what runs in one asks the other machine, as the other account ----
function Stop-Lab([string]$what, [long]$code) {
  $refusal = [Management.Automation.Remoting.PSRemotingTransportException]::new($what)
  $refusal.ErrorCode = [Lab]::Number($code)
  throw $refusal
}
function New-PSSessionOption {
  param([int]$OpenTimeout = 180000, [int]$OperationTimeout, [int]$MaxConnectionRetryCount = 5, [switch]$NoMachineProfile)
  return @{ open_ms = $OpenTimeout; retries = $MaxConnectionRetryCount }
}
function New-PSSession {
  param([string]$ComputerName, [pscredential]$Credential, $Authentication, [switch]$UseSSL, $SessionOption)
  $how = 'negotiate'
  if ($UseSSL) { $how = 'ssl' } elseif ($Authentication -eq 'Kerberos') { $how = 'kerberos' }
  $asked = @{ computer = $ComputerName; user = $Credential.UserName; password = $Credential.GetNetworkCredential().Password; auth = $how }
  $told = [Lab]::Ask('NewPSSession', $asked + $SessionOption)
  if ($told['code'] -ne 0) { Stop-Lab ('Connecting to the remote server failed. ' + $told['text']) $told['code'] }
  return $told
}
function Invoke-Command {
  param($Session, [scriptblock]$ScriptBlock, $ArgumentList)
  $payload = [Net.NetworkCredential]::new('', $ArgumentList[1]).Password
  $told = [Lab]::Ask('lab:enter', @{ session = $Session['session']; script = $ArgumentList[0]; payload = $payload })
  if ($told['code'] -ne 0) { Stop-Lab 'The connection to the remote server was lost.' $told['code'] }
  $here = $PSVersionTable['PSVersion']
  $PSVersionTable['PSVersion'] = [version]$told['ps_version']
  $env:LIB = $told['lib']
  if ($told['language_mode'] -ne 'FullLanguage') { $ScriptBlock = { '{"psrv":"language_mode"}' } }
  try { $out = @(& $ScriptBlock @ArgumentList) }
  finally {
    $PSVersionTable['PSVersion'] = $here
    $left = [Lab]::Ask('lab:leave', @{ session = $Session['session']; payload = $payload })
  }
  if ($left['code'] -ne 0) { Stop-Lab 'The connection to the remote server was lost.' $left['code'] }
  return $out
}
function Remove-PSSession { [CmdletBinding()] param($Session) }

# ---- the shell itself ----
$LabShell = [Lab]::Ask('PowerShellHost', @{})
$PSVersionTable['PSVersion'] = [version]$LabShell['ps_version']
$env:LIB = $LabShell['lib']
if ($LabShell['language_mode'] -ne 'FullLanguage') { $ExecutionContext.SessionState.LanguageMode = $LabShell['language_mode'] }
