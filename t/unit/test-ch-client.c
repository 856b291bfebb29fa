/* The API client of vmm/cloud-hypervisor, against scripted connections. */
#include <criterion/criterion.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "kit/fake/host.h"
#include "plugins/vmm/cloud-hypervisor/client.h"
#include "plugins/vmm/cloud-hypervisor/http.h"
#include "plugins/vmm/cloud-hypervisor/machine.h"

#define SERVER "Server: Cloud Hypervisor API\r\nConnection: keep-alive\r\n"
#define EMPTY  "HTTP/1.1 204 \r\n" SERVER "\r\n"
#define PIECES 24

static struct runner_error err = ERROR_INIT;
static struct ch ch;
static struct runner_host host;
static const struct runner_vm vm = {.size = sizeof vm,
                                    .id = "sb-1",
                                    .socket_path = "/run/sb-1.sock",
                                    .dir = "/d",
                                    .serial_path = "/d/serial.log",
                                    .kernel = "/k",
                                    .cpus = 1,
                                    .max_cpus = 1,
                                    .memory_bytes = 1 << 30,
                                    .max_memory_bytes = 1 << 30};

/* ---- scripted connections: each sends its pieces, one whenever the client waits ---- */

struct script {
    const char *pieces[PIECES];
    bool is_closed; /* after the last piece; else it is silent then */
    int fd;         /* of the peer; -1: not dialled */
    int next;
};

static struct script scripts[4];
static int n_dialled, n_scripts;
static char *texts[32]; /* made by with_body() */
static int n_texts;

static struct script *script_add(bool is_closed)
{
    struct script *script = &scripts[n_scripts++];

    script->is_closed = is_closed;
    script->fd = -1;
    return script;
}

static void expect_text(const char *text)
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

    (void)ms;
    if (fake_host()->cancelled(call) != 0)
        return fake_host()->wait(call, fd, events, 0);
    for (int i = 0; i < n_dialled; i++)
        if (events & POLLIN)
            send_piece(&scripts[i]);
    return poll(&p, 1, 0) > 0 ? p.revents : 0;
}

static void setup(void)
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
    memset(scripts, 0, sizeof scripts);
    n_dialled = n_scripts = 0;
}

static void teardown(void)
{
    client_forget_all(&ch);
    for (int i = 0; i < n_dialled; i++)
        close(scripts[i].fd);
    while (n_texts > 0)
        free(texts[--n_texts]);
    cr_expect_eq(fake_host_live(), 0);
}

TestSuite(ch_client, .init = setup, .fini = teardown, .timeout = 60);

static int get(const char *action, struct client_reply *reply)
{
    const struct client_request request = {.action = action, .is_get = true, .fd = -1, .timeout_ms = 1000};

    return client_call(&ch, fake_call(), &vm, &request, reply, &err);
}

/* What the peer was sent since it was last asked. */
static const char *heard(int i)
{
    static char text[65536];
    ssize_t n = recv(scripts[i].fd, text, sizeof text - 1, MSG_DONTWAIT);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

/* ---- replies ---- */

Test(ch_client, bytes_of_a_call)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    const struct client_request request = {.action = "vm.resize", .body = "{}", .fd = -1, .timeout_ms = 1000};

    expect_text(EMPTY);
    cr_expect_eq(client_call(&ch, fake_call(), &vm, &request, &reply, &err), 0, "%s", err.message);
    cr_expect_eq(reply.status, 204);
    cr_expect_str_eq(heard(0), "PUT /api/v1/vm.resize HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n"
                               "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
}

Test(ch_client, reply_byte_by_byte)
{
    static const char text[] =
        "HTTP/1.1 200 \r\n" SERVER "Content-Type: application/json\r\nContent-Length: 5\r\n\r\nhello";

    for (size_t cut = 1; cut < sizeof text - 1; cut++) {
        auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
        auto_free char *first = mem_dup_n(text, cut);
        struct script *script;

        n_scripts = n_dialled = 0;
        script = script_add(false);
        script->next = 0;
        script->pieces[0] = first;
        script->pieces[1] = text + cut;
        cr_assert_eq(get("vm.info", &reply), 0, "cut at %zu: %s", cut, err.message);
        cr_assert_str_eq(str_text(&reply.body), "hello", "cut at %zu", cut);
        client_forget_all(&ch);
        close(script->fd);
    }
    n_dialled = 0;
}

Test(ch_client, interim_reply)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;

    expect_text("HTTP/1.1 100 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n" EMPTY);
    cr_expect_eq(get("vm.info", &reply), 0, "%s", err.message);
    cr_expect_eq(reply.status, 204);
}

