/* One value of a configuration: text that is checked and turned into what a parameter's type says. */
#ifndef VALUE_H
#define VALUE_H

#include <stdbool.h>

#include "include/runner-plugin.h"
#include "core/util/str.h"

/* A type that core's own settings have, beside the RUNNER_T_* of plugins: a number such as 1.5, kept in thousandths. */
#define VALUE_T_FACTOR 100

/*
 * Parses text as the parameter's type says. root: put before a relative PATH; NULL: relative paths are refused. On
 * success ret->name is the parameter's, ret->text is the caller's to free, ret->number is in the type's unit. False:
 * text is not such a value; value_expected() says what would be.
 */
bool value_parse(const struct runner_param *param, const char *root, const char *text, struct runner_value *ret);

/* "a whole number from 1 to 64", "one of text, json", ...: completes "expected". */
void value_expected(const struct runner_param *param, bool has_root, struct str *ret_text);

/* "string", "int", "bool", "bytes", "msec", "path"; NULL: no such type. */
const char *value_type_name(uint32_t type);

/* Shortest config syntax for a number of the type: 90000 ms is 90s, 1 GiB is 1G, a BOOL is true or false. */
void value_format(uint32_t type, int64_t number, struct str *ret_text);

#endif
