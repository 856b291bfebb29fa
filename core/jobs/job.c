#include "core/jobs/job.h"

#include <string.h>

#include "core/util/str.h"
#include "core/util/text.h"

#define ERROR_MAX       10000 /* characters of an errorMessage that the API keeps */
#define ID_MAX          64
#define RESOURCE_MAX    512
#define TRACEPARENT_LEN 55

static const char *const type_names[JOB_TYPES] = {[JOB_CREATE_SANDBOX] = "CREATE_SANDBOX",
                                                  [JOB_START_SANDBOX] = "START_SANDBOX",
                                                  [JOB_STOP_SANDBOX] = "STOP_SANDBOX",
                                                  [JOB_PAUSE_SANDBOX] = "PAUSE_SANDBOX",
                                                  [JOB_DESTROY_SANDBOX] = "DESTROY_SANDBOX",
                                                  [JOB_RESIZE_SANDBOX] = "RESIZE_SANDBOX",
                                                  [JOB_RECOVER_SANDBOX] = "RECOVER_SANDBOX",
                                                  [JOB_UPDATE_SANDBOX_NETWORK_SETTINGS] =
                                                      "UPDATE_SANDBOX_NETWORK_SETTINGS",
                                                  [JOB_CREATE_BACKUP] = "CREATE_BACKUP",
                                                  [JOB_SNAPSHOT_SANDBOX] = "SNAPSHOT_SANDBOX",
                                                  [JOB_FORK_SANDBOX] = "FORK_SANDBOX",
                                                  [JOB_BUILD_SNAPSHOT] = "BUILD_SNAPSHOT",
                                                  [JOB_PULL_SNAPSHOT] = "PULL_SNAPSHOT",
                                                  [JOB_REMOVE_SNAPSHOT] = "REMOVE_SNAPSHOT",
                                                  [JOB_INSPECT_SNAPSHOT_IN_REGISTRY] = "INSPECT_SNAPSHOT_IN_REGISTRY"};

static enum job_type type_of(const char *name)
{
    for (int type = 0; type < JOB_TYPES; type++)
        if (strcmp(type_names[type], name) == 0)
            return (enum job_type)type;
    return JOB_TYPES;
}

bool job_is_id(const char *text)
{
    size_t len = strspn(text, "0123456789abcdefABCDEF-");

    return len > 0 && len <= ID_MAX && text[len] == '\0';
}

struct job *job_new(const char *id)
{
    struct job *job = mem_alloc(sizeof *job);

    job->id = mem_dup(id);
    return job;
}

void job_free(struct job *job)
{
    if (job == NULL)
        return;
    free(job->id);
    free(job->name);
    free(job->resource);
    json_free(job->payload);
    free(job->payload_problem);
    free(job->traceparent);
    free(job->error);
    free(job->result);
    free(job);
}

/* The payload is text that holds JSON; absent, null and "" are the same. */
static void read_payload(const struct json *from, struct job *job)
{
    const struct json *payload = json_get(from, "payload");
    struct runner_error err = ERROR_INIT;

    if (payload == NULL || payload->type == JSON_NULL || (payload->type == JSON_STRING && payload->text[0] == '\0'))
        return;
    if (payload->type != JSON_STRING) {
        job->payload_problem = mem_printf("payload: expected a string, found %s", json_type_name(payload->type));
        return;
    }
    if (json_parse(payload->text, strlen(payload->text), &job->payload, &err) < 0) {
        job->payload_problem = mem_printf("payload: %s", err.message);
        return;
    }
    if (job->payload->type == JSON_OBJECT)
        return;
    if (job->payload->type != JSON_NULL)
        job->payload_problem = mem_printf("payload: expected an object, found %s", json_type_name(job->payload->type));
    json_free(job->payload);
    job->payload = NULL;
}

/* 00-<32 hex digits>-<16>-<2>; anything else is no trace. */
static bool is_traceparent(const char *text)
{
    static const int parts[] = {2, 32, 16, 2};

    if (strlen(text) != TRACEPARENT_LEN)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (strspn(text, "0123456789abcdef") != (size_t)parts[i] || (text[parts[i]] != '-' && text[parts[i]] != '\0'))
            return false;
        text += parts[i] + 1;
    }
    return true;
}

int job_parse(const struct json *from, struct job **ret, struct runner_error *err)
{
    const char *id = json_text(from, "id", ""), *resource = json_text(from, "resourceId", "");
    const char *trace = json_text(json_get(from, "traceContext"), "traceparent", "");
    struct job *job;

    if (!job_is_id(id))
        return fail(err, RUNNER_E_INVALID, 0, "a job has no id that is one: '%.80s'", id);
    job = job_new(id);
    job->name = mem_dup_n(json_text(from, "type", ""), strnlen(json_text(from, "type", ""), ID_MAX));
    job->type = type_of(job->name);
    job->resource = mem_dup_n(resource, strnlen(resource, RESOURCE_MAX));
    job->traceparent = is_traceparent(trace) ? mem_dup(trace) : NULL;
    read_payload(from, job);
    *ret = job;
    return 0;
}

void job_complete(struct job *job, char *result)
{
    job->is_failed = false;
    free(job->result);
    job->result = result;
}

void job_fail(struct job *job, const char *message)
{
    job->is_failed = true;
    free(job->error);
    job->error = mem_dup_n(message, strnlen(message, ERROR_MAX));
}
