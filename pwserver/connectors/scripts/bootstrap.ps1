if($ExecutionContext.SessionState.LanguageMode -ne 'FullLanguage'){'{"psrv":"language_mode"}';exit 91}
if($PSVersionTable.PSVersion -lt [version]'5.1'){'{"psrv":"old_powershell"}';exit 92}
$ErrorActionPreference='Stop';$ProgressPreference='SilentlyContinue';$WarningPreference='SilentlyContinue'
try{[Console]::OutputEncoding=New-Object Text.UTF8Encoding $false}catch{}
$l=@($input)
if($l.Count -lt 2){[Console]::Out.Write('{"psrv":"no_input"}');exit 90}
$u=[Text.Encoding]::UTF8
$f=[ScriptBlock]::Create($u.GetString([Convert]::FromBase64String($l[0])))
$d=$u.GetString([Convert]::FromBase64String($l[1]))
$l=$null
. $f
