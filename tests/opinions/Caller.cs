using System;
using System.Collections;
using System.Collections.Generic;
using System.IO;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Security;
using System.Text;
using System.Threading;

/// Calls the shipped helpers by name. One line on standard input is one call: `Class.Method`, then the arguments in
/// base64, separated by tabs. One line of JSON is the answer. Methods are found by reflection, so helpers may grow.
/// With the argument `service` the same program is the service that the calls are tried on.
public static class Caller
{
    public static int Main(string[] arguments)
    {
        if (arguments.Length == 1 && arguments[0] == "service") return Service.Run();
        Console.WriteLine("{\"clr\":" + Json(Environment.Version.ToString()) + ",\"system\":" + Json(Environment.OSVersion.ToString()) + "}");
        for (string line = Console.In.ReadLine(); line != null; line = Console.In.ReadLine()) Console.WriteLine(Answer(line.Split('\t')));
        return 0;
    }

    static string Answer(string[] line)
    {
        try { return "{\"answer\":" + Json(Call(line)) + "}"; }
        catch (Exception error) { return "{\"raised\":" + Json(error.GetBaseException().GetType().Name + ": " + error.GetBaseException().Message) + "}"; }
    }

    static object Call(string[] line)
    {
        string[] name = line[0].Split('.');
        Type type = Assembly.GetExecutingAssembly().GetType(name[0], true);
        foreach (MethodInfo method in type.GetMethods(BindingFlags.Public | BindingFlags.Static))
        {
            ParameterInfo[] wanted = method.GetParameters();
            if (method.Name != name[1] || wanted.Length != line.Length - 1) continue;
            var given = new object[wanted.Length];
            for (int i = 0; i < given.Length; i++) given[i] = Argument(Convert.FromBase64String(line[i + 1]), wanted[i].ParameterType);
            return method.Invoke(null, given);
        }
        throw new MissingMethodException(line[0] + " with " + (line.Length - 1) + " arguments");
    }

    static object Argument(byte[] raw, Type type)
    {
        if (type == typeof(byte[])) return raw;
        string text = Encoding.UTF8.GetString(raw);
        if (type == typeof(string[])) return text.Split('\n');
        if (type != typeof(SecureString)) return Convert.ChangeType(text, type);
        var secure = new SecureString();
        foreach (char one in text) secure.AppendChar(one);
        return secure;
    }

    static string Json(object value)
    {
        if (value == null) return "null";
        if (value is bool) return (bool)value ? "true" : "false";
        if (value is string) return Quoted((string)value);
        var table = value as IDictionary;
        if (table != null)
        {
            var pairs = new List<string>();
            foreach (DictionaryEntry pair in table) pairs.Add(Json(pair.Key) + ":" + Json(pair.Value));
            return "{" + string.Join(",", pairs.ToArray()) + "}";
        }
        var list = value as IEnumerable;
        if (list == null) return Convert.ToString(value, System.Globalization.CultureInfo.InvariantCulture);
        var items = new List<string>();
        foreach (object item in list) items.Add(Json(item));
        return "[" + string.Join(",", items.ToArray()) + "]";
    }

    static string Quoted(string text)
    {
        var written = new StringBuilder("\"");
        foreach (char one in text) written.Append(one < 32 || one > 126 || one == '"' || one == '\\' ? "\\u" + ((int)one).ToString("x4") : one.ToString());
        return written.Append('"').ToString();
    }
}

/// A service that starts, runs until it is stopped, and does nothing else.
static class Service
{
    [UnmanagedFunctionPointer(CallingConvention.Winapi)]
    delegate void Main(int count, IntPtr arguments);
    [UnmanagedFunctionPointer(CallingConvention.Winapi)]
    delegate int Control(int control, int kind, IntPtr data, IntPtr context);
    [StructLayout(LayoutKind.Sequential)]
    struct Entry { public IntPtr Name; public Main Main; public IntPtr LastName, LastMain; }
    [StructLayout(LayoutKind.Sequential)]
    struct Status { public int Type, State, Accepted, ExitCode, SpecificCode, CheckPoint, WaitHint; }
    [DllImport("advapi32.dll")]
    static extern bool StartServiceCtrlDispatcherW(ref Entry table);
    [DllImport("advapi32.dll", CharSet = CharSet.Unicode)]
    static extern IntPtr RegisterServiceCtrlHandlerExW(string name, Control handler, IntPtr context);
    [DllImport("advapi32.dll")]
    static extern bool SetServiceStatus(IntPtr handle, ref Status status);

    const int Stopped = 1, StopPending = 3, Running = 4, OwnProcess = 0x10, AcceptsStop = 1;
    static readonly ManualResetEvent stop = new ManualResetEvent(false);
    static readonly Main main = Work;
    static readonly Control control = Handle;
    static IntPtr handle;

    public static int Run()
    {
        var table = new Entry { Name = Marshal.StringToHGlobalUni(""), Main = main };
        return StartServiceCtrlDispatcherW(ref table) ? 0 : 1;
    }

    static void Work(int count, IntPtr arguments)
    {
        handle = RegisterServiceCtrlHandlerExW(Marshal.PtrToStringUni(Marshal.ReadIntPtr(arguments)), control, IntPtr.Zero);
        Report(Running);
        stop.WaitOne();
        Report(Stopped);
    }

    static int Handle(int code, int kind, IntPtr data, IntPtr context)
    {
        if (code != 1) return code == 4 ? 0 : 120; // interrogate is answered, what else comes is not implemented
        Report(StopPending);
        stop.Set();
        return 0;
    }

    static void Report(int state)
    {
        var status = new Status { Type = OwnProcess, State = state, Accepted = state == Running ? AcceptsStop : 0 };
        SetServiceStatus(handle, ref status);
    }
}
