/* Of check-ch: what is seen besides answers: events, files, the guest, the end. */
#include "t/run/check-ch-run.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/util/num.h"

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

void result(bool is_ok, const char *what, const char *got, const char *wanted)
{
    printf("%sok %d - %s: %s\n", is_ok ? "" : "not ", ++run.cases, run.title, what);
    if (is_ok)
        return;
    run.failures++;
    printf("#   line %d\n", run.line);
    comment("got:    ", got);
    comment("wanted: ", wanted);
}

bool matches(const char *text, const char *pattern)
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

void expect_events(const char *wanted)
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

void expect_file(char *text)
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

void await_serial(const char *wanted)
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

void expect_ticks(bool wanted)
{
    long before = serial_size();
    int64_t until_ms = num_now_ms() + (wanted ? CHECK_MS : 100);

    while (serial_size() == before && num_now_ms() < until_ms)
        (void)poll(NULL, 0, 5);
    result((serial_size() != before) == wanted, wanted ? "the guest ticks" : "the guest stands still",
           serial_size() != before ? "ticks" : "none", wanted ? "ticks" : "none");
}

void expect_exit(const char *wanted)
{
    int status = vmm_wait(&run.vmm);
    auto_free char *got = status == -1          ? mem_dup("runs")
                          : WIFSIGNALED(status) ? mem_printf("signal %d", WTERMSIG(status))
                                                : mem_printf("%d", WEXITSTATUS(status));

    result(strcmp(got, wanted) == 0, "exit status", got, wanted);
    run.is_over = true;
}

void expect_fault(const char *wanted)
{
    char content[4096] = "";
    auto_close int fd = open("fake.faults", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, content, sizeof content - 1) : 0;

    content[n > 0 ? n : 0] = '\0';
    if (n > 0)
        content[n - 1] = '\0';
    result(matches(content, wanted), "what the fake noticed", content, wanted);
}
