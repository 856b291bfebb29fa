#include "core/recover-request.h"

#include "core/util/recoverable.h"

#define MIB (INT64_C(1) << 20)

static int read_text(const struct json *body, const char *member, const char **ret, struct runner_error *err)
{
    const struct json *value = json_get(body, member);

    *ret = "";
    if (value == NULL || value->type == JSON_NULL)
        return 0;
    if (value->type != JSON_STRING)
        return fail(err, RUNNER_E_INVALID, 0, "%s: expected a string, found %s", member, json_type_name(value->type));
    *ret = value->text;
    return 0;
}

int recover_request_read(const struct json *body, bool *ret_full, struct runner_error *err)
{
    const char *reason, *backup_reason;

    if (read_text(body, "errorReason", &reason, err) < 0 ||
        read_text(body, "backupErrorReason", &backup_reason, err) < 0)
        return -1;
    *ret_full = recoverable_is(reason[0] != '\0' ? reason : backup_reason);
    return 0;
}

int64_t recover_extra(int64_t disk_bytes, int64_t had_bytes)
{
    const int64_t more_bytes = disk_bytes / 20 / MIB * MIB;

    return more_bytes > 0 && had_bytes + more_bytes <= disk_bytes / 10 ? had_bytes + more_bytes : -1;
}
