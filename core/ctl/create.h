/* Parts of create that others use. */
#ifndef CTL_CREATE_H
#define CTL_CREATE_H

#include "core/ctl/options.h"
#include "core/util/json.h"

/* Appends an object of NAME=VALUE words; of a repeated name the last. INVALID when a word is none. */
int create_add_env(struct str *out, const char *key, const struct words *env, struct runner_error *err);

/* Appends the phases of a reply as a table with their sum. */
void create_add_timings(struct str *out, const struct json *reply);

#endif
