/* The API client of vmm/cloud-hypervisor, against scripted connections: replies, connections. */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>
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

/* One read as the other side makes it; *ret_inode is of the descriptor that came along, 0: none. */
static const char *hear(int fd, ino_t *ret_inode)
{
    static char text[1024];
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = text, .iov_len = sizeof text - 1};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    auto_close int got = -1;
    ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct stat st = {0};

    cr_assert_geq(n, 0);
    text[n] = '\0';
    *ret_inode = 0;
    if (CMSG_FIRSTHDR(&message) == NULL)
        return text;
    cr_expect_eq(CMSG_FIRSTHDR(&message)->cmsg_len, CMSG_LEN(sizeof(int)), "one");
    memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof got);
    cr_assert_eq(fstat(got, &st), 0);
    *ret_inode = st.st_ino;
    return text;
}

static ino_t inode_of(int fd)
{
    struct stat st;

    cr_assert_eq(fstat(fd, &st), 0);
    return st.st_ino;
}

Test(ch_client, descriptor)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    auto_close int fd = memfd_create("tap", MFD_CLOEXEC);
    const struct client_request request = {.action = "vm.add-net", .body = "{}", .fd = fd, .timeout_ms = 1000};
    ino_t inode;

    expect_text(EMPTY);
    cr_expect_eq(client_call(&ch, fake_call(), &vm, &request, &reply, &err), 0, "%s", err.message);
    cr_expect_not_null(strstr(hear(scripts[0].fd, &inode), "vm.add-net"));
    cr_expect_eq(inode, inode_of(fd));
}

/* ---- calls at once ---- */

static const struct client_request *three(int first, int second)
{
    static struct client_request requests[3];

    requests[0] = (struct client_request){.action = "vm.create", .body = "{}", .fd = first, .timeout_ms = 1000};
    requests[1] = (struct client_request){.action = "vm.add-net", .body = "[]", .fd = second, .timeout_ms = 50000};
    requests[2] = (struct client_request){.action = "vm.boot", .fd = -1, .timeout_ms = 1000};
    return requests;
}

static int call_three(struct client_reply *reply, size_t *ret_done)
{
    return client_calls(&ch, fake_call(), &vm, three(0, 0), 3, reply, ret_done, &err);
}

/* The other side gives what a read brought to the first request that is complete in it. */
Test(ch_client, each_gets_its_own_descriptor)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    auto_close int first = memfd_create("first", MFD_CLOEXEC), second = memfd_create("second", MFD_CLOEXEC);
    struct script *script = script_add(false);
    size_t done = 0;
    ino_t inode;

    script->pieces[0] = script->pieces[1] = script->pieces[2] = EMPTY;
    cr_expect_eq(client_calls(&ch, fake_call(), &vm, three(first, second), 3, &reply, &done, &err), 0, "%s",
                 err.message);
    cr_expect_eq(done, 3);
    cr_expect_eq(n_dialled, 1);
    cr_expect_eq(ch.n_idle, 1);
    cr_expect_str_eq(hear(script->fd, &inode), "PUT /api/v1/vm.create HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n"
                                               "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
    cr_expect_eq(inode, inode_of(first));
    cr_expect_str_eq(hear(script->fd, &inode), "PUT /api/v1/vm.add-net HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n"
                                               "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n[]");
    cr_expect_eq(inode, inode_of(second));
    cr_expect_str_eq(hear(script->fd, &inode),
                     "PUT /api/v1/vm.boot HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n");
    cr_expect_eq(inode, 0);
}

Test(ch_client, answers_in_any_pieces)
{
    static const char all[] = EMPTY "HTTP/1.1 200 \r\n" SERVER "Content-Length: 5\r\n\r\nhello" EMPTY;

    for (size_t cut = 1; cut < sizeof all - 1; cut++) {
        auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
        auto_free char *first = mem_dup_n(all, cut);
        struct script *script = script_add(false);
        size_t done = 0;

        script->pieces[0] = first;
        script->pieces[1] = all + cut;
        cr_assert_eq(call_three(&reply, &done), 0, "cut at %zu: %s", cut, err.message);
        cr_assert_eq(done, 3);
        cr_assert_eq(reply.status, 204);
        cr_assert_eq(ch.n_idle, 1, "cut at %zu", cut);
        script_renew();
    }
}

Test(ch_client, junk_behind_the_last_answer)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    size_t done = 0;

    expect_text(EMPTY EMPTY EMPTY EMPTY);
    cr_expect_eq(call_three(&reply, &done), 0, "%s", err.message);
    cr_expect_eq(ch.n_idle, 0);
}

/* After a refusal nothing more is awaited, and the connection, on which answers are due, is not used again. */
Test(ch_client, one_of_them_is_refused)
{
    static const char *const names[] = {"vm.create", "vm.add-net", "vm.boot"};

    for (size_t refused = 0; refused < 3; refused++) {
        auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
        auto_free char *wanted = mem_printf("Cloud Hypervisor refuses %s: a: b", names[refused]);
        struct script *script = script_add(false);
        size_t done = 9;

        for (size_t i = 0; i < refused; i++)
            script->pieces[i] = EMPTY;
        script->pieces[refused] = with_body(500, "[\"a\",\"b\"]");
        cr_expect_eq(call_three(&reply, &done), -1);
        cr_expect_str_eq(err.message, wanted);
        cr_expect_eq(done, refused);
        cr_expect_eq(reply.status, 500);
        cr_expect_eq(ch.n_idle, refused == 2);
        script_renew();
    }
}

Test(ch_client, each_has_its_own_time)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    size_t done = 9;

    expect_text(EMPTY);
    cr_expect_eq(call_three(&reply, &done), -1);
    cr_expect_eq(err.code, RUNNER_E_TIMEOUT);
    cr_expect_str_eq(err.message, "Cloud Hypervisor does not answer vm.add-net in time");
    cr_expect_eq(done, 1);
    cr_expect_eq(reply.status, 0);
    cr_expect_gt(waited_ms, 40000);
    cr_expect_eq(ch.n_idle, 0);
}

Test(ch_client, closed_after_an_answer)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    struct script *script = script_add(false);
    size_t done = 9;

    script->pieces[0] = script->pieces[1] = EMPTY;
    script->is_closed = true;
    cr_expect_eq(get("vm.info", &reply), 0, "%s", err.message);
    cr_expect_eq(call_three(&reply, &done), -1);
    cr_expect_eq(err.code, RUNNER_E_UNREACHABLE);
    cr_expect_str_eq(err.message, "Cloud Hypervisor closed the connection during vm.add-net");
    cr_expect_eq(done, 1);
    cr_expect_eq(n_dialled, 1, "not asked again: it had begun to answer");
}

Test(ch_client, closed_before_any_answer)
{
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    struct script *script = script_add(true);
    size_t done = 9;

    script->pieces[0] = EMPTY;
    expect_text(EMPTY EMPTY EMPTY);
    cr_expect_eq(get("vm.info", &reply), 0, "%s", err.message);
    cr_expect_eq(call_three(&reply, &done), 0, "%s", err.message);
    cr_expect_eq(done, 3);
    cr_expect_eq(n_dialled, 2);
}
