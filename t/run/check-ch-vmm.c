#include "t/run/check-ch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/util/num.h"

#define WORDS_MAX 32

static int dial(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "ch.sock"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

bool vmm_reconnect(struct vmm *v)
{
    if (v->api >= 0)
        close(v->api);
    v->api = dial();
    return v->api >= 0;
}

static _Noreturn void become(const char *program, char *const *words, const char *preload, int events)
{
    const char *argv[WORDS_MAX + 8] = {program, "--api-socket", "path=ch.sock"};
    auto_free char *monitor = mem_printf("fd=%d", events);
    auto_free char *library = mem_printf("LD_PRELOAD=%s", preload);
    char *const environment[] = {preload != NULL ? library : NULL, NULL};
    int n = 3, out = open("vmm.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    argv[n++] = "--event-monitor";
    argv[n++] = monitor;
    for (int i = 0; words[i] != NULL && i < WORDS_MAX; i++)
        argv[n++] = words[i];
    (void)dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
    (void)dup2(out, STDOUT_FILENO);
    (void)dup2(out, STDERR_FILENO);
    (void)fcntl(events, F_SETFD, 0);
    execve(program, (char *const *)(uintptr_t)argv, environment);
    _exit(127);
}

/* There is no event for a socket that begins to listen: the process or its answer is waited for. */
static bool await_socket(struct vmm *v)
{
    int64_t until_ms = num_now_ms() + CHECK_MS;
    siginfo_t info = {.si_pid = 0};

    while ((v->api = dial()) < 0) {
        if (num_now_ms() > until_ms ||
            (waitid(P_PID, (id_t)v->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0))
            return false;
        (void)poll(NULL, 0, 1);
    }
    return true;
}

bool vmm_start(struct vmm *v, const char *program, char *const *words, const char *preload)
{
    int pipe_fds[2];

    *v = (struct vmm){.api = -1, .events = -1};
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return false;
    (void)unlink("ch.sock");
    v->pid = fork();
    if (v->pid == 0)
        become(program, words, preload, pipe_fds[1]);
    close(pipe_fds[1]);
    v->events = pipe_fds[0];
    (void)fcntl(v->events, F_SETFL, O_NONBLOCK);
    return v->pid > 0 && await_socket(v);
}

int vmm_wait(struct vmm *v)
{
    int pidfd = (int)syscall(SYS_pidfd_open, v->pid, 0), status = -1;

    if (poll(&(struct pollfd){.fd = pidfd, .events = POLLIN}, 1, CHECK_MS) <= 0) {
        (void)kill(v->pid, SIGKILL);
        (void)waitpid(v->pid, NULL, 0);
    } else {
        (void)waitpid(v->pid, &status, 0);
    }
    close(pidfd);
    vmm_hear(v, 0);
    v->pid = 0;
    return status;
}

void vmm_kill(struct vmm *v)
{
    if (v->pid > 0) {
        (void)kill(v->pid, SIGKILL);
        (void)waitpid(v->pid, NULL, 0);
    }
    if (v->api >= 0)
        close(v->api);
    if (v->events >= 0)
        close(v->events);
    str_done(&v->told);
    str_done(&v->raw);
    *v = (struct vmm){.api = -1, .events = -1};
}

/* ---- the wire ---- */

bool vmm_send(const struct vmm *v, const char *data, size_t len, const int *fds, int n)
{
    union {
        char bytes[CMSG_SPACE(8 * sizeof(int))];
        struct cmsghdr align;
    } control = {.bytes = {0}};
    struct iovec part = {(void *)(uintptr_t)data, len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t sent;

    if (n > 0) {
        struct cmsghdr *h;

        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE((size_t)n * sizeof(int));
        h = CMSG_FIRSTHDR(&message);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN((size_t)n * sizeof(int));
        memcpy(CMSG_DATA(h), fds, (size_t)n * sizeof(int));
    }
    sent = sendmsg(v->api, &message, MSG_NOSIGNAL);
    while (sent >= 0 && (size_t)sent < len) {
        ssize_t more = send(v->api, data + sent, len - (size_t)sent, MSG_NOSIGNAL);

        if (more < 0)
            return false;
        sent += more;
    }
    return sent >= 0;
}

/* Bytes until that many are there, or the head's end when want is 0. */
static int read_until(const struct vmm *v, struct str *s, size_t want)
{
    char data[8192];

    while (want == 0 ? strstr(str_text(s), "\r\n\r\n") == NULL : s->len < want) {
        ssize_t n;

        if (poll(&(struct pollfd){.fd = v->api, .events = POLLIN}, 1, CHECK_MS) <= 0)
            return -1;
        n = recv(v->api, data, want == 0 ? 1 : sizeof data < want - s->len ? sizeof data : want - s->len, 0);
        if (n <= 0)
            return 0;
        str_add_mem(s, data, (size_t)n);
    }
    return 1;
}

int vmm_reply(const struct vmm *v, struct str *head, struct str *body)
{
    const char *length;
    size_t want;
    int r = read_until(v, head, 0);

    if (r <= 0)
        return r;
    length = strstr(head->ptr, "Content-Length: ");
    want = length != NULL ? strtoul(length + 16, NULL, 10) : 0;
    if (want > 0 && (r = read_until(v, body, want)) <= 0)
        return r;
    return (int)strtol(head->ptr + strlen("HTTP/1.1 "), NULL, 10);
}

bool vmm_read(const struct vmm *v, int ms, struct str *ret)
{
    char data[8192];
    ssize_t n =
        poll(&(struct pollfd){.fd = v->api, .events = POLLIN}, 1, ms) > 0 ? recv(v->api, data, sizeof data, 0) : 0;

    if (n > 0)
        str_add_mem(ret, data, (size_t)n);
    return n > 0;
}

void vmm_read_all(const struct vmm *v, int quiet_ms, struct str *ret)
{
    while (vmm_read(v, ret->len == 0 ? CHECK_MS : quiet_ms, ret))
        ;
}

/* ---- events ---- */

static void add_member(struct str *out, const char *event, const char *key)
{
    const char *p = strstr(event, key);

    if (p != NULL)
        str_add_mem(out, p + strlen(key), strcspn(p + strlen(key), "\""));
}

static void take_event(struct vmm *v, const char *event)
{
    add_member(&v->told, event, "\"source\": \"");
    str_add(&v->told, ".");
    add_member(&v->told, event, "\"event\": \"");
    if (strstr(event, "\"id\": \"") != NULL) {
        str_add(&v->told, ":");
        add_member(&v->told, event, "\"id\": \"");
    }
    str_add(&v->told, " ");
}

void vmm_hear(struct vmm *v, int ms)
{
    char data[4096], *end;
    ssize_t n;

    if (ms > 0)
        (void)poll(&(struct pollfd){.fd = v->events, .events = POLLIN}, 1, ms);
    while ((n = read(v->events, data, sizeof data)) > 0)
        str_add_mem(&v->raw, data, (size_t)n);
    while (v->raw.len > 0 && (end = strstr(v->raw.ptr, "}\n\n")) != NULL) {
        size_t len = (size_t)(end + 3 - v->raw.ptr);

        *end = '\0';
        take_event(v, v->raw.ptr);
        memmove(v->raw.ptr, v->raw.ptr + len, v->raw.len - len + 1);
        v->raw.len -= len;
    }
}
