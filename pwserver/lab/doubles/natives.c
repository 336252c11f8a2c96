/* The functions of Windows that the native helpers import, as the practice lab answers them. Built once as advapi32.dll,
 * kernel32.dll, netapi32.dll and authz.dll and found through LD_LIBRARY_PATH. Each function asks the lab's model over the Unix socket
 * named by PSRV_LAB_SOCKET: one line of JSON per call, one line of tab-separated names and values back. Nothing is freed:
 * the process lives for one operation. Windows text is UTF-16; errors go where GetLastError looks on Linux: errno. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef const uint16_t *wide;
typedef struct { char *text; size_t length, room; } Line;

static FILE *from;
static int to = -1;
static char *reply;
static size_t reply_room;

static void put(Line *l, const char *text) {
    size_t n = strlen(text);
    if (l->length + n + 1 > l->room) { l->room = (l->length + n + 1) * 2; l->text = realloc(l->text, l->room); }
    memcpy(l->text + l->length, text, n + 1);
    l->length += n;
}
static void put_wide(Line *l, wide s) {
    char unit[8];
    if (!s) { put(l, "null"); return; }
    put(l, "\"");
    for (; *s; s++) { snprintf(unit, sizeof unit, "\\u%04x", *s); put(l, unit); }
    put(l, "\"");
}
static void key(Line *l, const char *name) { put(l, l->text[l->length - 1] == '{' ? "\"" : ",\""); put(l, name); put(l, "\":"); }
static Line begin(const char *name) { Line l = {0}; put(&l, "{\"name\":\""); put(&l, name); put(&l, "\",\"args\":{"); return l; }
static void text(Line *l, const char *name, wide value) { key(l, name); put_wide(l, value); }
static void ascii(Line *l, const char *name, const char *value) { key(l, name); put(l, "\""); put(l, value); put(l, "\""); }
static void number(Line *l, const char *name, long long value) { char n[32]; key(l, name); snprintf(n, sizeof n, "%lld", value); put(l, n); }

static void ask(Line *l) {
    if (to < 0) {
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        strncpy(at.sun_path, getenv("PSRV_LAB_SOCKET"), sizeof at.sun_path - 1);
        to = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(to, (struct sockaddr *)&at, sizeof at) != 0) { perror("the lab does not answer"); _exit(70); }
        from = fdopen(dup(to), "r");
    }
    put(l, "},\"plain\":true}\n");
    for (size_t sent = 0; sent < l->length;) {
        ssize_t n = write(to, l->text + sent, l->length - sent);
        if (n <= 0) _exit(70);
        sent += n;
    }
    explicit_bzero(l->text, l->length);
    free(l->text);
    if (getline(&reply, &reply_room, from) <= 0) _exit(70);
    reply[strcspn(reply, "\n")] = 0;
}
/* A value of the last reply, in memory of its own; "" when it is null or not there. */
static char *got(const char *name) {
    size_t n = strlen(name);
    for (char *p = reply; p && *p; p = strchr(p, '\t') ? strchr(p, '\t') + 1 : 0)
        if (!strncmp(p, name, n) && p[n] == '=') return strndup(p + n + 1, strcspn(p + n + 1, "\t"));
    return strdup("");
}
static long long got_number(const char *name, long long otherwise) { char *v = got(name); return *v ? strtoll(v, 0, 10) : otherwise; }
static int code(void) { return (int)got_number("code", 0); }

