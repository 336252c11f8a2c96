using System;
using System.Collections;
using System.Collections.Generic;
using System.DirectoryServices.Protocols;
using System.Net;
using System.Runtime.InteropServices;
using System.Security;
using System.Text;
#pragma warning disable 0649 // fields of structures that Windows fills in; Add-Type takes warnings for errors

/// A domain controller over LDAP: one connection, bound by Kerberos with a login of ours, signed and sealed. C# 5.
/// Values arrive as SecureString and are wiped after the call. Codes are Windows' own where there is one, else LDAP's
/// with the bit of application codes; nothing throws.
public static class PsrvDomain
{
    const int Unknown = 0x20000000;
    static LdapConnection connection;

    [DllImport("netapi32.dll", CharSet = CharSet.Unicode)]
    static extern int DsGetDcNameW(string computer, string domain, IntPtr guid, string site, uint flags, out IntPtr info);
    [DllImport("netapi32.dll")]
    static extern int NetApiBufferFree(IntPtr buffer);

    [StructLayout(LayoutKind.Sequential)]
    struct ControllerInfo { public IntPtr Name, Address; public uint AddressType; public Guid Domain; public IntPtr DomainName; }

    /// name: the DNS name of the domain's PDC emulator, as the locator knows it; with again it asks anew
    public static Hashtable FindPdc(string domain, bool again)
    {
        IntPtr info;
        // PDC_REQUIRED, WRITABLE_REQUIRED, RETURN_DNS_NAME; FORCE_REDISCOVERY
        var answer = Code(DsGetDcNameW(null, domain, IntPtr.Zero, null, again ? 0x40001081u : 0x40001080u, out info));
        if ((int)answer["code"] != 0) return answer;
        var found = (ControllerInfo)Marshal.PtrToStructure(info, typeof(ControllerInfo));
        answer["name"] = Marshal.PtrToStringUni(found.Name).TrimStart('\\');
        NetApiBufferFree(info);
        return answer;
    }

    /// Kerberos only: a rogue name gets no login that it could use.
    public static Hashtable Open(string server, string user, SecureString password, int milliseconds)
    {
        Close();
        try
        {
            string domain = null;
            int at = user.IndexOf('\\');
            if (at > 0) { domain = user.Substring(0, at); user = user.Substring(at + 1); }
            connection = new LdapConnection(new LdapDirectoryIdentifier(server, 389, true, false), new NetworkCredential(user, password, domain), AuthType.Kerberos);
            connection.AutoBind = false;
            connection.Timeout = TimeSpan.FromMilliseconds(milliseconds);
            connection.SessionOptions.ProtocolVersion = 3;
            connection.SessionOptions.Signing = true;
            connection.SessionOptions.Sealing = true;
            connection.SessionOptions.ReferralChasing = ReferralChasingOptions.None;
            connection.Bind();
            return Code(0);
        }
        catch (LdapException error) { return Code(error.ErrorCode == 49 ? 1326 : Unknown | error.ErrorCode); }
        catch (DirectoryOperationException error) { return Failed(error); }
    }

    public static void Close()
    {
        if (connection != null) connection.Dispose();
        connection = null;
    }

    /// entries: one Hashtable each, names in small letters; objectsid as text, tokengroups as texts, the security
    /// descriptor as bytes, all else as texts. Below a base, or the base itself.
    public static Hashtable Search(string at, bool below, string filter, string[] names)
    {
        var request = new SearchRequest(at, filter, below ? SearchScope.Subtree : SearchScope.Base, names);
        if (Array.IndexOf(names, "nTSecurityDescriptor") >= 0) request.Controls.Add(new SecurityDescriptorFlagControl(SecurityMasks.Dacl));
        try
        {
            var response = (SearchResponse)connection.SendRequest(request);
            var answer = Code(0);
            var entries = new ArrayList();
            foreach (SearchResultEntry entry in response.Entries) entries.Add(Told(entry));
            answer["entries"] = entries.ToArray();
            return answer;
        }
        catch (LdapException error) { return Code(Unknown | error.ErrorCode); }
        catch (DirectoryOperationException error) { return Failed(error); }
    }

    static Hashtable Told(SearchResultEntry entry)
    {
        var told = new Hashtable();
        told["dn"] = entry.DistinguishedName;
        foreach (string name in entry.Attributes.AttributeNames)
        {
            var values = entry.Attributes[name];
            string known = name.ToLowerInvariant();
            if (known == "objectsid" || known == "tokengroups")
            {
                var sids = new List<string>();
                foreach (byte[] raw in values.GetValues(typeof(byte[]))) sids.Add(SidText(raw, 0));
                told[known] = sids.ToArray();
            }
            else if (known == "ntsecuritydescriptor") told[known] = values.GetValues(typeof(byte[]))[0];
            else told[known] = values.GetValues(typeof(string));
        }
        return told;
    }

