/* What a QEMU says: a conversation with one that says these bytes, whatever it is asked, and its version line. */
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "plugins/vmm/qemu/probe.h"
#include "plugins/vmm/qemu/qmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int peer; /* handed out by dial */

static int fuzz_dial(struct runner_call *call, const char *address, int *ret_fd, struct runner_error *err)
{
    (void)call;
    (void)address;
    (void)err;
    *ret_fd = peer;
    return 0;
}

static int fuzz_wait(struct runner_call *call, int fd, short events, int64_t ms)
{
    struct pollfd p = {.fd = fd, .events = events};

    (void)call;
    return poll(&p, 1, ms < 100 ? (int)ms : 100) > 0 ? p.revents : 0;
}

static int fuzz_cancelled(struct runner_call *call)
{
    (void)call;
    return 0;
}

static const struct runner_host host = {
    .size = sizeof host, .dial = fuzz_dial, .wait = fuzz_wait, .cancelled = fuzz_cancelled};

static void check_error(const struct runner_error *err)
{
    if (err->code == 0 || err->message[0] == '\0')
        abort();
}

static void converse(const uint8_t *data, size_t size)
{
    struct runner_error err = ERROR_INIT;
    auto_qmp struct qmp qmp = QMP_INIT;
    auto_json struct json *value = NULL;
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        abort();
    (void)!send(ends[1], data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(ends[1], SHUT_WR);
    peer = ends[0];
    if (qmp_open(&qmp, &host, NULL, "/", 1000, &err) < 0 || qmp_execute(&qmp, "query-status", &value, &err) < 0)
        check_error(&err);
    else if (value == NULL)
        abort();
    close(ends[1]);
}

static void parse(const char *text, size_t size)
{
    struct runner_error err = ERROR_INIT;
    CLEANUP(qmp_message_done) struct qmp_message message = {0};
    struct qemu_facts facts = {0};

    if (qmp_parse(text, size, &message, &err) < 0)
        check_error(&err);
    if (probe_parse_version(text, &facts) && strlen(facts.version) >= sizeof facts.version)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_free char *text = mem_dup_n((const char *)data, size);

    converse(data, size);
    parse(text, size);
    return 0;
}
