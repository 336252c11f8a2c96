using System;
using System.Collections;
using System.Runtime.InteropServices;
using System.Security;
using System.Text;
#pragma warning disable 0649 // fields of structures that Windows fills in; Add-Type takes warnings for errors

/// The service manager. Added only by the scripts that need it. C# 5; codes are Windows' own; nothing throws.
public static class PsrvService
{
    [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
    static extern IntPtr OpenSCManagerW(string machine, string database, uint access);
    [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
    static extern IntPtr OpenServiceW(IntPtr manager, string name, uint access);
    [DllImport("advapi32.dll")]
    static extern bool CloseServiceHandle(IntPtr handle);
    [DllImport("advapi32.dll", SetLastError = true)]
    static extern bool QueryServiceConfigW(IntPtr service, IntPtr buffer, int size, out int needed);
    [DllImport("advapi32.dll", SetLastError = true)]
    static extern bool QueryServiceStatusEx(IntPtr service, int level, IntPtr buffer, int size, out int needed);
    [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
    static extern bool GetServiceKeyNameW(IntPtr manager, string display, StringBuilder name, ref int size);
    [DllImport("advapi32.dll", SetLastError = true)]
    static extern bool EnumDependentServicesW(IntPtr service, int state, IntPtr buffer, int size, out int needed, out int count);
    [DllImport("advapi32.dll", CharSet = CharSet.Unicode, SetLastError = true)]
    static extern bool ChangeServiceConfigW(IntPtr service, uint type, uint start, uint control, string path, string group, IntPtr tag, string dependencies, string account, IntPtr password, string display);
    [DllImport("advapi32.dll", SetLastError = true)]
    static extern bool ControlService(IntPtr service, int control, IntPtr status);
    [DllImport("advapi32.dll", SetLastError = true)]
    static extern bool StartServiceW(IntPtr service, int count, IntPtr arguments);
    [DllImport("kernel32.dll", SetLastError = true)]
    static extern IntPtr OpenProcess(int access, bool inherit, int process);
    [DllImport("kernel32.dll", SetLastError = true)]
    static extern bool GetProcessTimes(IntPtr process, out long created, out long ended, out long kernel, out long user);
    [DllImport("kernel32.dll")]
    static extern bool CloseHandle(IntPtr handle);
    [DllImport("kernel32.dll", EntryPoint = "Sleep")]
    static extern void SleepFor(uint milliseconds);
    [DllImport("kernel32.dll")]
    static extern ulong GetTickCount64();

    [StructLayout(LayoutKind.Sequential)]
    struct Config { public uint Type, Start, Control; public IntPtr Path, Group; public uint Tag; public IntPtr Dependencies, Account, Display; }
    [StructLayout(LayoutKind.Sequential)]
    struct Status { public uint Type, State, Accepted, ExitCode, SpecificCode, CheckPoint, WaitHint, Process, Flags; }
    [StructLayout(LayoutKind.Sequential)]
    struct Dependent { public IntPtr Name, Display; public uint Type, State, Accepted, ExitCode, SpecificCode, CheckPoint, WaitHint; }

    const uint NoChange = 0xFFFFFFFF;
    const int Room = 65536;

    delegate int Work(IntPtr service, IntPtr buffer);

    /// Opens, works, closes; the code of whatever failed first.
    static int With(string name, uint access, Work work)
    {
        IntPtr manager = OpenSCManagerW(null, null, 1);
        if (manager == IntPtr.Zero) return Marshal.GetLastWin32Error();
        IntPtr service = OpenServiceW(manager, name, access), buffer = Marshal.AllocHGlobal(Room);
        try
        {
            if (service == IntPtr.Zero) return Marshal.GetLastWin32Error();
            return work(service, buffer);
        }
        finally
        {
            Marshal.FreeHGlobal(buffer);
            if (service != IntPtr.Zero) CloseServiceHandle(service);
            CloseServiceHandle(manager);
        }
    }

    static int Done(bool good) { return good ? 0 : Marshal.GetLastWin32Error(); }

    /// The machine's time since its start, in milliseconds: setting the clock does not move it.
    public static long Uptime() { return (long)GetTickCount64(); }

    /// Waits so many milliseconds by the same time.
    public static void Wait(long milliseconds) { SleepFor((uint)milliseconds); }

    /// code, state (1 stopped, 2 starting, 3 stopping, 4 running .. 7 paused), exit_code, wait_hint (milliseconds)
    public static Hashtable State(string name)
    {
        var answer = new Hashtable();
        answer["state"] = 0;
        answer["code"] = With(name, 0x4, (service, buffer) =>
        {
            int needed;
            if (!QueryServiceStatusEx(service, 0, buffer, Room, out needed)) return Marshal.GetLastWin32Error();
            var status = (Status)Marshal.PtrToStructure(buffer, typeof(Status));
            answer["state"] = (int)status.State;
            answer["exit_code"] = (long)status.ExitCode;
            answer["wait_hint"] = (long)status.WaitHint;
            return 0;
        });
        return answer;
    }

    /// The names in a list that ends with an empty one.
    static string[] Names(IntPtr list)
    {
        var names = new ArrayList();
        while (list != IntPtr.Zero)
        {
            string name = Marshal.PtrToStringUni(list);
            if (name.Length == 0) break;
            names.Add(name);
            list = new IntPtr(list.ToInt64() + 2 * (name.Length + 1));
        }
        return (string[])names.ToArray(typeof(string));
    }

    /// code, account, start_type (2 automatic, 3 manual, 4 disabled), needs (what it depends on; a group begins with +),
    /// state (as State), exit_code, process, dependents (running, in the order to stop)
    public static Hashtable Read(string name)
    {
        var answer = new Hashtable();
        var names = new ArrayList();
        answer["code"] = With(name, 0x1 | 0x4 | 0x8, (service, buffer) =>
        {
            int needed, count;
            if (!QueryServiceConfigW(service, buffer, 8192, out needed)) return Marshal.GetLastWin32Error();
            var config = (Config)Marshal.PtrToStructure(buffer, typeof(Config));
            answer["account"] = config.Account == IntPtr.Zero ? "" : Marshal.PtrToStringUni(config.Account);
            answer["start_type"] = (int)config.Start;
            answer["needs"] = Names(config.Dependencies);
            if (!QueryServiceStatusEx(service, 0, buffer, Room, out needed)) return Marshal.GetLastWin32Error();
            var status = (Status)Marshal.PtrToStructure(buffer, typeof(Status));
            answer["state"] = (int)status.State;
            answer["exit_code"] = (long)status.ExitCode;
            answer["process"] = (int)status.Process;
            if (!EnumDependentServicesW(service, 1, buffer, Room, out needed, out count)) return Marshal.GetLastWin32Error();
            for (int i = 0; i < count; i++)
            {
                var at = new IntPtr(buffer.ToInt64() + i * Marshal.SizeOf(typeof(Dependent)));
                names.Add(Marshal.PtrToStringUni(((Dependent)Marshal.PtrToStructure(at, typeof(Dependent))).Name));
            }
            return 0;
        });
        answer["dependents"] = names.ToArray(typeof(string));
        return answer;
    }

    /// When the process was started: ticks of DateTime, UTC; 0: not known.
    public static long StartedAt(int process)
    {
        IntPtr handle = process == 0 ? IntPtr.Zero : OpenProcess(0x1000, false, process);
        if (handle == IntPtr.Zero) return 0;
        long created, ended, kernel, user;
        bool known = GetProcessTimes(handle, out created, out ended, out kernel, out user);
        CloseHandle(handle);
        return known ? DateTime.FromFileTimeUtc(created).Ticks : 0;
    }

    /// The name that belongs to a display name, or "".
    public static string NameOf(string display)
    {
        IntPtr manager = OpenSCManagerW(null, null, 1);
        if (manager == IntPtr.Zero) return "";
        var name = new StringBuilder(260);
        int size = name.Capacity;
        bool found = GetServiceKeyNameW(manager, display, name, ref size);
        CloseServiceHandle(manager);
        return found ? name.ToString() : "";
    }

    /// Stores the value. Everything else stays: the account is the one that was read, given because Windows asks for it.
    public static int SetPassword(string name, string account, SecureString value)
    {
        IntPtr text = Marshal.SecureStringToGlobalAllocUnicode(value);
        try
        {
            return With(name, 0x2, (service, buffer) =>
                Done(ChangeServiceConfigW(service, NoChange, NoChange, NoChange, null, null, IntPtr.Zero, null, account, text, null)));
        }
        finally { Marshal.ZeroFreeGlobalAllocUnicode(text); }
    }

    public static int Stop(string name)
    {
        return With(name, 0x20, (service, buffer) => Done(ControlService(service, 1, buffer)));
    }

    public static int Start(string name)
    {
        return With(name, 0x10, (service, buffer) => Done(StartServiceW(service, 0, IntPtr.Zero)));
    }
}
