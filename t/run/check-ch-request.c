/* Of check-ch: what is asked, and what is answered. */
#include "t/run/check-ch-run.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

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

void do_request(const char *text)
{
    run.status = -2; /* the expectation is skipped */
    if (send_request(text, false) == 0)
        read_reply();
}

void unescape(const char *text, struct str *out)
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

void do_request_ahead(const char *text)
{
    auto_str struct str request = STR_INIT;

    unescape(text, &request);
    if (send_request(str_text(&request), true) == 0)
        return;
    printf("ok %d # SKIP no TAP can be made here: %s\n", ++run.cases, run.request);
    run.is_broken = true;
}

void expect_reply(const char *text)
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

void expect_next_reply(const char *text)
{
    read_reply();
    expect_reply(text);
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

void do_bytes(const char *text)
{
    auto_str struct str out = STR_INIT;

    note_request(text);
    unescape(text, &out);
    str_clear(&run.bytes);
    if (vmm_send(&run.vmm, out.ptr, out.len, NULL, 0))
        vmm_read_all(&run.vmm, 100, &run.bytes);
}

void expect_bytes(const char *text)
{
    auto_str struct str wanted = STR_INIT;

    unescape(text, &wanted);
    while (!matches(str_text(&run.bytes), str_text(&wanted)) && vmm_read(&run.vmm, CHECK_MS, &run.bytes))
        ; /* on a busy machine an answer comes in pieces */
    result(matches(str_text(&run.bytes), str_text(&wanted)), run.request, str_text(&run.bytes), str_text(&wanted));
}

void do_connections(void)
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
