/* What a QEMU says: a conversation with one that says these bytes, whatever it is asked, and its version line. */
#include <string.h>

#include "plugins/vmm/qemu/probe.h"
#include "plugins/vmm/qemu/qmp.h"
#include "t/fuzz/fuzz.h"
#include "t/fuzz/peer.h"

static void converse(const uint8_t *data, size_t size, bool is_at_once)
{
    struct runner_error err = ERROR_INIT;
    auto_qmp struct qmp qmp = QMP_INIT;
    auto_json struct json *value = NULL;

    peer_says(data, size);
    if (is_at_once ? qmp_open(&qmp, &peer_host, NULL, "/", 1000, "query-status", &value, &err) < 0
                   : qmp_open(&qmp, &peer_host, NULL, "/", 1000, NULL, NULL, &err) < 0 ||
                         qmp_execute(&qmp, "query-status", &value, &err) < 0)
        need_reason(&err);
    else
        need(value != NULL);
    peer_done();
}

static void parse(const char *text, size_t size)
{
    struct runner_error err = ERROR_INIT;
    CLEANUP(qmp_message_done) struct qmp_message message = {0};
    struct qemu_facts facts = {0};

    if (qmp_parse(text, size, &message, &err) < 0)
        need_reason(&err);
    if (probe_parse_version(text, &facts))
        need(strlen(facts.version) < sizeof facts.version);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_free char *text = mem_dup_n((const char *)data, size);

    converse(data, size, false);
    converse(data, size, true);
    parse(text, size);
    return 0;
}