/* A reply of that status with a body; it stays until the test ends. */
static const char *with_body(int status, const char *body)
{
    char *text = mem_printf("HTTP/1.1 %d \r\n" SERVER "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                            status, strlen(body), body);

    cr_assert_lt(n_texts, (int)ARRAY_LEN(texts));
    texts[n_texts++] = text;
    return text;
}

static void expect_failure(const char *text, int code, int status, const char *part)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;

    n_scripts = n_dialled = 0;
    scripts[0] = (struct script){.fd = -1};
    expect_text(text);
    cr_expect_eq(get("vm.info", &reply), -1, "%s", text);
    cr_expect_not_null(strstr(err.message, part), "%s: %s", text, err.message);
    cr_expect_eq(err.code, code, "%s: %d: %s", text, err.code, err.message);
    cr_expect_eq(reply.status, status, "%s", text);
    client_forget_all(&ch);
    close(scripts[0].fd);
    n_dialled = 0;
}

Test(ch_client, refusals)
{
    static const struct {
        const char *body, *part;
        int status, code;
    } cases[] = {
        {"[\"Error from API\",\"The VM info is not available\",\"VM is not created\"]",
         "Cloud Hypervisor refuses vm.info: Error from API: The VM info is not available: VM is not created", 404,
         RUNNER_E_NOTFOUND},
        {"[\"a\",\"b\\nStack: 1\"]", "refuses vm.info: a: b Stack: 1", 500, RUNNER_E_IO},
        {"[\"x\",\"Failed to get Write lock for disk image: /p\",\"The file is already locked\"]", "already locked",
         500, RUNNER_E_BUSY},
        {"[\"x\",\"No such file or directory (os error 2)\"]", "x: No such file", 500, RUNNER_E_NOTFOUND},
        {"[\"Error from API\",\"Failed to validate config\",\"y\"]", "config: y", 500, RUNNER_E_INVALID},
        {"[\"Too Many Requests\"]", "Too Many Requests", 429, RUNNER_E_BUSY},
        {"", "no reason given", 400, RUNNER_E_INVALID},
        {"[]", "[]", 500, RUNNER_E_IO},
        {"[1]", "[1]", 500, RUNNER_E_IO},
        {"plain words", "vm.info: plain words", 500, RUNNER_E_IO},
        {"{ \"error\": \"Invalid request.\nAll previous unanswered requests will be dropped.\" }",
         "vm.info: Invalid request. All previous unanswered requests will be dropped.", 400, RUNNER_E_INVALID},
        {"{ \"error\": \"", "vm.info: no reason given", 400, RUNNER_E_INVALID},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect_failure(with_body(cases[i].status, cases[i].body), cases[i].code, cases[i].status, cases[i].part);
    expect_failure("HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\nContent-Length: 40\r\n\r\n"
                   "{ \"error\": \"Too many open connections\" }",
                   RUNNER_E_BUSY, 503, "vm.info: Too many open connections");
}

Test(ch_client, no_replies)
{
    static const struct {
        const char *text, *part;
        int code;
    } cases[] = {
        {"SSH-2.0-OpenSSH_9\r\n", "not Cloud Hypervisor", RUNNER_E_INVALID},
        {"HTTP/1.1 2000 \r\n\r\n", "not Cloud Hypervisor", RUNNER_E_INVALID},
        {"HTTP/1.1 099 \r\n\r\n", "not Cloud Hypervisor", RUNNER_E_INVALID},
        {"HTTP/2.0 200 \r\n\r\n", "not Cloud Hypervisor", RUNNER_E_INVALID},
        {"HTTP/1.1 200 \r\nnonsense\r\n\r\n", "without a name", RUNNER_E_INVALID},
        {"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n", "transfer coding", RUNNER_E_INVALID},
        {"HTTP/1.1 200 \r\nContent-Length: -1\r\n\r\n", "a length", RUNNER_E_INVALID},
        {"HTTP/1.1 200 \r\nContent-Length:\r\n\r\n", "a length", RUNNER_E_INVALID},
        {"HTTP/1.1 200 \r\nContent-Length: 4194305\r\n\r\n", "a length", RUNNER_E_INVALID},
        {"HTTP/1.1 200 \r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "a length", RUNNER_E_INVALID},
        {"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhell", "does not answer vm.info in time", RUNNER_E_TIMEOUT},
        {"HTTP/1.1 100 \r\n\r\n", "does not answer vm.info in time", RUNNER_E_TIMEOUT},
        {"", "does not answer vm.info in time", RUNNER_E_TIMEOUT},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect_failure(cases[i].text, cases[i].code, 0, cases[i].part);
}

Test(ch_client, head_without_end)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    auto_free char *line = mem_alloc(1001);
    struct script *script = script_add(false);

    memset(line, 'x', 1000);
    memcpy(line, "\nX: ", 4);
    script->pieces[0] = "HTTP/1.1 200 ";
    for (int i = 1; i < 10; i++)
        script->pieces[i] = line;
    cr_expect_eq(get("vm.info", &reply), -1);
    cr_expect_not_null(strstr(err.message, "a head of more than 8192 bytes"), "%s", err.message);
}

Test(ch_client, body_too_large_to_send)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    auto_free char *body = mem_alloc(HTTP_REQUEST_BODY_MAX + 2);
    const struct client_request request = {.action = "vm.create", .body = body, .fd = -1, .timeout_ms = 1000};

    memset(body, ' ', HTTP_REQUEST_BODY_MAX + 1);
    cr_expect_eq(client_call(&ch, fake_call(), &vm, &request, &reply, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_INVALID);
    cr_expect_eq(n_dialled, 0);
}

/* ---- connections ---- */

Test(ch_client, connection_is_kept)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    struct script *script = script_add(false);

    script->pieces[0] = script->pieces[1] = script->pieces[2] = EMPTY;
    for (int i = 0; i < 3; i++)
        cr_expect_eq(get("vm.info", &reply), 0, "%s", err.message);
    cr_expect_eq(n_dialled, 1);
    client_forget(&ch, "sb-2");
    cr_expect_not_null(ch.idle);
    client_forget(&ch, "sb-1");
    cr_expect_null(ch.idle);
}

Test(ch_client, closed_meanwhile)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;

    expect_text(EMPTY);
    expect_text(EMPTY);
    cr_expect_eq(get("vm.info", &reply), 0);
    (void)shutdown(scripts[0].fd, SHUT_RDWR);
    cr_expect_eq(get("vm.info", &reply), 0, "%s", err.message);
    cr_expect_eq(n_dialled, 2);
}

