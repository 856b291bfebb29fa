#include "core/util/num.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Digits at the start of the text; where they end in *ret_end. */
static bool digits(const char *text, int64_t *ret, const char **ret_end)
{
    int64_t value = 0;
    const char *p = text;

    if (!isdigit((unsigned char)*p))
        return false;
    for (; isdigit((unsigned char)*p); p++)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *p - '0', &value))
            return false;
    *ret = value;
    *ret_end = p;
    return true;
}

bool num_int(const char *text, int64_t min, int64_t max, int64_t *ret)
{
    bool negative = text[0] == '-';
    const char *end;
    int64_t value;

    if (!digits(text + negative, &value, &end) || *end != '\0')
        return false;
    value = negative ? -value : value;
    if (value < min || value > max)
        return false;
    *ret = value;
    return true;
}

bool num_bool(const char *text, int64_t *ret)
{
    static const char *const words[2][3] = {{"false", "no", "off"}, {"true", "yes", "on"}};

    for (int value = 0; value < 2; value++)
        for (int i = 0; i < 3; i++)
            if (strcmp(text, words[value][i]) == 0) {
                *ret = value;
                return true;
            }
    return false;
}

bool num_bytes(const char *text, int64_t *ret)
{
    static const char units[] = "KMGT";
    const char *end, *unit;
    int64_t value;

    if (!digits(text, &value, &end))
        return false;
    if (*end != '\0') {
        unit = strchr(units, toupper((unsigned char)*end));
        if (unit == NULL || (end[1] != '\0' && strcmp(end + 1, "iB") != 0 && strcmp(end + 1, "B") != 0))
            return false;
        if (__builtin_mul_overflow(value, INT64_C(1) << (10 * (unit - units + 1)), &value))
            return false;
    }
    *ret = value;
    return true;
}

bool num_factor(const char *text, int64_t *ret)
{
    int64_t whole, part = 0;
    const char *end;

    if (!digits(text, &whole, &end) || __builtin_mul_overflow(whole, 1000, &whole))
        return false;
    if (*end == '.') {
        const char *point = end;
        if (!digits(point + 1, &part, &end) || end - point > 4)
            return false;
        for (long n = end - point; n < 4; n++)
            part *= 10;
    }
    return *end == '\0' && !__builtin_add_overflow(whole, part, ret);
}

bool num_msec(const char *text, int64_t *ret)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    const char *end;
    int64_t value;

    if (!digits(text, &value, &end))
        return false;
    if (value == 0 && *end == '\0') {
        *ret = 0;
        return true;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(end, units[i].unit) == 0)
            return !__builtin_mul_overflow(value, units[i].ms, ret);
    return false;
}

int64_t num_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t num_now_ms(void)
{
    return num_now_us() / 1000;
}

int64_t num_wall_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t num_wall_ms(void)
{
    return num_wall_us() / 1000;
}
