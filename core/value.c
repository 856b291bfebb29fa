#include "core/value.h"

#include <inttypes.h>
#include <string.h>

#include "core/util/num.h"

static bool is_bounded(const struct runner_param *param)
{
    return param->min != 0 || param->max != 0;
}

static bool number_parse(const struct runner_param *param, const char *text, int64_t *ret)
{
    int64_t number;
    bool is_number = false;

    if (param->type == RUNNER_T_INT)
        is_number = num_int(text, INT64_MIN, INT64_MAX, &number);
    else if (param->type == RUNNER_T_BYTES)
        is_number = num_bytes(text, &number);
    else if (param->type == RUNNER_T_MSEC)
        is_number = num_msec(text, &number);
    else if (param->type == VALUE_T_FACTOR)
        is_number = num_factor(text, &number);
    if (!is_number || (is_bounded(param) && (number < param->min || number > param->max)))
        return false;
    *ret = number;
    return true;
}

static bool is_clean(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    return true;
}

static bool choice_parse(const struct runner_param *param, const char *text, int64_t *ret)
{
    for (size_t i = 0; param->choices[i] != NULL; i++)
        if (strcmp(text, param->choices[i]) == 0) {
            *ret = (int64_t)i;
            return true;
        }
    return false;
}

static bool has_dots(const char *path) /* a component ".." */
{
    for (const char *p = path; p != NULL && *p != '\0'; p = strchr(p, '/')) {
        p += *p == '/';
        if (strncmp(p, "..", 2) == 0 && (p[2] == '\0' || p[2] == '/'))
            return true;
    }
    return false;
}

static char *path_parse(const char *root, const char *text)
{
    if (*text == '\0' || !is_clean(text) || has_dots(text) || (*text != '/' && root == NULL))
        return NULL;
    return *text == '/' ? mem_dup(text) : mem_printf("%s%s%s", root, root[strlen(root) - 1] == '/' ? "" : "/", text);
}

bool value_parse(const struct runner_param *param, const char *root, const char *text, struct runner_value *ret)
{
    struct runner_value value = {.name = param->name};
    char *path = NULL;
    bool is_good = false;

    switch (param->type) {
    case RUNNER_T_STRING:
        is_good = param->choices != NULL ? choice_parse(param, text, &value.number) : is_clean(text);
        break;
    case RUNNER_T_BOOL:
        is_good = num_bool(text, &value.number);
        break;
    case RUNNER_T_PATH:
        path = path_parse(root, text);
        is_good = path != NULL;
        break;
    default:
        is_good = number_parse(param, text, &value.number);
    }
    if (!is_good)
        return false;
    if (param->type == RUNNER_T_BOOL)
        text = value.number ? "true" : "false";
    value.text = path != NULL ? path : mem_dup(text);
    *ret = value;
    return true;
}

static void bounds_add(const struct runner_param *param, struct str *out)
{
    if (!is_bounded(param))
        return;
    if (param->max == INT64_MAX) {
        str_add(out, ", at least ");
        value_format(param->type, param->min, out);
        return;
    }
    str_add(out, param->type == RUNNER_T_INT ? " from " : ", from ");
    value_format(param->type, param->min, out);
    str_add(out, " to ");
    value_format(param->type, param->max, out);
}

void value_expected(const struct runner_param *param, bool has_root, struct str *ret_text)
{
    static const char *const words[] = {
        [RUNNER_T_STRING] = "text in one line",
        [RUNNER_T_INT] = "a whole number",
        [RUNNER_T_BOOL] = "true or false",
        [RUNNER_T_BYTES] = "a size such as 512M or 20GiB",
        [RUNNER_T_MSEC] = "a time such as 250ms, 30s or 5m",
        [RUNNER_T_PATH] = "an absolute path",
    };

    if (param->choices != NULL) {
        str_add(ret_text, "one of ");
        for (size_t i = 0; param->choices[i] != NULL; i++)
            str_addf(ret_text, "%s%s", i > 0 ? ", " : "", param->choices[i]);
        return;
    }
    str_add(ret_text, param->type == VALUE_T_FACTOR ? "a number such as 2 or 1.5" : words[param->type]);
    if (param->type == RUNNER_T_PATH)
        str_add(ret_text, has_root ? " or one below the host's root, without '..'" : " without '..'");
    bounds_add(param, ret_text);
}

const char *value_type_name(uint32_t type)
{
    static const char *const names[] = {NULL, "string", "int", "bool", "bytes", "msec", "path"};

    return type < ARRAY_LEN(names) ? names[type] : NULL;
}

/* Without zeros at the end. */
static void factor_format(int64_t thousandths, struct str *out)
{
    int part = (int)(thousandths % 1000), digits = 3;

    for (; digits > 0 && part % 10 == 0; digits--)
        part /= 10;
    str_addf(out, "%" PRId64, thousandths / 1000);
    if (digits > 0)
        str_addf(out, ".%0*d", digits, part);
}

void value_format(uint32_t type, int64_t number, struct str *ret_text)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } times[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    static const char sizes[] = "TGMK";

    if (type == RUNNER_T_BOOL) {
        str_add(ret_text, number ? "true" : "false");
        return;
    }
    if (type == VALUE_T_FACTOR) {
        factor_format(number, ret_text);
        return;
    }
    for (size_t i = 0; type == RUNNER_T_MSEC && number != 0 && i < ARRAY_LEN(times); i++)
        if (number % times[i].ms == 0) {
            str_addf(ret_text, "%" PRId64 "%s", number / times[i].ms, times[i].unit);
            return;
        }
    for (int i = 0; type == RUNNER_T_BYTES && number != 0 && i < 4; i++)
        if (number % (INT64_C(1) << (10 * (4 - i))) == 0) {
            str_addf(ret_text, "%" PRId64 "%c", number >> (10 * (4 - i)), sizes[i]);
            return;
        }
    str_addf(ret_text, "%" PRId64, number);
}
