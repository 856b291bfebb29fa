/* What a Cloud Hypervisor says: a conversation with one that says these bytes, whatever it is asked; its events, whole
 * and in two parts; its version line. */
#include <string.h>

#include "plugins/vmm/cloud-hypervisor/check.h"
#include "plugins/vmm/cloud-hypervisor/client.h"
#include "plugins/vmm/cloud-hypervisor/event.h"
#include "plugins/vmm/cloud-hypervisor/machine.h"
#include "t/fuzz/fuzz.h"
#include "t/fuzz/peer.h"

/* Two calls over one connection: what is left of the first reply must not become the second. */
static void converse(const uint8_t *data, size_t size)
{
    struct ch ch = {.host = &peer_host, .lock = PTHREAD_MUTEX_INITIALIZER};
    const struct runner_vm vm = {.size = sizeof vm, .id = "x", .socket_path = "/"};
    struct runner_vm_status status = {.size = sizeof status};
    struct runner_vm_counters counters = {.size = sizeof counters};
    struct runner_error err = ERROR_INIT;

    peer_says(data, size);
    if (machine_counters(&ch, NULL, &vm, &counters, &err) < 0)
        need_reason(&err);
    if (machine_status(&ch, NULL, &vm, &status, &err) < 0)
        need_reason(&err);
    else
        need(status.text[0] != '\0' || status.state != RUNNER_VM_RUNNING);
    client_forget_all(&ch);
    peer_done();
}

/* Calls at once: as many succeeded as were answered well. */
static void converse_at_once(const uint8_t *data, size_t size)
{
    static const struct client_request requests[] = {
        {.action = "vm.create", .body = "{}", .fd = -1, .timeout_ms = 1000},
        {.action = "vm.add-net", .body = "{}", .fd = -1, .timeout_ms = 1000},
        {.action = "vm.boot", .fd = -1, .timeout_ms = 1000},
    };
    struct ch ch = {.host = &peer_host, .lock = PTHREAD_MUTEX_INITIALIZER};
    const struct runner_vm vm = {.size = sizeof vm, .id = "x", .socket_path = "/"};
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    struct runner_error err = ERROR_INIT;
    size_t done = 0;

    peer_says(data, size);
    if (client_calls(&ch, NULL, &vm, requests, ARRAY_LEN(requests), &reply, &done, &err) < 0) {
        need_reason(&err);
        need(done < ARRAY_LEN(requests));
    } else {
        need(done == ARRAY_LEN(requests) && reply.status >= 200 && reply.status < 300);
    }
    client_forget_all(&ch);
    peer_done();
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
    need(parser.in.len - parser.start <= EVENT_MAX + 1);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_free char *text = mem_dup_n((const char *)data, size);
    struct ch_facts facts = {0};

    converse(data, size);
    converse_at_once(data, size);
    if (size <= EVENT_MAX)
        need(count_events(text, size, size) == count_events(text, size, size / 2));
    else
        (void)count_events(text, size, size / 2);
    if (check_parse_version(text, &facts))
        need(strlen(facts.version) < sizeof facts.version);
    return 0;
}