static uint16_t *widen(const char *s) {
    uint16_t *out = calloc(strlen(s) + 1, 2), *o = out;
    while (*s) {
        unsigned c = (unsigned char)*s++;
        int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : c >= 0xC0 ? 1 : 0;
        c &= more == 3 ? 0x07 : more == 2 ? 0x0F : more == 1 ? 0x1F : 0x7F;
        while (more--) c = c << 6 | (*s++ & 0x3F);
        if (c > 0xFFFF) { c -= 0x10000; *o++ = 0xD800 + (c >> 10); *o++ = 0xDC00 + (c & 0x3FF); } else *o++ = c;
    }
    return out;
}
static int copy(const char *value, uint16_t *into, int *size) {
    uint16_t *w = widen(value);
    int n = 0;
    while (w[n]) n++;
    if (n + 1 > *size) { *size = n + 1; return 0; }
    memcpy(into, w, 2 * (n + 1));
    *size = n;
    return 1;
}
static uint8_t *sid_bytes(const char *s) {
    if (!*s) return 0;
    uint8_t *b = calloc(1, 68);
    char *p;
    b[0] = strtoul(s + 2, &p, 10);
    unsigned long long authority = strtoull(p + 1, &p, 10);
    for (int i = 0; i < 6; i++) b[7 - i] = authority >> (8 * i);
    while (*p == '-') { uint32_t part = strtoul(p + 1, &p, 10); memcpy(b + 8 + 4 * b[1]++, &part, 4); }
    return b;
}
static char *sid_text(const uint8_t *b) {
    char *s = malloc(256);
    unsigned long long authority = 0;
    for (int i = 2; i < 8; i++) authority = authority << 8 | b[i];
    int n = sprintf(s, "S-%u-%llu", b[0], authority);
    for (int i = 0; i < b[1]; i++) { uint32_t part; memcpy(&part, b + 8 + 4 * i, 4); n += sprintf(s + n, "-%u", part); }
    return s;
}
static int64_t filetime(const char *unix_text) { return (int64_t)((strtold(unix_text, 0) + 11644473600.0L) * 10000000.0L); }
static int good(void) { int c = code(); errno = c; return c == 0; }

/* ---- the machine ---- */
int GetComputerNameW(uint16_t *name, int *size) { Line l = begin("GetComputerNameW"); ask(&l); return copy(got("name"), name, size); }
int GetComputerNameExW(int kind, uint16_t *name, int *size) { Line l = begin("GetComputerNameExW"); number(&l, "kind", kind); ask(&l); return copy(got("name"), name, size); }
void GetSystemTimeAsFileTime(int64_t *time) { Line l = begin("GetSystemTimeAsFileTime"); ask(&l); *time = filetime(got("unix")); }
int DsRoleGetPrimaryDomainInformation(wide server, int level, void **buffer) {
    struct { int32_t role; uint32_t flags; uint16_t *flat, *dns, *forest; uint8_t guid[16]; } *info = calloc(1, sizeof *info);
    (void)server; (void)level;
    Line l = begin("DsRoleGetPrimaryDomainInformation"); ask(&l);
    info->role = got_number("role", 0);
    info->flat = widen(got("domain"));
    info->dns = widen(got("dns"));
    *buffer = info;
    return code();
}
int DsGetDcNameW(wide computer, wide domain, void *guid, wide site, uint32_t flags, void **info) {
    (void)computer; (void)guid; (void)site;
    Line l = begin("DsGetDcNameW"); text(&l, "domain", domain); number(&l, "flags", flags); ask(&l);
    if (code()) return code();
    if (!(flags & 0x480)) return 1004; /* only the PDC emulator, or one that gives tickets, is ever asked for */
    void **found = calloc(8, sizeof *found);
    char *name = got("name"), *with = malloc(strlen(name) + 3);
    sprintf(with, "\\\\%s", name);
    found[0] = widen(with); *info = found;
    return 0;
}
void DsRoleFreeMemory(void *buffer) { (void)buffer; }
void Sleep(uint32_t milliseconds) { Line l = begin("Sleep"); number(&l, "milliseconds", milliseconds); ask(&l); }
uint64_t GetTickCount64(void) { Line l = begin("GetTickCount64"); ask(&l); return got_number("milliseconds", 0); }
int CheckTokenMembership(void *token, uint8_t *sid, int *member) {
    (void)token; (void)sid;
    Line l = begin("CheckTokenMembership"); ask(&l);
    *member = got_number("admin", 0);
    return 1;
}

