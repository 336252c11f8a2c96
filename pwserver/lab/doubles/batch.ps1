
# ---- many operations in one engine: each script runs as it would alone, in a scope of its own ----
$LabOut = [Console]::Out
while ($true) {
  $LabCase = [Lab]::Ask('lab:next', @{})
  if ($null -eq $LabCase['script']) { break }
  $PSVersionTable['PSVersion'] = [version]$LabCase['ps_version']
  $env:LIB = $LabCase['lib']
  $LabSaid = [IO.StringWriter]::new()
  [Console]::SetOut($LabSaid)
  try {
    & {
      $d = $LabCase['request']
      . ([ScriptBlock]::Create($LabCase['script']))
    }
  }
  catch { [void]$LabSaid.Write('escaped: ' + $_) }
  finally { [Console]::SetOut($LabOut) }
  [void][Lab]::Ask('lab:said', @{ text = $LabSaid.ToString() })
}
