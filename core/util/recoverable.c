#include "core/util/recoverable.h"

#include <string.h>

#include "core/util/json.h"

bool recoverable_is(const char *message)
{
    return strcasestr(message, "no space left on device") != NULL || strcasestr(message, "storage limit") != NULL ||
           strcasestr(message, "disk quota exceeded") != NULL;
}

void recoverable_add(struct str *out, const char *message)
{
    auto_free char *reason = mem_printf("%s - you may attempt a recovery action", message);

    json_open(out, NULL, '{');
    json_add_text(out, "errorReason", reason);
    json_add_bool(out, "recoverable", true);
    json_close(out, '}');
}