/* It was closed only after the request was sent, without a byte of an answer. */
Test(ch_client, closed_by_the_request)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    struct script *script = script_add(true);

    script->pieces[0] = EMPTY;
    cr_expect_eq(get("vm.info", &reply), 0);
    expect_text(EMPTY);
    cr_expect_eq(get("vm.info", &reply), 0, "%s", err.message);
    cr_expect_eq(n_dialled, 2);
}

Test(ch_client, closed_and_nobody_there)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    struct script *script = script_add(true);

    script->pieces[0] = EMPTY;
    cr_expect_eq(get("vm.info", &reply), 0);
    cr_expect_eq(get("vm.info", &reply), -1);
    cr_expect_eq(err.code, RUNNER_E_UNREACHABLE, "%s", err.message);
}

Test(ch_client, closed_in_the_middle)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    struct script *script = script_add(true);

    script->pieces[0] = "HTTP/1.1 2";
    expect_text(EMPTY);
    cr_expect_eq(get("vm.info", &reply), -1);
    cr_expect_eq(err.code, RUNNER_E_UNREACHABLE, "%s", err.message);
    cr_expect_eq(n_dialled, 1, "not asked again: it had begun to answer");
}

/* Bytes behind a reply belong to nothing that was asked: the reply counts, the connection does not. */
Test(ch_client, junk_behind_a_reply)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;

    expect_text(EMPTY "HTTP/1.1 500 \r\n\r\n");
    expect_text(EMPTY);
    cr_expect_eq(get("vm.info", &reply), 0);
    cr_expect_null(ch.idle);
    cr_expect_eq(get("vm.info", &reply), 0);
    cr_expect_eq(n_dialled, 2);
}

Test(ch_client, late_answer_is_not_anothers)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;

    (void)script_add(false);
    expect_text(EMPTY);
    cr_expect_eq(get("vm.info", &reply), -1);
    cr_expect_eq(err.code, RUNNER_E_TIMEOUT);
    cr_expect_eq(get("vm.info", &reply), 0, "%s", err.message);
    cr_expect_eq(n_dialled, 2);
}

