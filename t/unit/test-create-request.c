#include <criterion/criterion.h>

#include "core/create-request.h"

static struct config config = {.limits = {.cpus = 64, .memory_mb = 1 << 20, .disk_gb = 4096}};
static struct config_host host = {
    .cpus = 1, .memory_mb = 1024, .disk_gb = 3, .min_memory_mb = 1024, .memory_step_mb = 128};

#define GOOD "\"id\":\"a1\",\"userId\":\"u\",\"osUser\":\"daytona\",\"snapshot\":\"tiny\""

static int plan(const char *text, struct record **ret, const char **ret_field, struct runner_error *err)
{
    auto_json struct json *body = NULL;

    cr_assert_eq(json_parse(text, strlen(text), &body, err), 0, "%s", err->message);
    return create_request_plan(&config, &host, body, ret, ret_field, err);
}

Test(create_request, d13_quotas_have_units_and_defaults)
{
    static const struct {
        const char *text;
        int64_t cpus, memory_mib, disk_gib;
    } cases[] = {
        {"{" GOOD "}", 1, 1024, 3},
        {"{" GOOD ",\"cpuQuota\":4,\"memoryQuota\":3,\"storageQuota\":10}", 4, 3072, 10},
        {"{" GOOD ",\"cpuQuota\":null,\"gpuQuota\":0,\"volumes\":[],\"networkBlockAll\":false,\"unknown\":[{}]}", 1,
         1024, 3},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_record struct record *record = NULL;
        struct runner_error err = ERROR_INIT;
        const char *field = NULL;
        cr_assert_eq(plan(cases[i].text, &record, &field, &err), 0, "%s", err.message);
        cr_assert_eq(record->cpus, cases[i].cpus);
        cr_assert_eq(record->memory_bytes >> 20, cases[i].memory_mib);
        cr_assert_eq(record->disk_bytes >> 30, cases[i].disk_gib);
    }
}

Test(create_request, s08_secrets_of_the_moment_are_not_kept)
{
    auto_record struct record *record = NULL;
    auto_str struct str text = STR_INIT;
    struct runner_error err = ERROR_INIT;
    const char *field = NULL;

    cr_assert_eq(plan("{" GOOD ",\"authToken\":\"tok-1\",\"registry\":{\"password\":\"pw-1\"},\"env\":{\"A\":\"b\"}}",
                      &record, &field, &err),
                 0);
    record_print(record, &text);
    cr_assert_null(strstr(text.ptr, "tok-1"));
    cr_assert_null(strstr(text.ptr, "pw-1"));
    cr_assert_not_null(strstr(text.ptr, "\"A\":\"b\""));
}

Test(create_request, what_is_wrong_is_named)
{
    static const struct {
        const char *text, *field, *message;
        int code;
    } cases[] = {
        {"{}", "id", "is required", RUNNER_E_INVALID},
        {"{\"id\":7}", "id", "expected a string, found an integer", RUNNER_E_INVALID},
        {"{\"id\":\"../x\"}", "id", "must match [a-z0-9][a-z0-9-]{0,62}", RUNNER_E_INVALID},
        {"{\"id\":\"A\"}", "id", "must match [a-z0-9][a-z0-9-]{0,62}", RUNNER_E_INVALID},
        {"{\"id\":\"a\"}", "userId", "is required", RUNNER_E_INVALID},
        {"{\"id\":\"a\",\"userId\":\"u\",\"osUser\":\"\"}", "osUser", "must not be empty", RUNNER_E_INVALID},
        {"{\"id\":\"a\",\"userId\":\"u\",\"osUser\":\"x\"}", "snapshot", "is required", RUNNER_E_INVALID},
        {"{" GOOD ",\"cpuQuota\":0}", "cpuQuota", "must be at least 1, found 0", RUNNER_E_INVALID},
        {"{" GOOD ",\"memoryQuota\":0}", "memoryQuota", "must be at least 1, found 0", RUNNER_E_INVALID},
        {"{" GOOD ",\"memoryQuota\":1000000000}", "memoryQuota", "must be at most 1024, found 1000000000",
         RUNNER_E_INVALID},
        {"{" GOOD ",\"storageQuota\":1000000000}", "storageQuota", "must be at most 4096, found 1000000000",
         RUNNER_E_INVALID},
        {"{" GOOD ",\"cpuQuota\":1.5}", "cpuQuota", "expected an integer, found a number", RUNNER_E_INVALID},
        {"{" GOOD ",\"env\":{\"A B\":\"x\"}}", "env", "'A B' is not the name of a variable", RUNNER_E_INVALID},
        {"{" GOOD ",\"env\":{\"A\":1}}", "env", "'A': expected a string, found an integer", RUNNER_E_INVALID},
        {"{" GOOD ",\"entrypoint\":\"x\"}", "entrypoint", "expected an array of strings, found a string",
         RUNNER_E_INVALID},
        {"{" GOOD ",\"gpuQuota\":1}", "gpuQuota", "gpuQuota: GPUs are not supported yet", RUNNER_E_NOTSUP},
        {"{" GOOD ",\"volumes\":[{}]}", "volumes", "volumes: volumes are not supported yet", RUNNER_E_NOTSUP},
        {"{" GOOD ",\"networkBlockAll\":1}", "networkBlockAll", "expected a boolean, found an integer",
         RUNNER_E_INVALID},
        {"{" GOOD ",\"networkAllowList\":\"10.0.0.0\"}", "networkAllowList",
         "'10.0.0.0' is not an IPv4 network as a.b.c.d/n", RUNNER_E_INVALID},
        {"{" GOOD ",\"metadata\":{\"limitNetworkEgress\":\"x\"}}", "metadata",
         "metadata: limitNetworkEgress: expected true or false, found 'x'", RUNNER_E_INVALID},
        {"{" GOOD ",\"sandboxClass\":\"android\"}", "sandboxClass",
         "sandboxClass: this runner makes sandboxes of class linux-vm only", RUNNER_E_NOTSUP},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct record *record = NULL;
        struct runner_error err = ERROR_INIT;
        const char *field = NULL;
        cr_assert_eq(plan(cases[i].text, &record, &field, &err), -1, "%s", cases[i].text);
        cr_assert_str_eq(field, cases[i].field);
        cr_assert_str_eq(err.message, cases[i].message);
        cr_assert_eq(err.code, cases[i].code);
    }
}

