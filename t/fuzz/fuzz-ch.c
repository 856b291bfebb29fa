/* What a Cloud Hypervisor says: a conversation with one that says these bytes, whatever it is asked; its events, whole
 * and in two parts; its version line. */
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/util/error.h"
#include "plugins/vmm/cloud-hypervisor/check.h"
#include "plugins/vmm/cloud-hypervisor/client.h"
#include "plugins/vmm/cloud-hypervisor/event.h"
#include "plugins/vmm/cloud-hypervisor/machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int peer; /* handed out by dial */

static int fuzz_dial(struct runner_call *call, const char *address, int *ret_fd, struct runner_error *err)
{
    (void)call;
    (void)address;
    if (peer < 0)
        return fail(err, RUNNER_E_UNREACHABLE, 0, "nobody");
    *ret_fd = peer;
    peer = -1;
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

/* Two calls over one connection: what is left of the first reply must not become the second. */
static void converse(const uint8_t *data, size_t size)
{
    struct ch ch = {.host = &host, .lock = PTHREAD_MUTEX_INITIALIZER};
    const struct runner_vm vm = {.size = sizeof vm, .id = "x", .socket_path = "/"};
    struct runner_vm_status status = {.size = sizeof status};
    struct runner_vm_counters counters = {.size = sizeof counters};
    struct runner_error err = ERROR_INIT;
    int ends[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        abort();
    (void)!send(ends[1], data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(ends[1], SHUT_WR);
    peer = ends[0];
    if (machine_counters(&ch, NULL, &vm, &counters, &err) < 0)
        check_error(&err);
    if (machine_status(&ch, NULL, &vm, &status, &err) < 0)
        check_error(&err);
    else if (status.text[0] == '\0' && status.state == RUNNER_VM_RUNNING)
        abort();
    client_forget_all(&ch);
    close(ends[1]);
}

static size_t count_events(const char *data, size_t size, size_t cut)
{
    CLEANUP(event_parser_done) struct event_parser parser = EVENT_PARSER_INIT;
    struct runner_vm_event event = {.size = sizeof event};
    size_t n = 0;

    event_parser_feed(&parser, data, cut);
    while (event_parser_next(&parser, &event) == 1)
        n++;
    event_parser_feed(&parser, data + cut, size - cut);
    while (event_parser_next(&parser, &event) == 1)
        n++;
    if (parser.in.len - parser.start > EVENT_MAX + 1)
        abort();
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_free char *text = mem_dup_n((const char *)data, size);
    struct ch_facts facts = {0};

    converse(data, size);
    if (size <= EVENT_MAX && count_events(text, size, size) != count_events(text, size, size / 2))
        abort();
    if (size > EVENT_MAX)
        (void)count_events(text, size, size / 2);
    if (check_parse_version(text, &facts) && strlen(facts.version) >= sizeof facts.version)
        abort();
    return 0;
}