Test(ch_client, cancelled)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;

    (void)script_add(false);
    fake_host_cancel(true);
    cr_expect_eq(get("vm.info", &reply), -1);
    cr_expect_eq(err.code, RUNNER_E_CANCELLED, "%s", err.message);
}

static int receive_fd(int fd)
{
    char byte;
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    int got = -1;

    cr_assert_eq(recvmsg(fd, &message, 0), 1);
    cr_assert_eq(byte, 'P', "it comes with the first byte");
    if (CMSG_FIRSTHDR(&message) != NULL)
        memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof got);
    return got;
}

Test(ch_client, descriptor)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    auto_close int fd = dup(0), got = -1;
    const struct client_request request = {.action = "vm.add-net", .body = "{}", .fd = fd, .timeout_ms = 1000};
    struct stat sent, received;

    expect_text(EMPTY);
    cr_expect_eq(client_call(&ch, fake_call(), &vm, &request, &reply, &err), 0, "%s", err.message);
    got = receive_fd(scripts[0].fd);
    cr_assert_eq(fstat(fd, &sent), 0);
    cr_assert_eq(fstat(got, &received), 0);
    cr_expect_eq(sent.st_ino, received.st_ino);
}

/* ---- operations: what is read back ---- */

static const char *info(const char *state)
{
    auto_free char *body = mem_printf("{\"config\":{},\"state\":\"%s\"}", state);

    return with_body(200, body);
}

static const char *refusal(void)
{
    return with_body(500, "[\"Error from API\",\"The VM could not be paused\",\"Invalid transition\"]");
}

Test(ch_client, pause_of_what_is_paused)
{
    struct script *script = script_add(false);

    script->pieces[0] = refusal();
    script->pieces[1] = info("Paused");
    cr_expect_eq(machine_pause(&ch, fake_call(), &vm, &err), 0, "%s", err.message);
    cr_expect_not_null(strstr(heard(0), "vm.pause"));
}

Test(ch_client, pause_that_is_refused)
{
    struct script *script = script_add(false);

    script->pieces[0] = refusal();
    script->pieces[1] = info("Running");
    cr_expect_eq(machine_pause(&ch, fake_call(), &vm, &err), -1);
    cr_expect_str_eq(err.message, "Cloud Hypervisor refuses vm.pause: Error from API: The VM could not be paused: "
                                  "Invalid transition");
}

/* The answer is lost, the effect is there. */
Test(ch_client, d06_pause_whose_answer_is_lost)
{
    (void)script_add(false);
    expect_text(info("Paused"));
    cr_expect_eq(machine_pause(&ch, fake_call(), &vm, &err), 0, "%s", err.message);
    cr_expect_eq(n_dialled, 2);
}