/* {GOOD,"x":PREFIX, n times UNIT, SUFFIX n times} */
static char *request_of(const char *prefix, const char *unit, size_t n, const char *suffix)
{
    struct str text = STR_INIT;

    str_addf(&text, "{%s,\"x\":%s", GOOD, prefix);
    for (size_t i = 0; i < n; i++)
        str_add(&text, unit);
    for (size_t i = 0; i < (suffix[0] == ']' ? n : 1); i++)
        str_add(&text, suffix);
    str_add(&text, "}");
    return str_steal(&text);
}

/* UNIT n times between BEFORE and AFTER. */
static char *many(const char *before, const char *unit, size_t n, const char *after)
{
    struct str text = STR_INIT;

    str_add(&text, before);
    for (size_t i = 0; i < n; i++)
        str_add(&text, unit);
    str_add(&text, after);
    return str_steal(&text);
}

static struct json *parse(const char *text)
{
    struct runner_error err = ERROR_INIT;
    struct json *json = NULL;

    cr_assert_eq(json_parse(text, strlen(text), &json, &err), 0, "%s", err.message);
    return json;
}

/* As much as can be of what operations put there. */
static void fill(struct record *record)
{
    auto_free char *image = many("{\"x\":[0", ",0", 32000, "]}");
    auto_free char *metadata = many("{\"a\":\"", "x", 16 * 1024 - 8, "\"}");
    char **const paths[] = {&record->disk.path,   &record->disk.backing_path, &record->boot.kernel,
                            &record->boot.initramfs, &record->boot.firmware};

    record->state = SANDBOX_ERROR;
    record->image = parse(image);
    record->metadata = parse(metadata);
    record->error = many("", "\\", RUNNER_ERROR_MAX - 1, "");
    record->boot.cmdline = many("", "\"", 2048, "");
    record->disk.format = mem_dup("qcow2");
    for (size_t i = 0; i < ARRAY_LEN(paths); i++)
        *paths[i] = many("/", "\"", 4095, "");
}

/* Whatever is accepted, the next start reads. */
Test(create_request, what_is_recorded_can_be_read)
{
    static const struct {
        const char *prefix, *unit, *suffix;
        size_t n;
        int status;
    } cases[] = {
        {"", "[", "]", 30, 0},          {"", "[", "]", 31, -1},       {"[0", ",0", "\r]", 59000, 0},
        {"[0", ",0", "\r]", 59999, -1}, {"\"", "x", "\"", 850000, 0}, {"\"", "x", "\"", 853000, -1},
        {"\"", "\x7f", "\"", 850000, -1},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_free char *text = request_of(cases[i].prefix, cases[i].unit, cases[i].n, cases[i].suffix);
        auto_record struct record *record = NULL, *again = NULL;
        auto_str struct str printed = STR_INIT;
        struct runner_error err = ERROR_INIT;
        const char *field = NULL;
        cr_assert_eq(plan(text, &record, &field, &err), cases[i].status, "case %zu: %s", i, err.message);
        if (record == NULL)
            continue;
        fill(record);
        record_print(record, &printed);
        cr_assert_lt(printed.len, RECORD_MAX);
        cr_assert_eq(record_parse(printed.ptr, printed.len, record->id, &again, &err), 0, "case %zu: %s", i,
                     err.message);
    }
}
