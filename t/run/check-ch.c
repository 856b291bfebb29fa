/*
 * Runs a list of requests and what is expected of them (t/run/ch-cases.txt, where the language is explained) against a
 * Cloud Hypervisor, real or fake. Speaks TAP.
 *   check-ch PROGRAM LIST TOY-KERNEL fake
 *   check-ch PROGRAM LIST TOY-KERNEL real NO-NESTED-LIBRARY
 */
#include "t/run/check-ch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/util/num.h"

static struct {
    const char *program, *toy, *library; /* library: no-nested.c, for blocks that make snapshots */
    bool is_fake, wants_library;
    char *dir;             /* of this process */
    char *title, *request; /* of the last */
    struct vmm vmm;
    bool is_started, is_broken; /* broken: the rest of the block is not tried */
    bool is_over;               /* the process has ended, as it should */
    char *words[16];
    int n_words;
    int status; /* of the last reply */
    struct str head, body, bytes;
    int cases, failures, line;
    int held[8], n_held;
} run;

/* ---- results ----------------------------------------------------------------------------------------------------- */

static void comment(const char *label, const char *text)
{
    printf("#   %s", label);
    for (const char *p = text; *p != '\0'; p++)
        if (*p == '\r')
            fputs("\\r", stdout);
        else if (*p == '\n')
            fputs("\\n", stdout);
        else
            putchar(*p);
    putchar('\n');
}

static void result(bool is_ok, const char *what, const char *got, const char *wanted)
{
    printf("%sok %d - %s: %s\n", is_ok ? "" : "not ", ++run.cases, run.title, what);
    if (is_ok)
        return;
    run.failures++;
    printf("#   line %d\n", run.line);
    comment("got:    ", got);
    comment("wanted: ", wanted);
}

/* Text against a pattern in which '*' stands for anything. */
static bool matches(const char *text, const char *pattern)
{
    const char *star = NULL, *from = NULL;

    while (*text != '\0')
        if (*pattern == '*') {
            star = pattern++;
            from = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star != NULL) {
            pattern = star + 1;
            text = ++from;
        } else {
            return false;
        }
    return pattern[strspn(pattern, "*")] == '\0';
}

/* ---- the directory ----------------------------------------------------------------------------------------------- */

static void hold(int fd)
{
    if (run.n_held < (int)ARRAY_LEN(run.held))
        run.held[run.n_held++] = fd;
}

static bool make_stale_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r;

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    r = bind(fd, (struct sockaddr *)&address, sizeof address);
    close(fd);
    return r == 0;
}

static bool lock_file(const char *path)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(path, O_RDWR | O_CLOEXEC);

    hold(fd);
    return fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

static bool write_file(const char *path, const char *text)
{
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

static bool do_prepare(char *words)
{
    char *verb = strtok_r(words, " ", &words), *path = strtok_r(NULL, " ", &words);

    if (verb == NULL || path == NULL)
        return false;
    if (strcmp(verb, "mkdir") == 0)
        return mkdir(path, 0700) == 0;
    if (strcmp(verb, "size") == 0)
        return write_file(path, "") && truncate(path, strtol(words, NULL, 10)) == 0;
    if (strcmp(verb, "write") == 0)
        return write_file(path, words);
    if (strcmp(verb, "bind") == 0)
        return make_stale_socket(path);
    if (strcmp(verb, "lock") == 0)
        return lock_file(path);
    if (strcmp(verb, "rm") == 0)
        return unlink(path) == 0;
    return false;
}

/* Flat, and one level deeper. */
static void empty_dir(const char *path, int depth)
{
    auto_dir DIR *d = opendir(path);
    struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL) {
        auto_free char *name = mem_printf("%s/%s", path, entry->d_name);

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlink(name) < 0 && depth > 0)
            empty_dir(name, depth - 1);
    }
    (void)rmdir(path);
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

