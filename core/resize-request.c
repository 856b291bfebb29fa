#include "core/resize-request.h"

#include "core/create-request.h"

#define GIB (INT64_C(1) << 30)

static int read_total(const struct json *body, const char *member, int64_t max, int64_t *ret, struct runner_error *err)
{
    const struct json *value = json_get(body, member);

    *ret = 0;
    if (value == NULL || value->type == JSON_NULL)
        return 0;
    if (value->type != JSON_INT)
        return fail(err, RUNNER_E_INVALID, 0, "%s: expected an integer, found %s", member, json_type_name(value->type));
    if (value->number < 0 || value->number > max)
        return fail(err, RUNNER_E_INVALID, 0, "%s: must be 0 to %lld, found %lld", member, (long long)max,
                    (long long)value->number);
    *ret = value->number;
    return 0;
}

int resize_request_read(const struct config *config, const struct config_host *host, const struct json *body,
                        struct resize *ret, struct runner_error *err)
{
    int64_t cpus, memory_gib, disk_gib;

    if (read_total(body, "cpu", config->limits.cpus, &cpus, err) < 0 ||
        read_total(body, "memory", config->limits.memory_mb / 1024, &memory_gib, err) < 0 ||
        read_total(body, "disk", config->limits.disk_gb, &disk_gib, err) < 0)
        return -1;
    *ret = (struct resize){.cpus = (uint32_t)cpus,
                           .memory_bytes = memory_gib > 0 ? create_request_memory(host, memory_gib) : 0,
                           .disk_bytes = disk_gib * GIB};
    return 0;
}
