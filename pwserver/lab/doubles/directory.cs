
// The part of System.DirectoryServices.Protocols that the domain helper uses, as the practice lab answers it. It is put
// behind the helper's own text, which stays as it is.
namespace System.DirectoryServices.Protocols
{
    public enum AuthType { Kerberos = 9 }
    public enum SearchScope { Base, OneLevel, Subtree }
    public enum ReferralChasingOptions { None }
    public enum SecurityMasks { Dacl = 4 }
    public enum DirectoryAttributeOperation { Add, Delete, Replace }
    public enum ResultCode { Success = 0, InsufficientAccessRights = 50 }

    /// The lab's socket, lent by the PowerShell doubles.
    public static class Lab { public static Func<string, Hashtable, object> Ask; }

    public class LdapException : Exception { public int ErrorCode; public LdapException(int code) { ErrorCode = code; } }
    public class DirectoryResponse { public ResultCode ResultCode; public string ErrorMessage; }
    public class DirectoryOperationException : Exception { public DirectoryResponse Response; }

    public class DirectoryAttributeModification
    {
        public string Name; public DirectoryAttributeOperation Operation; internal byte[] value;
        public void Add(byte[] value) { this.value = value; }
    }
    public class ModifyRequest
    {
        internal string entry; internal DirectoryAttributeModification[] changes;
        public ModifyRequest(string entry, params DirectoryAttributeModification[] changes) { this.entry = entry; this.changes = changes; }
    }
    public class SecurityDescriptorFlagControl { public SecurityDescriptorFlagControl(SecurityMasks masks) { } }
    public class SearchRequest
    {
        internal string at, filter; internal SearchScope scope; internal string[] names;
        public ArrayList Controls = new ArrayList();
        public SearchRequest(string at, string filter, SearchScope scope, params string[] names) { this.at = at; this.filter = filter; this.scope = scope; this.names = names; }
    }
    public class DirectoryAttribute
    {
        internal List<byte[]> values = new List<byte[]>();
        public object[] GetValues(Type type)
        {
            // as the real one: an array of the type that was asked for
            if (type == typeof(byte[])) return values.ToArray();
            return values.ConvertAll<string>(Encoding.UTF8.GetString).ToArray();
        }
    }
    public class Attributes
    {
        internal Dictionary<string, DirectoryAttribute> all = new Dictionary<string, DirectoryAttribute>();
        public ICollection AttributeNames { get { return all.Keys; } }
        public DirectoryAttribute this[string name] { get { return all[name]; } }
    }
    public class SearchResultEntry { public string DistinguishedName; public Attributes Attributes = new Attributes(); }
    public class SearchResponse : DirectoryResponse { public List<SearchResultEntry> Entries = new List<SearchResultEntry>(); }

    public class LdapDirectoryIdentifier
    {
        internal string server;
        public LdapDirectoryIdentifier(string server, int port, bool qualified, bool connectionless) { this.server = server; }
    }
    public class LdapSessionOptions { public int ProtocolVersion; public bool Signing, Sealing; public ReferralChasingOptions ReferralChasing; }
    public class LdapConnection : IDisposable
    {
        readonly string server; readonly NetworkCredential credential; readonly AuthType how; object session;
        public bool AutoBind; public TimeSpan Timeout; public LdapSessionOptions SessionOptions = new LdapSessionOptions();
        public LdapConnection(LdapDirectoryIdentifier identifier, NetworkCredential credential, AuthType how) { server = identifier.server; this.credential = credential; this.how = how; }

        public void Bind()
        {
            if (how != AuthType.Kerberos || !SessionOptions.Sealing) throw new LdapException(82);
            string user = credential.Domain == "" ? credential.UserName : credential.Domain + "\\" + credential.UserName;
            session = Asked("LdapBind", "server", server, "user", user, "password", credential.Password)["session"];
        }

        public DirectoryResponse SendRequest(SearchRequest request)
        {
            var told = Asked("LdapSearch", "session", session, "base", request.at ?? "", "below", request.scope == SearchScope.Subtree, "filter", request.filter, "names", request.names, "dacl", request.Controls.Count > 0);
            var response = new SearchResponse();
            foreach (IDictionary each in (IEnumerable)told["entries"])
            {
                var entry = new SearchResultEntry { DistinguishedName = (string)each["dn"] };
                foreach (DictionaryEntry one in (IDictionary)each["attributes"])
                {
                    var attribute = entry.Attributes.all[(string)one.Key] = new DirectoryAttribute();
                    foreach (string value in (IEnumerable)one.Value) attribute.values.Add(Convert.FromBase64String(value));
                }
                response.Entries.Add(entry);
            }
            return response;
        }

        public DirectoryResponse SendRequest(ModifyRequest request)
        {
            var changes = new ArrayList();
            foreach (var change in request.changes)
                changes.Add(Named("op", change.Operation.ToString().ToLowerInvariant(), "name", change.Name, "value", Convert.ToBase64String(change.value)));
            Asked("LdapModify", "session", session, "dn", request.entry, "changes", changes.ToArray());
            return new DirectoryResponse();
        }

        public void Dispose() { }

        static Hashtable Named(params object[] pairs)
        {
            var named = new Hashtable();
            for (int i = 0; i < pairs.Length; i += 2) named[pairs[i]] = pairs[i + 1];
            return named;
        }

        static IDictionary Asked(string name, params object[] pairs)
        {
            var told = (IDictionary)Lab.Ask(name, Named(pairs));
            int code = Convert.ToInt32(told["code"]);
            if (code == 0) return told;
            if (code >= 80 || name == "LdapBind") throw new LdapException(code);
            throw new DirectoryOperationException { Response = new DirectoryResponse { ResultCode = (ResultCode)code, ErrorMessage = told.Contains("message") ? told["message"] as string : "" } };
        }
    }
}