static void block_end(void)
{
    vmm_kill(&run.vmm);
    while (run.n_held > 0)
        close(run.held[--run.n_held]);
    while (run.n_words > 0)
        free(run.words[--run.n_words]);
    if (run.dir != NULL && chdir("/") == 0)
        empty_dir(run.dir, 2);
    free(run.dir);
    run.dir = NULL;
    run.is_started = run.is_broken = run.is_over = run.wants_library = false;
}

static void block_begin(const char *title)
{
    block_end();
    free(run.title);
    run.title = mem_dup(title);
    run.dir = mem_printf("%s/check-ch.XXXXXX", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    if (mkdtemp(run.dir) == NULL || chdir(run.dir) < 0)
        abort();
}

static void need_process(void)
{
    auto_free char *program = mem_dup(run.program);

    if (run.is_started || run.is_broken)
        return;
    if (run.is_fake) { /* under a name of its own, for its wishes and faults */
        free(program);
        program = mem_printf("%s/fake", run.dir);
        (void)symlink(run.program, program);
    }
    run.words[run.n_words] = NULL;
    run.is_started = vmm_start(&run.vmm, program, run.words, run.wants_library ? run.library : NULL);
    if (!run.is_started) {
        result(false, "starts", "no answer", "an API socket");
        run.is_broken = true;
    }
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

/* A queue of a new TAP, gone with its last descriptor. -1 with a reason where that is not possible. */
static int tap_queue(void)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, .ifr_name = "chk%d"};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

static int open_fds(const char *kind, int n, int *ret)
{
    for (int i = 0; i < n; i++) {
        ret[i] = strcmp(kind, "tap") == 0 ? tap_queue() : open("/dev/null", O_RDWR | O_CLOEXEC);
        if (ret[i] < 0)
            return -1;
    }
    return 0;
}

static void note_request(const char *text)
{
    free(run.request);
    run.request = mem_printf("%.100s", text);
}

/* METHOD CALL [BODY], perhaps with "null=N" or "tap=N" before it: descriptors, which go with the first byte or the last.
 * -1: they cannot be made here. */
static int send_request(const char *text, bool has_fds_last)
{
    auto_str struct str out = STR_INIT;
    int fds[4] = {-1, -1, -1, -1}, n_fds = 0;
    const char *call, *body;
    size_t method, before;

    note_request(text);
    if (strncmp(text, "null=", 5) == 0 || strncmp(text, "tap=", 4) == 0) {
        n_fds = strchr(text, '=')[1] - '0';
        if (n_fds < 0 || n_fds > 4 || open_fds(*text == 't' ? "tap" : "null", n_fds, fds) < 0)
            return -1;
        text += strcspn(text, " ") + 1;
    }
    method = strcspn(text, " ");
    call = text + method + 1;
    body = strchr(call, ' ');
    str_addf(&out, "%.*s %s%.*s HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n", (int)method, text,
             *call == '/' ? "" : "/api/v1/", (int)strcspn(call, " "), call);
    if (body != NULL)
        str_addf(&out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body + 1));
    str_addf(&out, "\r\n%s", body != NULL ? body + 1 : "");
    before = has_fds_last ? out.len - 1 : 0;
    if (before > 0)
        (void)vmm_send(&run.vmm, out.ptr, before, NULL, 0);
    (void)vmm_send(&run.vmm, out.ptr + before, out.len - before, fds, n_fds); /* the answer tells whether it came */
    for (int i = 0; i < n_fds; i++)
        close(fds[i]);
    return 0;
}

static void read_reply(void)
{
    str_clear(&run.head);
    str_clear(&run.body);
    run.status = vmm_reply(&run.vmm, &run.head, &run.body);
}

static void do_request(const char *text)
{
    run.status = -2; /* the expectation is skipped */
    if (send_request(text, false) == 0)
        read_reply();
}