    /// With old: a change, which the directory takes only when old is the present password. Without: a reset.
    public static Hashtable SetPassword(string entry, SecureString old, SecureString value)
    {
        byte[] before = old == null ? null : Quoted(old), after = Quoted(value);
        try
        {
            if (before == null) return Modify(entry, Change(DirectoryAttributeOperation.Replace, after));
            return Modify(entry, Change(DirectoryAttributeOperation.Delete, before), Change(DirectoryAttributeOperation.Add, after));
        }
        finally
        {
            if (before != null) Array.Clear(before, 0, before.Length);
            Array.Clear(after, 0, after.Length);
        }
    }

    public static Hashtable Unlock(string entry)
    {
        var change = new DirectoryAttributeModification { Name = "lockoutTime", Operation = DirectoryAttributeOperation.Replace };
        change.Add(Encoding.ASCII.GetBytes("0"));
        return Modify(entry, change);
    }

    static DirectoryAttributeModification Change(DirectoryAttributeOperation operation, byte[] value)
    {
        var change = new DirectoryAttributeModification { Name = "unicodePwd", Operation = operation };
        change.Add(value);
        return change;
    }

    /// 59: the line broke; what was sent may have been done.
    static Hashtable Modify(string entry, params DirectoryAttributeModification[] changes)
    {
        try
        {
            connection.SendRequest(new ModifyRequest(entry, changes));
            return Code(0);
        }
        catch (LdapException) { return Code(59); }
        catch (DirectoryOperationException error) { return Failed(error); }
    }

    /// A password as a directory takes it: in quotes, UTF-16.
    static byte[] Quoted(SecureString value)
    {
        IntPtr text = Marshal.SecureStringToGlobalAllocUnicode(value);
        try
        {
            var bytes = new byte[value.Length * 2 + 4];
            bytes[0] = 34;
            Marshal.Copy(text, bytes, 2, value.Length * 2);
            bytes[bytes.Length - 2] = 34;
            return bytes;
        }
        finally { Marshal.ZeroFreeGlobalAllocUnicode(text); }
    }

    /// Active Directory begins its message with Windows' own number: eight hexadecimal digits and a colon.
    static Hashtable Failed(DirectoryOperationException error)
    {
        if (error.Response == null) return Code(59);
        if (error.Response.ResultCode == ResultCode.InsufficientAccessRights) return Code(5);
        string said = error.Response.ErrorMessage ?? "";
        int number;
        if (said.Length > 8 && said[8] == ':' && int.TryParse(said.Substring(0, 8), System.Globalization.NumberStyles.HexNumber, null, out number) && number > 0)
            return Code(number);
        return Code(Unknown | (int)error.Response.ResultCode);
    }

    /// Whether a security descriptor grants an extended right to anyone of these SIDs. The first entry about it decides.
    public static bool Allows(byte[] descriptor, string[] sids, string right)
    {
        int list = BitConverter.ToInt32(descriptor, 16);
        // a null list grants everything, an empty one nothing; SE_DACL_PRESENT
        if (list == 0) return (BitConverter.ToUInt16(descriptor, 2) & 4) != 0;
        var wanted = new Guid(right);
        int count = BitConverter.ToUInt16(descriptor, list + 4), at = list + 8;
        for (int i = 0; i < count; i++)
        {
            int kind = descriptor[at], mask = BitConverter.ToInt32(descriptor, at + 4), sid = at + 8;
            bool about = kind == 0 || kind == 1;
            if (kind == 5 || kind == 6)
            {
                int parts = BitConverter.ToInt32(descriptor, at + 8);
                sid = at + 12;
                about = true;
                if ((parts & 1) != 0)
                {
                    var named = new byte[16];
                    Array.Copy(descriptor, sid, named, 0, 16);
                    about = new Guid(named) == wanted;
                    sid += 16;
                }
                if ((parts & 2) != 0) sid += 16;
            }
            // CONTROL_ACCESS; and not an entry that only its children inherit
            if (about && (mask & 0x100) != 0 && (descriptor[at + 1] & 8) == 0 && Array.IndexOf(sids, SidText(descriptor, sid)) >= 0)
                return kind == 0 || kind == 5;
            at += BitConverter.ToUInt16(descriptor, at + 2);
        }
        return false;
    }

    static string SidText(byte[] raw, int at)
    {
        long authority = 0;
        for (int i = 2; i < 8; i++) authority = authority << 8 | raw[at + i];
        var text = new StringBuilder("S-" + raw[at] + "-" + authority);
        for (int i = 0; i < raw[at + 1]; i++) text.Append('-').Append(BitConverter.ToUInt32(raw, at + 8 + 4 * i));
        return text.ToString();
    }

    static Hashtable Code(int code)
    {
        var answer = new Hashtable();
        answer["code"] = code;
        return answer;
    }
}
