#include "t/fuzz/seed.h"

#include <string.h>
#include <yaml.h>

#include "core/sandbox-seed.h"
#include "t/fuzz/fuzz.h"
#include "t/unit/volume.h"

static void need_yaml(const char *text, size_t len)
{
    yaml_parser_t parser;
    yaml_event_t event;
    bool is_end = false;

    need(yaml_parser_initialize(&parser));
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    while (!is_end) {
        need(yaml_parser_parse(&parser, &event));
        is_end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
}

void seed_check(struct record *record)
{
    static const char *const documents[] = {"meta-data", "user-data", "network-config"};
    struct config_host host = {.name = (char *)"local"};
    auto_str struct str iso = STR_INIT;
    auto_free char *own = NULL;
    struct runner_error err = ERROR_INIT;
    size_t len;

    record->boot.has_daemon = true; /* else the host's daemon is read and packed, a megabyte */
    if (sandbox_seed(&host, record, &iso, &err) < 0) {
        need_reason(&err);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
        auto_free char *text = volume_read(&iso, documents[i], &len);
        need(text != NULL || i == 2); /* without an address there is no network */
        if (text != NULL)
            need_yaml(text, len);
    }
    own = volume_read(&iso, "runner.json", &len);
    need(own != NULL);
    guest_seed_check(own, len, record->id);
}
