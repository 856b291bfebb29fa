/* What of a request and of its image a guest is told. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#include "core/sandbox-seed.h"
#include "t/unit/volume.h"

static const struct runner_nic nic = {
    .size = sizeof nic, .mac = "02:00:00:00:00:01", .address = "10.0.0.2", .prefix_len = 24};

static struct runner_nic nic_of_record;

static void setup(void)
{
    nic_of_record = nic;
}

TestSuite(sandbox_seed, .init = setup);

static struct json *parse(const char *text)
{
    struct runner_error err = ERROR_INIT;
    struct json *json = NULL;

    cr_assert_eq(json_parse(text, strlen(text), &json, &err), 0, "%s in %s", err.message, text);
    return json;
}

/* runner.json of the seed of a sandbox with this request and this image (NULL: none). */
static struct json *told(const char *request, const char *image)
{
    const struct config_host config = {.name = (char *)"local"};
    auto_record struct record *record = record_new("one");
    struct runner_error err = ERROR_INIT;
    auto_str struct str iso = STR_INIT;
    auto_free char *text = NULL;
    size_t len;

    record->snapshot = mem_dup("reg.example/app:1");
    record->request = parse(request);
    record->image = image != NULL ? parse(image) : NULL;
    record->nic = nic_of_record;
    record->boot.has_daemon = true;
    cr_assert_eq(sandbox_seed(&config, record, &iso, &err), 0, "%s", err.message);
    text = volume_read(&iso, "runner.json", &len);
    cr_assert_not_null(text);
    return parse(text);
}

static const char *variable(const struct json *j, const char *name)
{
    return json_text(json_get(j, "env"), name, "-");
}

Test(sandbox_seed, without_an_image)
{
    auto_json struct json *j = told("{\"osUser\":\"daytona\",\"env\":{\"A\":\"1\"},\"organizationId\":\"o\","
                                    "\"regionId\":\"\",\"entrypoint\":[\"run\"]}",
                                    NULL);

    cr_expect_null(json_get(j, "runAs"));
    cr_expect_null(json_get(j, "workdir"));
    cr_expect_str_eq(json_text(j, "user", ""), "daytona");
    cr_expect_str_eq(variable(j, "A"), "1");
    cr_expect_str_eq(variable(j, "DAYTONA_ORGANIZATION_ID"), "o");
    cr_expect_str_eq(variable(j, "DAYTONA_REGION_ID"), "-");
    cr_expect_str_eq(json_get(j, "entrypoint")->first->text, "run");
}

Test(sandbox_seed, a_guest_is_told_what_it_has_itself)
{
    auto_json struct json *plain = told("{}", NULL), *j = NULL;

    cr_expect_str_eq(json_text(json_get(plain, "network"), "address", ""), "10.0.0.2");
    (void)snprintf(nic_of_record.guest_mac, sizeof nic_of_record.guest_mac, "02:00:c0:00:00:02");
    (void)snprintf(nic_of_record.guest_address, sizeof nic_of_record.guest_address, "192.0.0.2");
    (void)snprintf(nic_of_record.guest_gateway, sizeof nic_of_record.guest_gateway, "192.0.0.1");
    nic_of_record.guest_prefix_len = 29;
    j = told("{}", NULL);
    cr_expect_str_eq(json_text(json_get(j, "network"), "mac", ""), "02:00:c0:00:00:02");
    cr_expect_str_eq(json_text(json_get(j, "network"), "address", ""), "192.0.0.2");
    cr_expect_str_eq(json_text(json_get(j, "network"), "gateway", ""), "192.0.0.1");
    cr_expect_eq(json_int(json_get(j, "network"), "prefix", 0), 29);
}

Test(sandbox_seed, the_request_goes_before_the_image)
{
    auto_json struct json *j =
        told("{\"osUser\":\"daytona\",\"env\":{\"A\":\"mine\"},\"entrypoint\":null}",
             "{\"env\":{\"A\":\"its\",\"B\":\"its\",\"DAYTONA_SANDBOX_ID\":\"another\"},\"user\":\"app\","
             "\"workdir\":\"/srv\",\"entrypoint\":[\"/bin/app\"],\"cmd\":[\"-v\"]}");

    cr_expect_str_eq(json_text(j, "runAs", ""), "app");
    cr_expect_str_eq(json_text(j, "workdir", ""), "/srv");
    cr_expect_str_eq(variable(j, "A"), "mine");
    cr_expect_str_eq(variable(j, "B"), "its");
    cr_expect_str_eq(variable(j, "DAYTONA_SANDBOX_ID"), "one");
    cr_expect_str_eq(variable(j, "DAYTONA_SANDBOX_USER"), "daytona");
    cr_expect_str_eq(json_get(j, "entrypoint")->first->text, "/bin/app");
    cr_expect_null(json_get(j, "entrypoint")->first->next, "a plain CMD is dropped (contract 6.1)");
}

Test(sandbox_seed, what_is_said_of_the_sandbox_goes_before_the_image)
{
    auto_json struct json *j =
        told("{\"organizationId\":\"o\",\"otelEndpoint\":\"http://ours\",\"env\":{\"DAYTONA_REGION_ID\":\"mine\"},"
             "\"regionId\":\"r\"}",
             "{\"env\":{\"DAYTONA_ORGANIZATION_ID\":\"its\",\"DAYTONA_OTEL_ENDPOINT\":\"http://theirs\","
             "\"DAYTONA_REGION_ID\":\"its\"}}");
    auto_json struct json *without = told("{}", "{\"env\":{\"DAYTONA_ORGANIZATION_ID\":\"its\"}}");

    cr_expect_str_eq(variable(j, "DAYTONA_ORGANIZATION_ID"), "o");
    cr_expect_str_eq(variable(j, "DAYTONA_OTEL_ENDPOINT"), "http://ours", "the image's maker gets no telemetry");
    cr_expect_str_eq(variable(j, "DAYTONA_REGION_ID"), "mine");
    cr_expect_str_eq(variable(without, "DAYTONA_ORGANIZATION_ID"), "its");
}

Test(sandbox_seed, an_image_of_the_daemon)
{
    auto_json struct json *j = told("{\"osUser\":\"daytona\"}",
                                    "{\"entrypoint\":[\"/usr/local/bin/daytona\"],\"cmd\":[\"sleep\",\"1\"]}");

    cr_expect_str_eq(json_text(j, "runAs", ""), "root");
    cr_expect_str_eq(json_get(j, "entrypoint")->first->text, "sleep");
}

Test(sandbox_seed, an_image_that_is_odd_is_refused)
{
    static const char *const images[] = {"{\"env\":[]}", "{\"env\":{\"A\":1}}", "{\"entrypoint\":\"sh\"}",
                                         "{\"user\":\"a b\"}", "{\"workdir\":\"x\"}"};
    const struct config_host config = {.name = (char *)"local"};

    for (size_t i = 0; i < ARRAY_LEN(images); i++) {
        auto_record struct record *record = record_new("one");
        struct runner_error err = ERROR_INIT;
        auto_str struct str iso = STR_INIT;

        record->snapshot = mem_dup("x");
        record->request = parse("{}");
        record->image = parse(images[i]);
        record->boot.has_daemon = true;
        cr_expect_eq(sandbox_seed(&config, record, &iso, &err), -1, "%s", images[i]);
        cr_expect_eq(err.code, RUNNER_E_INVALID);
    }
}
