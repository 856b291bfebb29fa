/* vmm/qemu's QMP client: single lines, and conversations with a scripted peer on a socket. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core/util/num.h"
#include "plugins/vmm/qemu/qmp.h"
#include "kit/fake/host.h"

#define GREETING                                                                                                       \
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}}, \"capabilities\": "              \
    "[\"oob\"]}}\r\n"
#define READY GREETING "{\"return\": {}, \"id\": 1}\r\n"

#define PATIENCE_MS 60000 /* for what must come, on the slowest machine */

static struct runner_error err = ERROR_INIT;

/* ---- one line ---- */

static enum qmp_kind kind_of(const char *line)
{
    CLEANUP(qmp_message_done) struct qmp_message message = {0};

    cr_assert_eq(qmp_parse(line, strlen(line), &message, &err), 0, "%s: %s", line, err.message);
    return message.kind;
}

Test(qmp_line, kinds)
{
    cr_expect_eq(kind_of(GREETING), QMP_GREETING);
    cr_expect_eq(kind_of("{\"return\": {}, \"id\": 1}\r"), QMP_RETURN);
    cr_expect_eq(kind_of("{\"id\": 1, \"return\": []}"), QMP_RETURN);
    cr_expect_eq(kind_of("{\"error\": {\"class\": \"GenericError\", \"desc\": \"x\"}}"), QMP_ERROR);
    cr_expect_eq(kind_of("{\"timestamp\": {}, \"event\": \"STOP\"}"), QMP_EVENT);
}

Test(qmp_line, refused)
{
    static const char *const lines[] = {"",
                                        "\r",
                                        "garbage",
                                        "[]",
                                        "{}",
                                        "1",
                                        "{\"QMP\": 1}",
                                        "{\"event\": 7}",
                                        "{\"error\": \"x\"}",
                                        "{\"return\": {}",
                                        "{\"return\": {}} {}",
                                        "\xff\xfe"};

    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct qmp_message message = {0};

        cr_expect_eq(qmp_parse(lines[i], strlen(lines[i]), &message, &err), -1, "%s", lines[i]);
        cr_expect_null(message.tree);
        cr_expect_eq(err.code, RUNNER_E_INVALID);
    }
}

Test(qmp_line, members)
{
    CLEANUP(qmp_message_done) struct qmp_message message = {0};
    static const char line[] = "{\"error\": {\"desc\": \"no\", \"class\": \"DeviceNotFound\"}, \"id\": 7}";

    cr_assert_eq(qmp_parse(line, strlen(line), &message, &err), 0);
    cr_expect_eq(message.id, 7);
    cr_expect_str_eq(message.name, "DeviceNotFound");
    cr_expect_str_eq(message.text, "no");
}

/* ---- a peer that says a text and keeps what it hears ---- */

static struct peer {
    char path[64];
    int listener;
    const char *text;  /* said at once: replies may be ahead of their commands */
    size_t filler;     /* bytes of a long string before the text's last line */
    const char *flood; /* said again and again until the client closes, or NULL */
    bool stays;        /* keeps the connection open afterwards, until the client closes */
    char heard[512];
    pthread_t thread;
} peer;

static void *peer_run(void *arg)
{
    int fd = accept(peer.listener, NULL, NULL);
    size_t len = 0;
    ssize_t n;

    (void)arg;
    (void)!send(fd, peer.text, strlen(peer.text), MSG_NOSIGNAL);
    for (size_t i = 0; i < peer.filler; i += 4096) {
        static char filler[4096];

        memset(filler, 'x', sizeof filler);
        if (send(fd, filler, sizeof filler, MSG_NOSIGNAL) < 0)
            break;
    }
    while (peer.flood != NULL && send(fd, peer.flood, strlen(peer.flood), MSG_NOSIGNAL) > 0)
        ;
    if (!peer.stays)
        shutdown(fd, SHUT_WR);
    while ((n = recv(fd, peer.heard + len, sizeof peer.heard - 1 - len, 0)) > 0)
        len += (size_t)n;
    close(fd);
    return NULL;
}