Test(ch_client, pause_that_hangs)
{
    (void)script_add(false);
    expect_text(info("Running"));
    cr_expect_eq(machine_pause(&ch, fake_call(), &vm, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_TIMEOUT, "%s", err.message);
}

Test(ch_client, d06_boot_whose_answer_is_lost)
{
    struct script *script = script_add(false);

    script->pieces[0] = EMPTY;
    expect_text(info("Running"));
    cr_expect_eq(machine_boot(&ch, fake_call(), &vm, &err), 0, "%s", err.message);
}

/* A configuration that it would boot without confinement must go before the machine is made without. */
Test(ch_client, no_landlock_after_all)
{
    struct script *script = script_add(false);
    const char *text, *at;

    script->pieces[0] = with_body(500, "[\"Error from API\",\"Failed to apply landlock config during vm_create\"]");
    for (int i = 1; i <= 3; i++)
        script->pieces[i] = EMPTY;
    cr_expect_eq(machine_boot(&ch, fake_call(), &vm, &err), 0, "%s", err.message);
    text = heard(0);
    cr_assert_not_null(at = strstr(text, "\"landlock_enable\":true"));
    cr_assert_not_null(at = strstr(at, "PUT /api/v1/vm.delete"), "%s", text);
    cr_assert_not_null(at = strstr(at, "PUT /api/v1/vm.create"));
    cr_expect_null(strstr(at, "landlock"));
    cr_expect_not_null(strstr(at, "PUT /api/v1/vm.boot"));
    cr_expect_not_null(strstr(fake_host_log(), "warn vmm.no_landlock vmm=cloud-hypervisor reason="));
    cr_expect_not(ch.facts.has_landlock);
}

Test(ch_client, landlock_is_insisted_on)
{
    ch.landlock = "on";
    expect_text(with_body(500, "[\"Error from API\",\"Failed to apply landlock config during vm_create\"]"));
    cr_expect_eq(machine_boot(&ch, fake_call(), &vm, &err), -1);
    cr_expect_null(strstr(heard(0), "vm.boot"));
}

Test(ch_client, status)
{
    static const struct {
        const char *word;
        uint32_t state;
    } cases[] = {{"Running", RUNNER_VM_RUNNING},
                 {"Paused", RUNNER_VM_PAUSED},
                 {"Created", RUNNER_VM_ENDED},
                 {"BreakPoint", RUNNER_VM_FAILED}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct runner_vm_status status = {.size = sizeof status};

        setup();
        expect_text(info(cases[i].word));
        cr_expect_eq(machine_status(&ch, fake_call(), &vm, &status, &err), 0, "%s", err.message);
        cr_expect_eq(status.state, cases[i].state);
        cr_expect_str_eq(status.text, cases[i].word);
        client_forget_all(&ch);
        close(scripts[0].fd);
    }
    n_dialled = 0;
}

Test(ch_client, status_of_none)
{
    struct runner_vm_status status = {.size = sizeof status};

    cr_expect_eq(machine_status(&ch, fake_call(), &vm, &status, &err), 0);
    cr_expect_eq(status.state, RUNNER_VM_ABSENT);
    expect_text("HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n");
    cr_expect_eq(machine_status(&ch, fake_call(), &vm, &status, &err), 0);
    cr_expect_eq(status.state, RUNNER_VM_ENDED);
    cr_expect_str_eq(status.text, "no machine");
}

/* Silence is no death. */
Test(ch_client, d06_status_in_silence)
{
    struct runner_vm_status status = {.size = sizeof status};

    (void)script_add(false);
    cr_expect_eq(machine_status(&ch, fake_call(), &vm, &status, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_TIMEOUT);
}

static int counters_of(const char *body, struct runner_vm_counters *ret)
{
    expect_text(with_body(200, body));
    return machine_counters(&ch, fake_call(), &vm, ret, &err);
}

Test(ch_client, counters)
{
    struct runner_vm_counters counters = {.size = sizeof counters};

    cr_assert_eq(counters_of("{\"disk0\":{\"read_bytes\":512,\"write_bytes\":1024,\"read_ops\":1,\"write_ops\":2,"
                             "\"read_latency_min\":18446744073709551615,\"x\":\"18446744073709551615\"},"
                             "\"disk1\":{\"read_bytes\":1,\"read_ops\":1},"
                             "\"net0\":{\"rx_bytes\":10,\"rx_frames\":3,\"tx_bytes\":20,\"tx_frames\":4}}",
                             &counters),
                 0, "%s", err.message);
    cr_expect_eq(counters.disk_read_bytes, 513);
    cr_expect_eq(counters.disk_write_bytes, 1024);
    cr_expect_eq(counters.disk_reads, 2);
    cr_expect_eq(counters.disk_writes, 2);
    cr_expect_eq(counters.net_rx_bytes, 10);
    cr_expect_eq(counters.net_tx_bytes, 20);
    cr_expect_eq(counters.net_rx_packets, 3);
    cr_expect_eq(counters.net_tx_packets, 4);
}

Test(ch_client, counters_of_nonsense)
{
    struct runner_vm_counters counters = {.size = sizeof counters, .disk_reads = 7};

    cr_expect_eq(counters_of("[1]", &counters), -1);
    cr_expect_eq(err.code, RUNNER_E_INVALID);
    cr_expect_eq(counters.disk_reads, 7, "untouched on failure");
}

Test(ch_client, large_numbers)
{
    static const struct {
        const char *text;
        int64_t value;
    } cases[] = {{"[9223372036854775807]", INT64_MAX},     {"[9223372036854775808]", INT64_MAX},
                 {"[18446744073709551615]", INT64_MAX},    {"[99999999999999999999999]", INT64_MAX},
                 {"[9223372036854775806]", INT64_MAX - 1}, {"[1]", 1}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_json struct json *tree = NULL;

        cr_assert_eq(http_body_json(cases[i].text, strlen(cases[i].text), &tree, &err), 0, "%s", err.message);
        cr_expect_eq(tree->first->number, cases[i].value, "%s", cases[i].text);
    }
}
