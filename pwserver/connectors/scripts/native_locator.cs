using System;
using System.Runtime.InteropServices;

/// The locator of domain controllers, asked when Kerberos leaves open whether one answers. C# 5.
public static class PsrvLocator
{
    [DllImport("netapi32.dll", CharSet = CharSet.Unicode)]
    static extern int DsGetDcNameW(string computer, string domain, IntPtr guid, string site, uint flags, out IntPtr info);
    [DllImport("netapi32.dll")]
    static extern int NetApiBufferFree(IntPtr buffer);

    /// 0: a controller that gives tickets answers now, not only from the locator's cache.
    public static int FindController(string domain)
    {
        IntPtr info;
        // FORCE_REDISCOVERY, KDC_REQUIRED, RETURN_DNS_NAME
        int code = DsGetDcNameW(null, domain, IntPtr.Zero, null, 0x40000401, out info);
        if (code == 0) NetApiBufferFree(info);
        return code;
    }
}