static void peer_start(const char *text, bool stays)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    peer.text = text;
    peer.stays = stays;
    (void)snprintf(peer.path, sizeof peer.path, "/tmp/test-qmp.%d", (int)getpid());
    memcpy(address.sun_path, peer.path, strlen(peer.path));
    peer.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)unlink(peer.path);
    cr_assert_eq(bind(peer.listener, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(peer.listener, 1), 0);
    cr_assert_eq(pthread_create(&peer.thread, NULL, peer_run, NULL), 0);
}

static void peer_end(void)
{
    pthread_join(peer.thread, NULL);
    close(peer.listener);
    (void)unlink(peer.path);
}

static int open_peer(struct qmp *qmp, int64_t ms)
{
    return qmp_open(qmp, fake_host(), fake_call(), peer.path, ms, NULL, NULL, &err);
}

Test(qmp, conversation, .init = fake_host_reset)
{
    struct qmp qmp = QMP_INIT;
    auto_json struct json *value = NULL;

    peer_start(READY "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"RESUME\"}\r\n"
                     "{\"return\": {\"status\": \"running\", \"running\": true}, \"id\": 2}\r\n"
                     "{\"id\": 3, \"return\": {\"status\": \"paused\"}}\r\n"
                     "{\"id\": 4, \"error\": {\"class\": \"GenericError\", \"desc\": \"not now\"}}\r\n",
               true);
    cr_assert_eq(open_peer(&qmp, PATIENCE_MS), 0, "%s", err.message);
    cr_assert_eq(qmp_execute(&qmp, "query-status", &value, &err), 0, "%s", err.message);
    cr_expect_str_eq(json_text(value, "status", ""), "running");
    json_free(value);
    value = NULL;
    cr_assert_eq(qmp_execute(&qmp, "query-status", &value, &err), 0, "%s", err.message); /* the value comes last */
    cr_expect_str_eq(json_text(value, "status", ""), "paused");
    cr_expect_eq(qmp_execute(&qmp, "cont", NULL, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_IO);
    cr_expect_str_eq(err.message, "QEMU refuses cont: not now");
    qmp_close(&qmp);
    qmp_close(&qmp);
    peer_end();
    cr_expect_str_eq(peer.heard,
                     "{\"execute\":\"qmp_capabilities\",\"id\":1}\n{\"execute\":\"query-status\",\"id\":2}\n"
                     "{\"execute\":\"query-status\",\"id\":3}\n{\"execute\":\"cont\",\"id\":4}\n");
}

struct failure {
    const char *text;
    bool stays;
    int code;
    const char *message;
};

Test(qmp, question_at_once, .init = fake_host_reset)
{
    struct qmp qmp = QMP_INIT;
    auto_json struct json *value = NULL, *next = NULL;

    peer_start(
        READY
        "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"RESUME\"}\r\n"
        "{\"return\": {\"status\": \"paused\"}, \"id\": 2}\r\n{\"return\": {\"status\": \"running\"}, \"id\": 3}\r\n",
        true);
    cr_assert_eq(qmp_open(&qmp, fake_host(), fake_call(), peer.path, PATIENCE_MS, "query-status", &value, &err), 0,
                 "%s", err.message);
    cr_expect_str_eq(json_text(value, "status", ""), "paused");
    cr_assert_eq(qmp_execute(&qmp, "query-status", &next, &err), 0, "%s", err.message);
    cr_expect_str_eq(json_text(next, "status", ""), "running");
    qmp_close(&qmp);
    peer_end();
    cr_expect_str_eq(peer.heard,
                     "{\"execute\":\"qmp_capabilities\",\"id\":1}\n{\"execute\":\"query-status\",\"id\":2}\n"
                     "{\"execute\":\"query-status\",\"id\":3}\n");
}

Test(qmp, question_that_fails, .init = fake_host_reset)
{
    static const struct failure cases[] = {
        {READY, true, RUNNER_E_TIMEOUT, "QMP: no answer in time"},
        {READY, false, RUNNER_E_UNREACHABLE, "QMP: QEMU closed the connection"},
        {READY "{\"return\": {}, \"id\": 1}\r\n", true, RUNNER_E_INVALID,
         "QMP: an answer to another command than query-status"},
        {READY "{\"error\": {\"desc\": \"not now\"}, \"id\": 2}\r\n", true, RUNNER_E_IO,
         "QEMU refuses query-status: not now"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qmp qmp = QMP_INIT;
        auto_json struct json *value = NULL;

        peer_start(cases[i].text, cases[i].stays);
        cr_expect_eq(qmp_open(&qmp, fake_host(), fake_call(), peer.path,
                              cases[i].code == RUNNER_E_TIMEOUT ? 100 : PATIENCE_MS, "query-status", &value, &err),
                     -1);
        cr_expect_eq(err.code, cases[i].code, "%zu: %s", i, err.message);
        cr_expect_str_eq(err.message, cases[i].message);
        cr_expect_eq(qmp.fd, -1);
        cr_expect_null(value);
        peer_end();
    }
}

Test(qmp, talks_without_end, .init = fake_host_reset, .timeout = 120)
{
    struct qmp qmp = QMP_INIT;

    peer.flood = "{\"timestamp\": {}, \"event\": \"RESUME\"}\r\n";
    peer_start(GREETING, true);
    cr_expect_eq(open_peer(&qmp, 200), -1);
    cr_expect_eq(err.code, RUNNER_E_TIMEOUT);
    peer_end();
}

static const struct failure failures[] = {
    {"", false, RUNNER_E_UNREACHABLE, "QMP: QEMU closed the connection"},
    {"", true, RUNNER_E_TIMEOUT, "QMP: no answer in time"},
    {GREETING, false, RUNNER_E_UNREACHABLE, "QMP: QEMU closed the connection"},
    {GREETING, true, RUNNER_E_TIMEOUT, "QMP: no answer in time"},
    {GREETING "{\"return\": {", false, RUNNER_E_UNREACHABLE, "QMP: QEMU closed the connection"},
    {"{\"return\": {}}\r\n", true, RUNNER_E_INVALID, "QMP: no greeting"},
    {GREETING "{\"return\": {}, \"id\": 9}\r\n", true, RUNNER_E_INVALID,
     "QMP: an answer to another command than qmp_capabilities"},
    {GREETING "{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}\r\n", true, RUNNER_E_IO,
     "QEMU refuses qmp_capabilities: JSON parse error"},
};

Test(qmp, failures, .init = fake_host_reset)
{
    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        struct qmp qmp = QMP_INIT;

        peer_start(failures[i].text, failures[i].stays);
        cr_expect_eq(open_peer(&qmp, failures[i].code == RUNNER_E_TIMEOUT ? 100 : PATIENCE_MS), -1);
        cr_expect_eq(err.code, failures[i].code, "%zu: %s", i, err.message);
        cr_expect_str_eq(err.message, failures[i].message);
        cr_expect_eq(qmp.fd, -1);
        peer_end();
    }
}

Test(qmp, garbage, .init = fake_host_reset)
{
    struct qmp qmp = QMP_INIT;

    peer_start("HTTP/1.1 400 Bad Request\r\n", true);
    cr_expect_eq(open_peer(&qmp, PATIENCE_MS), -1);
    cr_expect_eq(err.code, RUNNER_E_INVALID);
    peer_end();
}

Test(qmp, endless_line, .init = fake_host_reset)
{
    struct qmp qmp = QMP_INIT;

    peer.filler = QMP_LINE_MAX + (1 << 20);
    peer_start(GREETING "{\"return\": \"", true);
    cr_expect_eq(open_peer(&qmp, PATIENCE_MS), -1);
    cr_expect_eq(err.code, RUNNER_E_INVALID);
    cr_expect_str_eq(err.message, "QMP: a line longer than 8388608 bytes");
    peer_end();
}

Test(qmp, cancelled, .init = fake_host_reset)
{
    struct qmp qmp = QMP_INIT;

    peer_start("", true);
    fake_host_deadline(20);
    cr_expect_eq(open_peer(&qmp, PATIENCE_MS), -1);
    cr_expect_eq(err.code, RUNNER_E_TIMEOUT);
    peer_end();
    fake_host_cancel(true);
    cr_expect_eq(open_peer(&qmp, PATIENCE_MS), -1);
    cr_expect_eq(err.code, RUNNER_E_CANCELLED);
}

Test(qmp, nobody, .init = fake_host_reset)
{
    struct qmp qmp = QMP_INIT;

    cr_expect_eq(qmp_open(&qmp, fake_host(), fake_call(), "/tmp/no such socket", 1000, NULL, NULL, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_UNREACHABLE);
}
