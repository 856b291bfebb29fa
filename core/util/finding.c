#include "core/util/finding.h"

#include <stdarg.h>

#include "core/util/str.h"

void finding_say(const struct finding_sink *to, uint32_t level, const char *topic, const char *fix, const char *format,
                 ...)
{
    struct runner_finding finding = {.size = sizeof finding, .level = level, .topic = topic, .fix = fix};
    auto_str struct str text = STR_INIT;
    va_list args;

    va_start(args, format);
    str_addv(&text, format, args);
    va_end(args);
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f)
            text.ptr[i] = ' ';
    finding.text = str_text(&text);
    to->say(to->ctx, &finding);
}

const char *finding_level_name(uint32_t level)
{
    static const char *const names[] = {"?", "ok", "warn", "FAIL", "skip"};

    return names[level < ARRAY_LEN(names) ? level : 0];
}
