#include "core/log.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/util/json.h"
#include "core/util/text.h"

#define FIELDS_MAX 24

static uint32_t log_level = RUNNER_LOG_INFO;
static bool log_json;

void log_setup(uint32_t level, bool as_json)
{
    log_level = level;
    log_json = as_json;
}

static void now_text(char *text, size_t size)
{
    struct timespec now;
    struct tm tm;
    size_t len;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    len = strftime(text, size, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(text + len, size - len, ".%03ldZ", now.tv_nsec / 1000000);
}

static void add_value(struct str *line, const char *value)
{
    if (value[0] != '\0' && strpbrk(value, " \"=\\\n\t") == NULL) {
        text_add_escaped(line, value, strlen(value));
        return;
    }
    str_add_char(line, '"');
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '"')
            str_add(line, "\\\"");
        else
            text_add_escaped(line, p, 1);
    }
    str_add_char(line, '"');
}

void log_fields(uint32_t level, const char *event, const struct runner_field *fields, size_t n)
{
    static const char *const levels[] = {"none", "error", "warn", "info", "debug"};
    auto_str struct str line = STR_INIT;
    char time_text[40];

    if (level > log_level)
        return;
    now_text(time_text, sizeof time_text);
    level = level < ARRAY_LEN(levels) ? level : RUNNER_LOG_DEBUG;
    if (log_json) {
        json_open(&line, NULL, '{');
        json_add_text(&line, "time", time_text);
        json_add_text(&line, "level", levels[level]);
        json_add_text(&line, "event", event);
        for (size_t i = 0; i < n; i++)
            json_add_text(&line, fields[i].key, fields[i].value);
        json_close(&line, '}');
    } else {
        str_addf(&line, "%s %-5s event=%s", time_text, levels[level], event);
        for (size_t i = 0; i < n; i++) {
            str_addf(&line, " %s=", fields[i].key);
            add_value(&line, fields[i].value);
        }
    }
    str_add_char(&line, '\n');
    (void)!write(STDERR_FILENO, line.ptr, line.len);
}

void log_event(uint32_t level, const char *event, ...)
{
    struct runner_field fields[FIELDS_MAX];
    size_t n = 0;
    const char *key;
    va_list args;

    if (level > log_level)
        return;
    va_start(args, event);
    while (n < FIELDS_MAX && (key = va_arg(args, const char *)) != NULL) {
        const char *value = va_arg(args, const char *);
        if (value != NULL)
            fields[n++] = (struct runner_field){key, value};
    }
    va_end(args);
    log_fields(level, event, fields, n);
}