/* ---- accounts ---- */
int NetUserModalsGet(wide server, int level, void **buffer) {
    (void)server;
    Line l = begin("NetUserModalsGet"); number(&l, "level", level); ask(&l);
    if (code()) return code();
    if (level == 2) {
        void **info = calloc(2, sizeof *info);
        info[0] = widen(got("domain")); info[1] = sid_bytes(got("sid")); *buffer = info;
        return 0;
    }
    uint32_t *info = calloc(5, sizeof *info);
    if (level == 0) {
        info[0] = got_number("min_length", 0); info[1] = got_number("max_age_s", 0xFFFFFFFF);
        info[2] = got_number("min_age_s", 0); info[3] = 0xFFFFFFFF; info[4] = got_number("history", 0);
    } else {
        info[0] = got_number("duration_s", 0); info[1] = got_number("window_s", 0); info[2] = got_number("threshold", 0);
    }
    *buffer = info;
    return 0;
}
int NetUserGetInfo(wide server, wide user, int level, void **buffer) {
    struct {
        uint16_t *name, *password; uint32_t age, privilege; uint16_t *home, *comment; uint32_t flags; uint16_t *script;
        uint32_t auth; uint16_t *full, *user_comment, *parameters, *workstations; uint32_t last_logon, last_logoff, expires,
        storage, units; uint8_t *hours; uint32_t bad, logons; uint16_t *server; uint32_t country, page; uint8_t *sid;
        uint32_t group; uint16_t *profile, *drive; uint32_t expired;
    } *info = calloc(1, sizeof *info);
    (void)server;
    if (level != 4) return 124;
    Line l = begin("NetUserGetInfo"); text(&l, "user", user); ask(&l);
    if (code()) return code();
    info->name = widen(got("name")); info->sid = sid_bytes(got("sid")); info->flags = got_number("flags", 0);
    info->age = got_number("password_age_s", 0xFFFFFFFF); info->expired = got_number("password_expired", 0);
    info->bad = got_number("bad_count", 0); info->expires = got_number("account_expires", -1);
    *buffer = info;
    return 0;
}
int NetUserSetInfo(wide server, wide user, int level, void **info, void *parameter) {
    (void)server; (void)parameter;
    Line l = begin("NetUserSetInfo"); text(&l, "user", user); number(&l, "level", level);
    text(&l, "password", level == 1003 ? *info : 0);
    if (level == 1008) { uint32_t flags; memcpy(&flags, info, 4); number(&l, "flags", flags); } else { key(&l, "flags"); put(&l, "null"); }
    ask(&l);
    return code();
}
int NetUserChangePassword(wide domain, wide user, wide old, wide value) {
    if (!domain) return 1355; /* Windows would look in the caller's domain */
    Line l = begin("NetUserChangePassword"); text(&l, "user", user); text(&l, "old", old); text(&l, "new", value); ask(&l);
    return code();
}
int NetApiBufferFree(void *buffer) { (void)buffer; return 0; }

/* ---- logons ---- */
int LogonUserW(wide user, wide domain, wide password, int type, int provider, void **token) {
    (void)provider;
    Line l = begin("LogonUserW"); text(&l, "user", user); text(&l, "domain", domain); text(&l, "password", password);
    number(&l, "type", type); ask(&l);
    if (!good()) return 0;
    *token = sid_bytes(got("sid"));
    return 1;
}
int GetTokenInformation(void *token, int kind, void **buffer, int size, int *needed) {
    (void)kind; (void)size;
    buffer[0] = token; *needed = 16;
    return 1;
}
int CloseHandle(void *handle) { (void)handle; return 1; }

/* ---- names, SIDs, rights ---- */
int LookupAccountNameW(wide system, wide name, uint8_t *sid, int *sid_size, uint16_t *domain, int *domain_size, int *use) {
    (void)system;
    Line l = begin("LookupAccountNameW"); text(&l, "name", name); ask(&l);
    if (!good()) return 0;
    uint8_t *found = sid_bytes(got("sid"));
    *sid_size = 8 + 4 * found[1];
    memcpy(sid, found, *sid_size);
    *use = got_number("use", 1);
    return copy(got("domain"), domain, domain_size);
}
int LookupAccountSidW(wide system, uint8_t *sid, uint16_t *name, int *name_size, uint16_t *domain, int *domain_size, int *use) {
    (void)system;
    Line l = begin("LookupAccountSidW"); ascii(&l, "sid", sid_text(sid)); ask(&l);
    if (!good()) return 0;
    *use = 1;
    return copy(got("name"), name, name_size) && copy(got("domain"), domain, domain_size);
}
uint32_t LsaOpenPolicy(void *system, void *attributes, uint32_t access, void **policy) { (void)system; (void)attributes; (void)access; *policy = (void *)1; return 0; }
uint32_t LsaEnumerateAccountRights(void *policy, uint8_t *sid, void **rights, int *count) {
    struct { uint16_t length, most; uint16_t *text; } *list = calloc(64, sizeof *list);
    (void)policy;
    Line l = begin("LsaEnumerateAccountRights"); ascii(&l, "sid", sid_text(sid)); ask(&l);
    *count = 0;
    if (code()) return code() == 2 ? 0xC0000034 : 0xC0000022;
    for (char *rest = got("rights"), *one; (one = strsep(&rest, "\x1f"));)
        if (*one) { list[*count].length = list[*count].most = 2 * strlen(one); list[(*count)++].text = widen(one); }
    *rights = list;
    return 0;
}
int LsaNtStatusToWinError(uint32_t status) { return status == 0xC0000034 ? 2 : 5; }
uint32_t LsaFreeMemory(void *buffer) { (void)buffer; return 0; }
uint32_t LsaClose(void *policy) { (void)policy; return 0; }

