/* The body of a create: refused with a reason, or a record that is read again as it was written, and a seed that a
 * guest takes. */
#include <string.h>

#include "core/create-request.h"
#include "t/fuzz/fuzz.h"
#include "t/fuzz/seed.h"

static const struct config config = {.limits = {.cpus = 64, .memory_mb = 1 << 20, .disk_gb = 4096}};
static const struct config_host host = {.snapshot = (char *)"tiny",
                                        .cpus = 1,
                                        .memory_mb = 1024,
                                        .disk_gb = 3,
                                        .min_memory_mb = 1024,
                                        .memory_step_mb = 128};

static void need_readable(const struct record *record)
{
    auto_record struct record *again = NULL;
    auto_str struct str text = STR_INIT, text_again = STR_INIT;
    struct runner_error err = ERROR_INIT;

    record_print(record, &text);
    need(text.len <= RECORD_MAX);
    need(record_parse(text.ptr, text.len, record->id, &again, &err) == 0);
    record_print(again, &text_again);
    need(strcmp(text.ptr, text_again.ptr) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct runner_nic nic = {.size = sizeof nic,
                                          .kind = RUNNER_NIC_TAP,
                                          .name = "tap-x",
                                          .mac = "02:ba:78:16:bf:8f",
                                          .address = "10.0.0.5",
                                          .gateway = "10.0.0.1",
                                          .dns = "192.0.2.1",
                                          .prefix_len = 24};
    struct runner_error err = ERROR_INIT;
    auto_json struct json *body = NULL;
    auto_record struct record *record = NULL;
    const char *field = NULL;

    if (json_parse((const char *)data, size, &body, &err) < 0) {
        need_reason(&err);
        return 0;
    }
    if (create_request_plan(&config, &host, body, &record, &field, &err) < 0) {
        need_reason(&err);
        need(field != NULL);
        return 0;
    }
    record->nic = nic;
    need_readable(record);
    seed_check(record);
    return 0;
}
