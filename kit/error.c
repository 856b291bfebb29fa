/* What runner-plugin.h says of an error. */
#include <string.h>

#include "core/util/utf8.h"
#include "kit/op.h"

const char *error_code_fault(const struct runner_error *err)
{
    if (err->code == 0)
        return "no code";
    return err->code < RUNNER_E_INVALID || err->code > RUNNER_E_DENIED ? "a code that there is not" : NULL;
}

const char *error_message_fault(const struct runner_error *err)
{
    const unsigned char *p = (const unsigned char *)err->message;
    size_t len = 0;

    if (memchr(err->message, '\0', sizeof err->message) == NULL)
        return "a message without an end";
    if (err->message[0] == '\0')
        return "no message";
    for (; *p != '\0'; p += len) {
        if (*p < 0x20 || *p == 0x7f)
            return "a message with a newline or another control character";
        len = utf8_len(p, UTF8_MAX);
        if (len == 0 && strlen((const char *)p) > 3) /* one that was cut may end in the midst of a character */
            return "a message that is not UTF-8";
        if (len == 0)
            return NULL;
    }
    return NULL;
}