/* ---- authorization: a context is the text of its groups ---- */
int AuthzInitializeResourceManager(uint32_t flags, void *access, void *compute, void *release, void *name, void **manager) {
    (void)flags; (void)access; (void)compute; (void)release; (void)name;
    *manager = (void *)3;
    return 1;
}
int AuthzInitializeContextFromSid(uint32_t flags, uint8_t *sid, void *manager, void *expires, int64_t identifier, void *arguments, void **context) {
    (void)manager; (void)expires; (void)identifier; (void)arguments;
    Line l = begin("AuthzInitializeContextFromSid"); number(&l, "flags", flags); ascii(&l, "sid", sid_text(sid)); ask(&l);
    *context = got("groups");
    return good();
}
int AuthzGetInformationFromContext(void *context, int kind, int size, int *needed, void *buffer) {
    struct { uint8_t *sid; uint32_t attributes; } *list;
    char *rest = strdup(context), *one;
    int count = 0;
    if (kind != 2) { errno = 87; return 0; }
    for (char *p = rest; *p; p++) if (*p == '\x1f') count++;
    *needed = sizeof(void *) + (count + 1) * sizeof *list;
    if (size < *needed) { errno = 122; return 0; }
    list = (void *)((char *)buffer + sizeof(void *));
    count = 0;
    while ((one = strsep(&rest, "\x1f"))) if (*one) { list[count].sid = sid_bytes(one); list[count++].attributes = 7; }
    memcpy(buffer, &count, sizeof count);
    return 1;
}
int AuthzFreeContext(void *context) { (void)context; return 1; }
int AuthzFreeResourceManager(void *manager) { (void)manager; return 1; }

/* ---- the registry: a key's handle is its name ---- */
int RegOpenKeyExW(void *root, wide name, int options, int access, void **handle) {
    (void)root; (void)options; (void)access;
    Line l = begin("RegOpenKeyEx"); text(&l, "key", name); ask(&l);
    uint16_t *kept = calloc(1024, 2);
    for (int i = 0; name[i] && i < 1023; i++) kept[i] = name[i];
    *handle = kept;
    return code();
}
int RegEnumKeyExW(void *handle, int index, uint16_t *name, int *size, void *a, void *b, void *c, void *d) {
    (void)a; (void)b; (void)c; (void)d;
    Line l = begin("RegEnumKey"); text(&l, "key", handle); ask(&l);
    if (code()) return code();
    for (char *rest = got("names"), *one; (one = strsep(&rest, "\x1f"));) if (*one && index-- == 0) return copy(one, name, size) ? 0 : 234;
    return 259;
}
int RegGetValueW(void *root, wide name, wide value, int flags, void *type, void *data, int *size) {
    (void)root; (void)type;
    Line l = begin("RegGetValue"); text(&l, "key", name); text(&l, "value", value); ask(&l);
    if (code()) return code();
    if (flags & 0x10) { uint32_t n = got_number("value", 0); memcpy(data, &n, 4); return 0; }
    *size /= 2;
    return copy(got("value"), data, size) ? 0 : 234;
}
int RegQueryInfoKeyW(void *handle, void *a, void *b, void *c, void *d, void *e, void *f, int *values, void *g, void *h, void *i, void *j) {
    (void)a; (void)b; (void)c; (void)d; (void)e; (void)f; (void)g; (void)h; (void)i; (void)j;
    Line l = begin("RegQueryInfoKey"); text(&l, "key", handle); ask(&l);
    *values = got_number("values", 0);
    return code();
}
int RegCloseKey(void *handle) { (void)handle; return 0; }