/* \r \n, and \{N}c for N times c. */
static void unescape(const char *text, struct str *out)
{
    for (; *text != '\0'; text++) {
        if (*text != '\\') {
            str_add_char(out, *text);
            continue;
        }
        text++;
        if (*text == '{') {
            char *end;
            long n = strtol(text + 1, &end, 10);

            for (text = end + 1; n > 0; n--)
                str_add_char(out, *text);
        } else {
            str_add_char(out, *text == 'r' ? '\r' : *text == 'n' ? '\n' : *text);
        }
    }
}

/* Its answer is read later, behind those of the ones before it. */
static void do_request_ahead(const char *text)
{
    auto_str struct str request = STR_INIT;

    unescape(text, &request);
    if (send_request(str_text(&request), true) == 0)
        return;
    printf("ok %d # SKIP no TAP can be made here: %s\n", ++run.cases, run.request);
    run.is_broken = true;
}

static void expect_reply(const char *text)
{
    char *pattern;
    long status = strtol(text, &pattern, 10);
    auto_free char *got = mem_printf("%d %s", run.status, str_text(&run.body));

    if (run.status == -2) {
        printf("ok %d # SKIP no TAP can be made here: %s\n", ++run.cases, run.request);
        return;
    }
    result(run.status == status && matches(str_text(&run.body), *pattern != '\0' ? pattern + 1 : ""), run.request, got,
           text);
    run.is_broken = run.is_broken || run.status == -1; /* each further one would wait as long */
}

