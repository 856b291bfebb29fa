/* Jobs of the API as they come: strange ones are failures of their own, never of the poll that brought them. */
#include "core/jobs/job.h"

#include <criterion/criterion.h>
#include <string.h>

#define ID    "c99a0445-029d-42a3-9bc2-a4e06073645b"
#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static struct job *parse(const char *text)
{
    auto_json struct json *from = NULL;
    struct runner_error err = ERROR_INIT;
    struct job *job = NULL;

    cr_assert_eq(json_parse(text, strlen(text), &from, &err), 0, "%s", err.message);
    return job_parse(from, &job, &err) == 0 ? job : NULL;
}

Test(job, as_the_api_sends_it)
{
    struct job *job = parse("{\"id\": \"" ID "\", \"type\": \"STOP_SANDBOX\", \"status\": \"IN_PROGRESS\","
                            " \"resourceType\": \"SANDBOX\", \"resourceId\": \"box\", \"payload\": \"{\\\"force\\\":true}\","
                            " \"traceContext\": {\"traceparent\": \"" TRACE "\"}, \"more\": [1]}");

    cr_assert_not_null(job);
    cr_assert_str_eq(job->id, ID);
    cr_assert_eq(job->type, JOB_STOP_SANDBOX);
    cr_assert_str_eq(job->resource, "box");
    cr_assert(json_bool(job->payload, "force", false));
    cr_assert_str_eq(job->traceparent, TRACE);
    cr_assert_eq(job->state, JOB_RUNNING);
    job_free(job);
}

Test(job, gotcha_5_absent_null_and_empty_payloads_are_none)
{
    const char *const payloads[] = {"", ", \"payload\": null", ", \"payload\": \"\"", ", \"payload\": \"null\""};

    for (size_t i = 0; i < ARRAY_LEN(payloads); i++) {
        auto_free char *text = mem_printf("{\"id\": \"" ID "\", \"type\": \"DESTROY_SANDBOX\"%s}", payloads[i]);
        struct job *job = parse(text);
        cr_assert_not_null(job);
        cr_assert_null(job->payload, "%s", payloads[i]);
        cr_assert_null(job->payload_problem, "%s", payloads[i]);
        job_free(job);
    }
}

Test(job, a_payload_that_is_none_is_the_jobs_own_problem)
{
    static const struct {
        const char *payload, *problem;
    } cases[] = {{"{}", "payload: expected a string, found an object"},
                 {"\"[1]\"", "payload: expected an object, found an array"},
                 {"\"{\\\"a\\\":\"", "payload: "},
                 {"\"7\"", "payload: expected an object, found an integer"}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_free char *text = mem_printf("{\"id\": \"" ID "\", \"type\": \"X\", \"payload\": %s}", cases[i].payload);
        struct job *job = parse(text);
        cr_assert_not_null(job);
        cr_assert_null(job->payload);
        cr_assert_eq(strncmp(job->payload_problem, cases[i].problem, strlen(cases[i].problem)), 0, "%s",
                     job->payload_problem);
        job_free(job);
    }
}

Test(job, unknown_types_keep_their_name)
{
    struct job *job = parse("{\"id\": \"" ID "\", \"type\": \"DANCE\"}");

    cr_assert_eq(job->type, JOB_TYPES);
    cr_assert_str_eq(job->name, "DANCE");
    cr_assert_str_eq(job->resource, "");
    job_free(job);
}

Test(job, without_an_id_nobody_can_be_told)
{
    cr_assert_null(parse("{}"));
    cr_assert_null(parse("7"));
    cr_assert_null(parse("{\"id\": 7}"));
    cr_assert_null(parse("{\"id\": \"\"}"));
    cr_assert_null(parse("{\"id\": \"../../etc\"}"));
    cr_assert_null(parse("{\"id\": \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0\"}"));
}

Test(job, a_trace_that_is_none_is_left_out)
{
    const char *const traces[] = {"", "00", TRACE "0", "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                  "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"};

    for (size_t i = 0; i < ARRAY_LEN(traces); i++) {
        auto_free char *text =
            mem_printf("{\"id\": \"" ID "\", \"traceContext\": {\"traceparent\": \"%s\"}}", traces[i]);
        struct job *job = parse(text);
        cr_assert_null(job->traceparent, "%s", traces[i]);
        job_free(job);
    }
}
