#include "t/unit/ch-script.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "core/util/cleanup.h"

struct runner_error err = ERROR_INIT;
struct ch ch;
const struct runner_vm vm = {.size = sizeof vm,
                             .id = "sb-1",
                             .socket_path = "/run/sb-1.sock",
                             .dir = "/d",
                             .serial_path = "/d/serial.log",
                             .kernel = "/k",
                             .cpus = 1,
                             .max_cpus = 1,
                             .memory_bytes = 1 << 30,
                             .max_memory_bytes = 1 << 30};

struct script scripts[4];
int n_dialled, n_scripts;
int64_t waited_ms;

static struct runner_host host;
static char *texts[32]; /* made by with_body() */
static int n_texts;

struct script *script_add(bool is_closed)
{
    struct script *script = &scripts[n_scripts++];

    script->is_closed = is_closed;
    script->fd = -1;
    return script;
}

void expect_text(const char *text)
{
    script_add(false)->pieces[0] = text;
}

static void send_piece(struct script *script)
{
    const char *piece = script->pieces[script->next];

    if (piece != NULL) {
        script->next++;
        cr_assert_eq(send(script->fd, piece, strlen(piece), MSG_NOSIGNAL), (ssize_t)strlen(piece));
    } else if (script->is_closed) {
        (void)shutdown(script->fd, SHUT_RDWR);
    }
}

static int script_dial(struct runner_call *call, const char *address, int *ret_fd, struct runner_error *e)
{
    int ends[2];

    (void)call;
    if (strncmp(address, "tap:", 4) == 0) {
        *ret_fd = fcntl(0, F_DUPFD_CLOEXEC, 0);
        return 0;
    }
    cr_expect_str_eq(address, "unix:/run/sb-1.sock");
    if (n_dialled == n_scripts)
        return fail(e, RUNNER_E_UNREACHABLE, 0, "nobody listens at '%s'", address);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    *ret_fd = ends[0];
    scripts[n_dialled++].fd = ends[1];
    return 0;
}

static int script_wait(struct runner_call *call, int fd, short events, int64_t ms)
{
    struct pollfd p = {.fd = fd, .events = events};

    waited_ms = ms;
    if (fake_host()->cancelled(call) != 0)
        return fake_host()->wait(call, fd, events, 0);
    for (int i = 0; i < n_dialled; i++)
        if (events & POLLIN)
            send_piece(&scripts[i]);
    return poll(&p, 1, 0) > 0 ? p.revents : 0;
}

const char *with_body(int status, const char *body)
{
    char *text = mem_printf("HTTP/1.1 %d \r\n" SERVER "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                            status, strlen(body), body);

    cr_assert_lt(n_texts, (int)ARRAY_LEN(texts));
    texts[n_texts++] = text;
    return text;
}

const char *heard(int i)
{
    static char text[65536];
    size_t len = 0;
    ssize_t n;

    while ((n = recv(scripts[i].fd, text + len, sizeof text - 1 - len, MSG_DONTWAIT)) > 0) /* a descriptor ends one */
        len += (size_t)n;
    text[len] = '\0';
    return text;
}

void script_renew(void)
{
    client_forget_all(&ch);
    for (int i = 0; i < n_dialled; i++)
        close(scripts[i].fd);
    memset(scripts, 0, sizeof scripts);
    n_dialled = n_scripts = 0;
}

void script_open(void)
{
    fake_host_reset();
    host = *fake_host();
    host.dial = script_dial;
    host.wait = script_wait;
    ch = (struct ch){.host = &host,
                     .landlock = "auto",
                     .boot_timeout_ms = 1000,
                     .lock = PTHREAD_MUTEX_INITIALIZER,
                     .facts = {.is_known = true, .has_landlock = true}};
}

void script_close(void)
{
    script_renew();
    while (n_texts > 0)
        free(texts[--n_texts]);
    cr_expect_eq(fake_host_live(), 0);
}