static void expect_next_reply(const char *text)
{
    read_reply();
    expect_reply(text);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

static void do_bytes(const char *text)
{
    auto_str struct str out = STR_INIT;

    note_request(text);
    unescape(text, &out);
    str_clear(&run.bytes);
    if (vmm_send(&run.vmm, out.ptr, out.len, NULL, 0))
        vmm_read_all(&run.vmm, 100, &run.bytes);
}

static void expect_bytes(const char *text)
{
    auto_str struct str wanted = STR_INIT;

    unescape(text, &wanted);
    while (!matches(str_text(&run.bytes), str_text(&wanted)) && vmm_read(&run.vmm, CHECK_MS, &run.bytes))
        ; /* on a busy machine an answer comes in pieces */
    result(matches(str_text(&run.bytes), str_text(&wanted)), run.request, str_text(&run.bytes), str_text(&wanted));
}

/* The eleventh connection, and the first again when one of the ten has gone. */
static void do_connections(void)
{
    struct vmm more[11];
    auto_str struct str said = STR_INIT;

    for (int i = 0; i < 10; i++) {
        more[i] = (struct vmm){.api = -1};
        (void)vmm_reconnect(&more[i]);
    }
    vmm_read_all(&more[9], 100, &said); /* one of the ten is ours */
    str_clear(&run.bytes);
    str_add(&run.bytes, str_text(&said));
    for (int i = 0; i < 10; i++)
        close(more[i].api);
    note_request("an eleventh connection");
}

/* ---- other expectations ------------------------------------------------------------------------------------------ */

static int count_words(const char *text)
{
    int n = 0;

    for (const char *p = text; *p != '\0'; p += strcspn(p, " "), p += strspn(p, " "))
        n++;
    return n;
}

/* The real one writes its events on a thread that it does not wait for when it exits: of the last ones, those of the
 * end, none or some may be there. */
static bool is_cut_short(const char *told, const char *wanted)
{
    size_t len = strlen(told);
    const char *missing = wanted + len;

    if (run.is_fake || !run.is_over || strncmp(told, wanted, len) != 0 || (len > 0 && *missing != ' '))
        return false;
    missing += strspn(missing, " ");
    return strncmp(missing, "vm.shutdown", 11) == 0 || strncmp(missing, "vm.deleted", 10) == 0 ||
           strncmp(missing, "vmm.shutdown", 12) == 0;
}

/* All that was said since the last time, in order. */
static void expect_events(const char *wanted)
{
    int64_t until_ms = run.is_over ? 0 : num_now_ms() + CHECK_MS;
    int n = count_words(wanted);
    const char *told;

    vmm_hear(&run.vmm, 0);
    while (count_words(str_text(&run.vmm.told)) < n && num_now_ms() < until_ms)
        vmm_hear(&run.vmm, 100);
    if (run.vmm.told.len > 0)
        run.vmm.told.ptr[--run.vmm.told.len] = '\0';
    told = str_text(&run.vmm.told);
    result(matches(told, wanted) || is_cut_short(told, wanted), "events", told, wanted);
    str_clear(&run.vmm.told);
}

/* PATH absent | PATH socket MODE | PATH MODE [TEXT] */
static void expect_file(char *text)
{
    char *path = strtok_r(text, " ", &text), got[4200] = "absent", content[4000] = "";
    auto_str struct str wanted = STR_INIT;
    struct stat st;

    unescape(text, &wanted);
    if (lstat(path, &st) == 0 && S_ISREG(st.st_mode)) {
        auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd >= 0 ? read(fd, content, sizeof content - 1) : 0;

        content[n > 0 ? n : 0] = '\0';
        (void)snprintf(got, sizeof got, "%04o%s%s", st.st_mode & 07777, n > 0 ? " " : "", content);
    } else if (lstat(path, &st) == 0) {
        (void)snprintf(got, sizeof got, "%s %04o", S_ISSOCK(st.st_mode) ? "socket" : "other", st.st_mode & 07777);
    }
    result(matches(got, str_text(&wanted)), path, got, str_text(&wanted));
}

/* Until the serial console says it. */
static void await_serial(const char *wanted)
{
    int64_t until_ms = num_now_ms() + CHECK_MS;
    char content[65536] = "";

    do {
        auto_close int fd = open("serial", O_RDONLY | O_CLOEXEC);
        ssize_t n = fd >= 0 ? read(fd, content, sizeof content - 1) : 0;

        content[n > 0 ? n : 0] = '\0';
        (void)poll(NULL, 0, 2);
    } while (strstr(content, wanted) == NULL && num_now_ms() < until_ms);
    result(strstr(content, wanted) != NULL, "the guest says it", content, wanted);
}

static long serial_size(void)
{
    struct stat st;

    return stat("serial", &st) == 0 ? (long)st.st_size : 0;
}

/* Whether the guest makes progress within a while. */
static void expect_ticks(bool wanted)
{
    long before = serial_size();
    int64_t until_ms = num_now_ms() + (wanted ? CHECK_MS : 100);

    while (serial_size() == before && num_now_ms() < until_ms)
        (void)poll(NULL, 0, 5);
    result((serial_size() != before) == wanted, wanted ? "the guest ticks" : "the guest stands still",
           serial_size() != before ? "ticks" : "none", wanted ? "ticks" : "none");
}

/* "0" or "signal N" */
static void expect_exit(const char *wanted)
{
    int status = vmm_wait(&run.vmm);
    auto_free char *got = status == -1          ? mem_dup("runs")
                          : WIFSIGNALED(status) ? mem_printf("signal %d", WTERMSIG(status))
                                                : mem_printf("%d", WEXITSTATUS(status));

    result(strcmp(got, wanted) == 0, "exit status", got, wanted);
    run.is_over = true;
}

static void expect_fault(const char *wanted)
{
    char content[4096] = "";
    auto_close int fd = open("fake.faults", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, content, sizeof content - 1) : 0;

    content[n > 0 ? n : 0] = '\0';
    if (n > 0)
        content[n - 1] = '\0';
    result(matches(content, wanted), "what the fake noticed", content, wanted);
}

/* ---- the list ---------------------------------------------------------------------------------------------------- */

static bool line_of_process(char *word, char *rest)
{
    if (strcmp(word, ">") == 0)
        do_request(rest);
    else if (strcmp(word, "<") == 0)
        expect_reply(rest);
    else if (strcmp(word, ">+") == 0)
        do_request_ahead(rest);
    else if (strcmp(word, "<+") == 0)
        expect_next_reply(rest);
    else if (strcmp(word, "&") == 0)
        result(run.status == -2 || matches(str_text(&run.body), rest), run.request, str_text(&run.body), rest);
    else if (strcmp(word, ">>") == 0)
        do_bytes(rest);
    else if (strcmp(word, "<<") == 0)
        expect_bytes(rest);
    else if (strcmp(word, "connections") == 0)
        do_connections();
    else if (strcmp(word, "reconnect") == 0)
        (void)vmm_reconnect(&run.vmm);
    else if (strcmp(word, "events") == 0)
        expect_events(rest);
    else if (strcmp(word, "serial") == 0)
        await_serial(rest);
    else if (strcmp(word, "ticks") == 0)
        expect_ticks(strcmp(rest, "no") != 0);
    else if (strcmp(word, "signal") == 0)
        (void)kill(run.vmm.pid, (int)strtol(rest, NULL, 10));
    else if (strcmp(word, "exit") == 0)
        expect_exit(rest);
    else
        return false;
    return true;
}

static bool run_line(char *line)
{
    char *word = line, *rest = line + strcspn(line, " ");

    if (*rest != '\0')
        *rest++ = '\0';
    if (strcmp(word, "=") == 0) {
        block_begin(rest);
    } else if (run.is_broken) {
        return true;
    } else if (strcmp(word, "!") == 0) {
        return do_prepare(rest);
    } else if (strcmp(word, "file") == 0) {
        expect_file(rest);
    } else if (strcmp(word, "fault") == 0) {
        if (run.is_fake)
            expect_fault(rest);
    } else if (strcmp(word, "snapshots") == 0) {
        run.wants_library = true;
    } else if (strcmp(word, "-") == 0) {
        for (char *w = strtok_r(rest, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest))
            run.words[run.n_words++] = mem_dup(w);
    } else {
        need_process();
        return run.is_broken || line_of_process(word, rest);
    }
    return true;
}

/* $K is the toy kernel, $D the directory. */
static void expand(const char *line, struct str *out)
{
    for (const char *p = line; *p != '\0' && *p != '\n'; p++)
        if (p[0] == '$' && (p[1] == 'K' || p[1] == 'D')) {
            str_add(out, p[1] == 'K' ? run.toy : run.dir);
            p++;
        } else {
            str_add_char(out, *p);
        }
}

static int run_list(const char *path)
{
    auto_fclose FILE *list = fopen(path, "re");
    auto_free char *line = NULL;
    size_t cap = 0;

    if (list == NULL) {
        printf("Bail out! %s: %s\n", path, strerror(errno));
        return 99;
    }
    while (getline(&line, &cap, list) >= 0) {
        auto_str struct str text = STR_INIT;

        run.line++;
        if (line[0] == '#' || line[0] == '\n')
            continue;
        expand(line, &text);
        if (!run_line(text.ptr)) {
            printf("Bail out! %s:%d: that cannot be done: %s\n", path, run.line, strerror(errno));
            block_end();
            return 99;
        }
    }
    block_end();
    printf("1..%d\n", run.cases);
    return run.failures > 0;
}

int main(int argc, char **argv)
{
    auto_free char *list = argc >= 5 ? realpath(argv[2], NULL) : NULL;
    int status;

    if (argc < 5 || argc > 6 || list == NULL) {
        (void)fputs("usage: check-ch PROGRAM LIST TOY-KERNEL fake|real [LIBRARY]\n", stderr);
        return 99;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)umask(022);
    (void)unshare(CLONE_NEWNET); /* where TAPs may be made, when that is allowed at all */
    run.program = argv[1];
    run.toy = argv[3];
    run.library = argv[5]; /* NULL at the end */
    run.is_fake = strcmp(argv[4], "fake") == 0;
    run.vmm = (struct vmm){.api = -1, .events = -1};
    status = run_list(list);
    str_done(&run.head);
    str_done(&run.body);
    str_done(&run.bytes);
    free(run.title);
    free(run.request);
    return status;
}
