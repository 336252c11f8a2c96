using System;
using System.Collections;
using System.Collections.Generic;
using System.Globalization;
using System.Text.Json;

/// .NET Framework's JavaScriptSerializer for engines on newer .NET, which lack it: the two calls that the scripts use,
/// with its types: Dictionary of string and object, object[], string, int, long, decimal, bool, null.
namespace System.Web.Script.Serialization
{
    public class JavaScriptSerializer
    {
        public object DeserializeObject(string input)
        {
            using (JsonDocument document = JsonDocument.Parse(input)) return Plain(document.RootElement);
        }

        static object Plain(JsonElement item)
        {
            int small;
            long large;
            switch (item.ValueKind)
            {
                case JsonValueKind.Object:
                    var named = new Dictionary<string, object>();
                    foreach (JsonProperty one in item.EnumerateObject()) named[one.Name] = Plain(one.Value);
                    return named;
                case JsonValueKind.Array:
                    var list = new List<object>();
                    foreach (JsonElement one in item.EnumerateArray()) list.Add(Plain(one));
                    return list.ToArray();
                case JsonValueKind.Number:
                    if (item.TryGetInt32(out small)) return small;
                    if (item.TryGetInt64(out large)) return large;
                    return item.GetDecimal();
                case JsonValueKind.True: return true;
                case JsonValueKind.False: return false;
                case JsonValueKind.Null: return null;
                default: return item.GetString();
            }
        }

        public string Serialize(object item)
        {
            var wrapped = item as System.Management.Automation.PSObject;
            if (wrapped != null) item = wrapped.BaseObject;
            if (item == null) return "null";
            if (item is bool) return (bool)item ? "true" : "false";
            var named = item as IDictionary;
            if (named != null)
            {
                var parts = new List<string>();
                foreach (DictionaryEntry one in named) parts.Add(JsonSerializer.Serialize((string)one.Key) + ":" + Serialize(one.Value));
                return "{" + string.Join(",", parts) + "}";
            }
            if (item is string || item is char) return JsonSerializer.Serialize(item.ToString());
            var list = item as IEnumerable;
            if (list != null)
            {
                var parts = new List<string>();
                foreach (object one in list) parts.Add(Serialize(one));
                return "[" + string.Join(",", parts) + "]";
            }
            return Convert.ToString(item, CultureInfo.InvariantCulture);
        }
    }
}
