/* The API client of vmm/cloud-hypervisor, against scripted connections: replies, connections. */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "core/util/cleanup.h"
#include "plugins/vmm/cloud-hypervisor/http.h"
#include "t/unit/ch-script.h"

TestSuite(ch_client, .init = script_open, .fini = script_close, .timeout = 60);

static int get(const char *action, struct client_reply *reply)
{
    const struct client_request request = {.action = action, .is_get = true, .fd = -1, .timeout_ms = 1000};

    return client_call(&ch, fake_call(), &vm, &request, reply, &err);
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

        script = script_add(false);
        script->pieces[0] = first;
        script->pieces[1] = text + cut;
        cr_assert_eq(get("vm.info", &reply), 0, "cut at %zu: %s", cut, err.message);
        cr_assert_str_eq(str_text(&reply.body), "hello", "cut at %zu", cut);
        script_renew();
    }
}

Test(ch_client, interim_reply)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;

    expect_text("HTTP/1.1 100 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n" EMPTY);
    cr_expect_eq(get("vm.info", &reply), 0, "%s", err.message);
    cr_expect_eq(reply.status, 204);
}

static void expect_failure(const char *text, int code, int status, const char *part)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;

    expect_text(text);
    cr_expect_eq(get("vm.info", &reply), -1, "%s", text);
    cr_expect_not_null(strstr(err.message, part), "%s: %s", text, err.message);
    cr_expect_eq(err.code, code, "%s: %d: %s", text, err.code, err.message);
    cr_expect_eq(reply.status, status, "%s", text);
    script_renew();
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
    cr_expect_eq(ch.n_idle, 1);
    client_forget(&ch, "sb-1");
    cr_expect_eq(ch.n_idle, 0);
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
    cr_expect_eq(ch.n_idle, 0);
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
