using System;
using System.Collections;
using System.Runtime.InteropServices;
using System.Security;
using System.Text;
#pragma warning disable 0649 // fields of structures that Windows fills in; Add-Type takes warnings for errors

/// The calls of Windows that PowerShell has no safe word for. C# 5, since Windows PowerShell compiles it.
/// Values arrive as SecureString and are wiped after the call. Codes are Windows' own; nothing throws.
public static class PsrvNative
{
    // ---- the machine ------------------------------------------------------------------------------------------
    [DllImport("kernel32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
    static extern bool GetComputerNameW(StringBuilder name, ref int size);
    [DllImport("kernel32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
    static extern bool GetComputerNameExW(int kind, StringBuilder name, ref int size);
    [DllImport("kernel32.dll")]
    static extern void GetSystemTimeAsFileTime(out long time);
    [DllImport("netapi32.dll", CharSet = CharSet.Unicode)]
    static extern int DsRoleGetPrimaryDomainInformation(string server, int level, out IntPtr buffer);
    [DllImport("netapi32.dll")]
    static extern void DsRoleFreeMemory(IntPtr buffer);
    [DllImport("advapi32.dll", SetLastError = true)]
    static extern bool CheckTokenMembership(IntPtr token, byte[] sid, out bool member);

    [StructLayout(LayoutKind.Sequential)]
    struct DomainInfo { public int Role; public uint Flags; public IntPtr Flat, Dns, Forest; }

    public static string ComputerName()
    {
        var name = new StringBuilder(64);
        int size = name.Capacity;
        return GetComputerNameW(name, ref size) ? name.ToString() : "";
    }

    /// The suffix of the machine's own DNS name (ComputerNamePhysicalDnsDomain); "" without one.
    public static string DnsSuffix()
    {
        var name = new StringBuilder(256);
        int size = name.Capacity;
        return GetComputerNameExW(6, name, ref size) ? name.ToString() : "";
    }

    /// The machine's clock: UTC, as ticks of DateTime.
    public static long Clock()
    {
        long time;
        GetSystemTimeAsFileTime(out time);
        return DateTime.FromFileTimeUtc(time).Ticks;
    }

    /// role (as Win32_ComputerSystem.DomainRole; 4 and 5 are domain controllers), domain or workgroup, the domain's full name
    public static Hashtable Role()
    {
        IntPtr buffer;
        var answer = Code(DsRoleGetPrimaryDomainInformation(null, 1, out buffer));
        if ((int)answer["code"] != 0) return answer;
        var info = (DomainInfo)Marshal.PtrToStructure(buffer, typeof(DomainInfo));
        answer["role"] = info.Role;
        answer["domain"] = Text(info.Flat);
        answer["dns"] = Text(info.Dns);
        DsRoleFreeMemory(buffer);
        return answer;
    }

    /// Whether our own token is an administrator's and not filtered.
    public static bool Administrator()
    {
        bool member;
        return CheckTokenMembership(IntPtr.Zero, SidBytes("S-1-5-32-544"), out member) && member;
    }

    // ---- accounts ---------------------------------------------------------------------------------------------
    [DllImport("netapi32.dll", CharSet = CharSet.Unicode)]
    static extern int NetUserModalsGet(string server, int level, out IntPtr buffer);
    [DllImport("netapi32.dll", CharSet = CharSet.Unicode)]
    static extern int NetUserGetInfo(string server, string user, int level, out IntPtr buffer);
    [DllImport("netapi32.dll", CharSet = CharSet.Unicode)]
    static extern int NetUserSetInfo(string server, string user, int level, ref IntPtr info, IntPtr parameter);
    [DllImport("netapi32.dll", CharSet = CharSet.Unicode)]
    static extern int NetUserChangePassword(string domain, string user, IntPtr old, IntPtr value);
    [DllImport("netapi32.dll")]
    static extern int NetApiBufferFree(IntPtr buffer);

    [StructLayout(LayoutKind.Sequential)]
    struct Modals0 { public uint MinimumLength, MaximumAge, MinimumAge, ForceLogoff, History; }
    [StructLayout(LayoutKind.Sequential)]
    struct Modals2 { public IntPtr Domain, Sid; }
    [StructLayout(LayoutKind.Sequential)]
    struct Modals3 { public uint Duration, Window, Threshold; }
    [StructLayout(LayoutKind.Sequential)]
    struct User4
    {
        public IntPtr Name, Password;
        public uint PasswordAge, Privilege;
        public IntPtr HomeFolder, Comment;
        public uint Flags;
        public IntPtr LogonScript;
        public uint AuthFlags;
        public IntPtr FullName, UserComment, Parameters, Workstations;
        public uint LastLogon, LastLogoff, Expires, MaximumStorage, UnitsPerWeek;
        public IntPtr Hours;
        public uint BadCount, Logons;
        public IntPtr Server;
        public uint Country, CodePage;
        public IntPtr Sid;
        public uint PrimaryGroup;
        public IntPtr Profile, HomeDrive;
        public uint PasswordExpired;
    }

    public static Hashtable MachineSid()
    {
        IntPtr buffer;
        var answer = Code(NetUserModalsGet(null, 2, out buffer));
        if ((int)answer["code"] != 0) return answer;
        answer["sid"] = SidText(((Modals2)Marshal.PtrToStructure(buffer, typeof(Modals2))).Sid);
        NetApiBufferFree(buffer);
        return answer;
    }

    /// min_length, min_age_s
    public static Hashtable PasswordPolicy()
    {
        IntPtr buffer;
        var answer = Code(NetUserModalsGet(null, 0, out buffer));
        if ((int)answer["code"] != 0) return answer;
        var info = (Modals0)Marshal.PtrToStructure(buffer, typeof(Modals0));
        answer["min_length"] = (long)info.MinimumLength;
        answer["min_age_s"] = (long)info.MinimumAge;
        NetApiBufferFree(buffer);
        return answer;
    }

    /// window_s, threshold (0: never locks)
    public static Hashtable LockoutPolicy()
    {
        IntPtr buffer;
        var answer = Code(NetUserModalsGet(null, 3, out buffer));
        if ((int)answer["code"] != 0) return answer;
        var info = (Modals3)Marshal.PtrToStructure(buffer, typeof(Modals3));
        answer["window_s"] = (long)info.Window;
        answer["threshold"] = (long)info.Threshold;
        NetApiBufferFree(buffer);
        return answer;
    }

    /// name, sid, flags (UF_*), password_age_s, password_expired, bad_count, expires (Unix seconds; -1: never)
    public static Hashtable User(string user)
    {
        IntPtr buffer;
        var answer = Code(NetUserGetInfo(null, user, 4, out buffer));
        if ((int)answer["code"] != 0) return answer;
        var info = (User4)Marshal.PtrToStructure(buffer, typeof(User4));
        answer["name"] = Text(info.Name);
        answer["sid"] = SidText(info.Sid);
        answer["flags"] = (long)info.Flags;
        answer["password_age_s"] = (long)info.PasswordAge;
        answer["password_expired"] = info.PasswordExpired != 0;
        answer["bad_count"] = (long)info.BadCount;
        answer["expires"] = info.Expires == 0xFFFFFFFF ? -1L : (long)info.Expires;
        NetApiBufferFree(buffer);
        return answer;
    }

    /// The computer's name is given: without it Windows would look in the domain of the caller.
    public static int ChangePassword(string computer, string user, SecureString old, SecureString value)
    {
        IntPtr first = Marshal.SecureStringToGlobalAllocUnicode(old), second = Marshal.SecureStringToGlobalAllocUnicode(value);
        try { return NetUserChangePassword(computer, user, first, second); }
        finally { Marshal.ZeroFreeGlobalAllocUnicode(first); Marshal.ZeroFreeGlobalAllocUnicode(second); }
    }

    public static int ResetPassword(string user, SecureString value)
    {
        IntPtr text = Marshal.SecureStringToGlobalAllocUnicode(value), info = text;
        try { return NetUserSetInfo(null, user, 1003, ref info, IntPtr.Zero); }
        finally { Marshal.ZeroFreeGlobalAllocUnicode(text); }
    }

    /// Writes the account's flags back without UF_LOCKOUT; nothing else of it changes.
    public static int Unlock(string user, long flags)
    {
        var info = new IntPtr((int)(flags & ~0x10));
        return NetUserSetInfo(null, user, 1008, ref info, IntPtr.Zero);
    }

    // ---- logons -----------------------------------------------------------------------------------------------
    [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
    static extern bool LogonUserW(string user, string domain, IntPtr password, int type, int provider, out IntPtr token);
    [DllImport("advapi32.dll", SetLastError = true)]
    static extern bool GetTokenInformation(IntPtr token, int kind, IntPtr buffer, int size, out int needed);
    [DllImport("kernel32.dll")]
    static extern bool CloseHandle(IntPtr handle);

    /// code, sid of the token that came back
    public static Hashtable Logon(string user, string domain, SecureString value, int type)
    {
        IntPtr text = Marshal.SecureStringToGlobalAllocUnicode(value), token, buffer = Marshal.AllocHGlobal(256);
        try
        {
            bool done = LogonUserW(user, domain, text, type, 0, out token);
            var answer = Code(done ? 0 : Marshal.GetLastWin32Error());
            answer["sid"] = "";
            if (!done) return answer;
            int needed;
            if (GetTokenInformation(token, 1, buffer, 256, out needed)) answer["sid"] = SidText(Marshal.ReadIntPtr(buffer));
            CloseHandle(token);
            return answer;
        }
        finally { Marshal.ZeroFreeGlobalAllocUnicode(text); Marshal.FreeHGlobal(buffer); }
    }

    // ---- names, SIDs, rights ----------------------------------------------------------------------------------
    [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
    static extern bool LookupAccountNameW(string system, string name, byte[] sid, ref int sidSize, StringBuilder domain, ref int domainSize, out int use);
    [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
    static extern bool LookupAccountSidW(string system, byte[] sid, StringBuilder name, ref int nameSize, StringBuilder domain, ref int domainSize, out int use);
    [DllImport("advapi32.dll")]
    static extern uint LsaOpenPolicy(IntPtr system, ref LsaAttributes attributes, uint access, out IntPtr policy);
    [DllImport("advapi32.dll")]
    static extern uint LsaEnumerateAccountRights(IntPtr policy, byte[] sid, out IntPtr rights, out int count);
    [DllImport("advapi32.dll")]
    static extern int LsaNtStatusToWinError(uint status);
    [DllImport("advapi32.dll")]
    static extern uint LsaFreeMemory(IntPtr buffer);
    [DllImport("advapi32.dll")]
    static extern uint LsaClose(IntPtr policy);

    [StructLayout(LayoutKind.Sequential)]
    struct LsaAttributes { public int Length; public IntPtr Root, Name; public uint Attributes; public IntPtr Descriptor, Quality; }
    [StructLayout(LayoutKind.Sequential)]
    struct LsaString { public ushort Length, Most; public IntPtr Buffer; }

    /// sid
    public static Hashtable FindSid(string name)
    {
        var sid = new byte[68];
        var domain = new StringBuilder(260);
        int sidSize = sid.Length, domainSize = domain.Capacity, use;
        bool found = LookupAccountNameW(null, name, sid, ref sidSize, domain, ref domainSize, out use);
        var answer = Code(found ? 0 : Marshal.GetLastWin32Error());
        answer["sid"] = "";
        if (!found) return answer;
        GCHandle pin = GCHandle.Alloc(sid, GCHandleType.Pinned);
        answer["sid"] = SidText(pin.AddrOfPinnedObject());
        pin.Free();
        return answer;
    }

    /// name as DOMAIN\user, user
    public static Hashtable FindName(string sid)
    {
        StringBuilder name = new StringBuilder(260), domain = new StringBuilder(260);
        int nameSize = name.Capacity, domainSize = domain.Capacity, use;
        bool found = LookupAccountSidW(null, SidBytes(sid), name, ref nameSize, domain, ref domainSize, out use);
        var answer = Code(found ? 0 : Marshal.GetLastWin32Error());
        answer["user"] = found ? name.ToString() : "";
        answer["name"] = found ? domain + "\\" + name : "";
        return answer;
    }

    [DllImport("authz.dll", SetLastError = true)]
    static extern bool AuthzInitializeResourceManager(uint flags, IntPtr access, IntPtr compute, IntPtr free, IntPtr name, out IntPtr manager);
    [DllImport("authz.dll", SetLastError = true)]
    static extern bool AuthzInitializeContextFromSid(uint flags, byte[] sid, IntPtr manager, IntPtr expires, long identifier, IntPtr arguments, out IntPtr context);
    [DllImport("authz.dll", SetLastError = true)]
    static extern bool AuthzGetInformationFromContext(IntPtr context, int kind, int size, out int needed, IntPtr buffer);
    [DllImport("authz.dll")]
    static extern bool AuthzFreeContext(IntPtr context);
    [DllImport("authz.dll")]
    static extern bool AuthzFreeResourceManager(IntPtr manager);

    /// groups: SIDs of the groups in the token that a logon of this account would get, those of its domain included; no
    /// password is needed. What only the kind of a logon adds is not in it.
    public static Hashtable TokenGroups(string sid)
    {
        IntPtr manager, context = IntPtr.Zero, buffer = IntPtr.Zero;
        var none = new string[0];
        if (!AuthzInitializeResourceManager(1, IntPtr.Zero, IntPtr.Zero, IntPtr.Zero, IntPtr.Zero, out manager))
            return Groups(Marshal.GetLastWin32Error(), none);
        try
        {
            if (!AuthzInitializeContextFromSid(0, SidBytes(sid), manager, IntPtr.Zero, 0, IntPtr.Zero, out context))
                return Groups(Marshal.GetLastWin32Error(), none);
            int needed;
            AuthzGetInformationFromContext(context, 2, 0, out needed, IntPtr.Zero);
            buffer = Marshal.AllocHGlobal(Math.Max(needed, IntPtr.Size));
            if (!AuthzGetInformationFromContext(context, 2, needed, out needed, buffer))
                return Groups(Marshal.GetLastWin32Error(), none);
            var groups = new string[Marshal.ReadInt32(buffer)];
            for (int i = 0; i < groups.Length; i++) groups[i] = SidText(Marshal.ReadIntPtr(buffer, IntPtr.Size * (1 + 2 * i)));
            return Groups(0, groups);
        }
        finally
        {
            if (buffer != IntPtr.Zero) Marshal.FreeHGlobal(buffer);
            if (context != IntPtr.Zero) AuthzFreeContext(context);
            AuthzFreeResourceManager(manager);
        }
    }

    static Hashtable Groups(int code, string[] groups)
    {
        var answer = Code(code);
        answer["groups"] = groups;
        return answer;
    }

    /// rights given to this very SID; code 2: none
    public static Hashtable Rights(string sid)
    {
        var attributes = new LsaAttributes();
        attributes.Length = Marshal.SizeOf(typeof(LsaAttributes));
        IntPtr policy, rights;
        int count;
        uint status = LsaOpenPolicy(IntPtr.Zero, ref attributes, 0x800, out policy);
        if (status != 0) return Code(LsaNtStatusToWinError(status));
        status = LsaEnumerateAccountRights(policy, SidBytes(sid), out rights, out count);
        var answer = Code(status == 0 ? 0 : LsaNtStatusToWinError(status));
        var names = new string[status == 0 ? count : 0];
        for (int i = 0; i < names.Length; i++)
        {
            var at = new IntPtr(rights.ToInt64() + i * Marshal.SizeOf(typeof(LsaString)));
            var one = (LsaString)Marshal.PtrToStructure(at, typeof(LsaString));
            names[i] = Marshal.PtrToStringUni(one.Buffer, one.Length / 2);
        }
        if (status == 0) LsaFreeMemory(rights);
        LsaClose(policy);
        answer["rights"] = names;
        return answer;
    }

    // ---- the registry -----------------------------------------------------------------------------------------
    [DllImport("advapi32.dll", CharSet = CharSet.Unicode)]
    static extern int RegOpenKeyExW(IntPtr root, string key, int options, int access, out IntPtr handle);
    [DllImport("advapi32.dll", CharSet = CharSet.Unicode)]
    static extern int RegEnumKeyExW(IntPtr key, int index, StringBuilder name, ref int size, IntPtr reserved, IntPtr kind, IntPtr kindSize, IntPtr time);
    [DllImport("advapi32.dll", CharSet = CharSet.Unicode)]
    static extern int RegGetValueW(IntPtr root, string key, string value, int flags, IntPtr type, StringBuilder data, ref int size);
    [DllImport("advapi32.dll")]
    static extern int RegCloseKey(IntPtr key);
    [DllImport("advapi32.dll", CharSet = CharSet.Unicode)]
    static extern int RegQueryInfoKeyW(IntPtr key, IntPtr kind, IntPtr kindSize, IntPtr reserved, IntPtr keys, IntPtr longestKey, IntPtr longestKind, out int values, IntPtr longestName, IntPtr longestValue, IntPtr security, IntPtr time);
    [DllImport("advapi32.dll", CharSet = CharSet.Unicode, EntryPoint = "RegGetValueW")]
    static extern int RegGetNumberW(IntPtr root, string key, string value, int flags, IntPtr type, out uint data, ref int size);

    static readonly IntPtr LocalMachine = new IntPtr(unchecked((int)0x80000002));

    public static bool KeyExists(string key)
    {
        IntPtr handle;
        if (RegOpenKeyExW(LocalMachine, key, 0, 0x20119, out handle) != 0) return false;
        RegCloseKey(handle);
        return true;
    }

    /// How many values a key has; 0 when it is not there.
    public static int KeyValues(string key)
    {
        IntPtr handle;
        if (RegOpenKeyExW(LocalMachine, key, 0, 0x20119, out handle) != 0) return 0;
        int values, code = RegQueryInfoKeyW(handle, IntPtr.Zero, IntPtr.Zero, IntPtr.Zero, IntPtr.Zero, IntPtr.Zero, IntPtr.Zero, out values, IntPtr.Zero, IntPtr.Zero, IntPtr.Zero, IntPtr.Zero);
        RegCloseKey(handle);
        return code == 0 ? values : 0;
    }

    public static string[] SubKeys(string key)
    {
        var names = new ArrayList();
        IntPtr handle;
        if (RegOpenKeyExW(LocalMachine, key, 0, 0x20119, out handle) != 0) return new string[0];
        var name = new StringBuilder(256);
        for (int size = name.Capacity; RegEnumKeyExW(handle, names.Count, name, ref size, IntPtr.Zero, IntPtr.Zero, IntPtr.Zero, IntPtr.Zero) == 0; size = name.Capacity)
            names.Add(name.ToString());
        RegCloseKey(handle);
        return (string[])names.ToArray(typeof(string));
    }

    public static string KeyText(string key, string value)
    {
        var data = new StringBuilder(512);
        int size = data.Capacity * 2;
        return RegGetValueW(LocalMachine, key, value, 0x10002, IntPtr.Zero, data, ref size) == 0 ? data.ToString() : "";
    }

    /// -1: not there
    public static long KeyNumber(string key, string value)
    {
        uint data;
        int size = 4;
        return RegGetNumberW(LocalMachine, key, value, 0x10010, IntPtr.Zero, out data, ref size) == 0 ? data : -1L;
    }

    // ---- shared -----------------------------------------------------------------------------------------------
    static Hashtable Code(int code)
    {
        var answer = new Hashtable();
        answer["code"] = code;
        return answer;
    }

    static string Text(IntPtr text) { return text == IntPtr.Zero ? "" : Marshal.PtrToStringUni(text); }

    static string SidText(IntPtr sid)
    {
        if (sid == IntPtr.Zero) return "";
        long authority = 0;
        for (int i = 2; i < 8; i++) authority = authority << 8 | Marshal.ReadByte(sid, i);
        var text = new StringBuilder("S-" + Marshal.ReadByte(sid, 0) + "-" + authority);
        for (int i = 0; i < Marshal.ReadByte(sid, 1); i++) text.Append("-" + (uint)Marshal.ReadInt32(sid, 8 + 4 * i));
        return text.ToString();
    }

    static byte[] SidBytes(string sid)
    {
        string[] parts = sid.Split('-');
        var bytes = new byte[8 + 4 * (parts.Length - 3)];
        bytes[0] = byte.Parse(parts[1]);
        bytes[1] = (byte)(parts.Length - 3);
        long authority = long.Parse(parts[2]);
        for (int i = 0; i < 6; i++) bytes[7 - i] = (byte)(authority >> (8 * i));
        for (int i = 3; i < parts.Length; i++) BitConverter.GetBytes(uint.Parse(parts[i])).CopyTo(bytes, 8 + 4 * (i - 3));
        return bytes;
    }
}
