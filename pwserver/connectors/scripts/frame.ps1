# Shared by every script: the answer, the clock, the checks that come before everything else.
# Names that hold a secret in clear: $d, $psrvRequest, $letter, $clear. They meet only method calls; never a command's parameter.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
if ($ExecutionContext.SessionState.LanguageMode -ne 'FullLanguage') {
  # methods are not allowed here, nor above: operators only, and the words go out as plain output
  $psrvAttempt = ''
  $psrvOp = ''
  if ($d -match '"attempt": ?"([^"\\]*)"') { $psrvAttempt = $Matches[1] }
  if ($d -match '"op": ?"([a-z_]*)"') { $psrvOp = $Matches[1] }
  $d = $null
  '{"attempt":"' + $psrvAttempt + '","op":"' + $psrvOp + '","stage":"start","code":0,"reason":"language_mode","wrote":false,"write_code":null,"method":"","machine":null,"account":null,"place":null,"logon":null,"text":"","elapsed_ms":0}'
  return
}
$psrvInner = $null -ne $ExecutionContext.SessionState.PSVariable.GetValue('psrvInner')
$psrvWatch = [Diagnostics.Stopwatch]::StartNew()
$psrvTtl = 0
$psrvUntil = 0
$psrvSecure = @{}
$psrvState = @{ flags = 0 }
$answer = @{ attempt = ''; op = ''; stage = 'start'; code = 0; reason = ''; wrote = $false; write_code = $null; method = ''
  machine = $null; account = $null; place = $null; logon = $null; text = ''; present_name = ''; elapsed_ms = 0 }

# Ends the operation with a word of the contract. The top catches it.
function Stop-Psrv([string]$reason, [long]$code) {
  $answer['reason'] = $reason
  $answer['code'] = $code
  throw 'psrv:stop'
}

function Format-PsrvTime([long]$ticks) {
  return [DateTime]::new($ticks).ToString('yyyy-MM-ddTHH:mm:ss', [Globalization.CultureInfo]::InvariantCulture) + 'Z'
}

# Windows' number at the bottom of an exception, as unsigned 32 bit.
function Get-PsrvCode($exception) {
  while ($null -ne $exception.InnerException) { $exception = $exception.InnerException }
  $number = [long]$exception.HResult
  if ($number -lt 0) { $number += 4294967296 }
  return $number
}

# Pure ASCII, so that no code page can harm it; .NET Framework's own serializer stumbles over PowerShell's wrappers.
function ConvertTo-PsrvJson($item) {
  if ($null -eq $item) { return 'null' }
  if ($item -is [bool]) { if ($item) { return 'true' } else { return 'false' } }
  if ($item -is [int] -or $item -is [long]) { return $item.ToString([Globalization.CultureInfo]::InvariantCulture) }
  if ($item -is [Collections.IDictionary]) {
    $parts = foreach ($key in $item.Keys) { (ConvertTo-PsrvJson ([string]$key)) + ':' + (ConvertTo-PsrvJson $item[$key]) }
    return '{' + (@($parts) -join ',') + '}'
  }
  if ($item -is [array]) {
    $parts = foreach ($one in $item) { ConvertTo-PsrvJson $one }
    return '[' + (@($parts) -join ',') + ']'
  }
  $out = New-Object Text.StringBuilder
  [void]$out.Append('"')
  foreach ($sign in ([string]$item).ToCharArray()) {
    $n = [int]$sign
    if ($n -eq 34 -or $n -eq 92) { [void]$out.Append('\').Append($sign) }
    elseif ($n -lt 32 -or $n -gt 126) { [void]$out.Append('\u').Append($n.ToString('x4')) }
    else { [void]$out.Append($sign) }
  }
  return $out.Append('"').ToString()
}