/* ---- services: a service's handle is its name ---- */
void *OpenSCManagerW(wide machine, wide database, uint32_t access) { (void)machine; (void)database; (void)access; return (void *)2; }
void *OpenServiceW(void *manager, wide name, uint32_t access) {
    (void)manager; (void)access;
    Line l = begin("QueryServiceConfigW"); text(&l, "name", name); ask(&l);
    if (!good()) return 0;
    uint16_t *kept = calloc(1024, 2);
    for (int i = 0; name[i] && i < 1023; i++) kept[i] = name[i];
    return kept;
}
int CloseServiceHandle(void *handle) { (void)handle; return 1; }
int QueryServiceConfigW(void *service, void *buffer, int size, int *needed) {
    struct { uint32_t type, start, control; uint16_t *path, *group; uint32_t tag; uint16_t *dependencies, *account, *display; } *c = buffer;
    (void)size;
    Line l = begin("QueryServiceConfigW"); text(&l, "name", service); ask(&l);
    if (!good()) return 0;
    memset(c, 0, sizeof *c);
    c->start = got_number("start_type", 0);
    c->account = widen(got("start_name")); c->display = widen(got("display")); *needed = sizeof *c;
    char *needs = got("depends_on");
    uint16_t *list = calloc(strlen(needs) + 2, 2), *end = list;
    for (char *rest = needs, *one; (one = strsep(&rest, "\x1f"));) if (*one) { uint16_t *w = widen(one); while (*w) *end++ = *w++; end++; }
    c->dependencies = end == list ? 0 : list;
    return 1;
}
int QueryServiceStatusEx(void *service, int level, uint32_t *buffer, int size, int *needed) {
    (void)level; (void)size;
    Line l = begin("QueryServiceStatusEx"); text(&l, "name", service); ask(&l);
    if (!good()) return 0;
    memset(buffer, 0, 36);
    buffer[1] = got_number("state", 1); buffer[3] = got_number("exit_code", 0); buffer[7] = got_number("pid", 0);
    buffer[5] = got_number("check_point", 0); buffer[6] = got_number("wait_hint", 0); *needed = 36;
    return 1;
}
int GetServiceKeyNameW(void *manager, wide display, uint16_t *name, int *size) {
    (void)manager;
    Line l = begin("GetServiceKeyNameW"); text(&l, "display", display); ask(&l);
    return good() && copy(got("name"), name, size);
}
int EnumDependentServicesW(void *service, int state, void *buffer, int size, int *needed, int *count) {
    struct { uint16_t *name, *display; uint32_t status[7]; } *list = buffer;
    (void)state; (void)size;
    Line l = begin("EnumDependentServicesW"); text(&l, "name", service); ask(&l);
    *count = 0; *needed = 0;
    if (!good()) return 0;
    for (char *rest = got("names"), *one; (one = strsep(&rest, "\x1f"));) if (*one) { memset(&list[*count], 0, sizeof *list); list[(*count)++].name = widen(one); }
    return 1;
}
int ChangeServiceConfigW(void *service, uint32_t type, uint32_t start, uint32_t control, wide path, wide group, void *tag, wide dependencies, wide account, wide password, wide display) {
    if (~type || ~start || ~control || path || group || tag || dependencies || display) { errno = 87; return 0; }
    Line l = begin("ChangeServiceConfigW"); text(&l, "name", service); text(&l, "start_name", account); text(&l, "password", password); ask(&l);
    return good();
}
int ControlService(void *service, int control, void *status) {
    (void)status;
    Line l = begin("ControlService"); text(&l, "name", service); number(&l, "control", control); ask(&l);
    return good();
}
int StartServiceW(void *service, int count, void *arguments) {
    (void)count; (void)arguments;
    Line l = begin("StartServiceW"); text(&l, "name", service); ask(&l);
    return good();
}
void *OpenProcess(int access, int inherit, int process) { (void)access; (void)inherit; return (void *)(intptr_t)process; }
int GetProcessTimes(void *process, int64_t *created, int64_t *ended, int64_t *kernel, int64_t *user) {
    (void)ended; (void)kernel; (void)user;
    Line l = begin("GetProcessTimes"); number(&l, "pid", (intptr_t)process); ask(&l);
    if (!good()) return 0;
    *created = filetime(got("unix"));
    return 1;
}
