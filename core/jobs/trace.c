#include "core/jobs/trace.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "core/log.h"
#include "core/util/num.h"
#include "core/util/str.h"

#define QUEUE_MAX   4096 /* spans */
#define BATCH_MAX   512
#define EVERY_US    INT64_C(2000000)
#define SEND_MS     10000
#define REPLY_MAX   (1 << 20)
#define HEADERS_MAX 16

enum { KIND_INTERNAL = 1, KIND_CLIENT = 3 }; /* OTLP's SpanKind */

struct span {
    char trace_id[33], id[17], parent_id[17]; /* parent_id "": none */
    char *name;
    int kind;
    int64_t begin_ns, end_ns; /* since 1970 */
    struct str attributes;    /* JSON objects, with commas between them */
    char *error;              /* or NULL */
};

struct trace {
    struct client *client;
    char *url;
    char *headers[HEADERS_MAX + 1]; /* "key: value" */
    char host[256];
    int64_t wall_ns; /* of monotonic time 0 */
    struct span queue[QUEUE_MAX];
    size_t first, n, n_sending;
    int64_t next_us;
    bool is_failing; /* the last batch was not taken */
    struct trace_stats stats;
};

/* ---- the queue ---- */

static void span_done(struct span *span)
{
    free(span->name);
    free(span->error);
    str_done(&span->attributes);
    memset(span, 0, sizeof *span);
}

/* A place at the end, or NULL. */
static struct span *push(struct trace *trace)
{
    if (trace->n == QUEUE_MAX) {
        trace->stats.dropped++;
        return NULL;
    }
    return &trace->queue[(trace->first + trace->n++) % QUEUE_MAX];
}

static void pop(struct trace *trace, size_t n)
{
    for (; n > 0; n--) {
        span_done(&trace->queue[trace->first]);
        trace->first = (trace->first + 1) % QUEUE_MAX;
        trace->n--;
    }
}

/* ---- making spans ---- */

static void random_hex(char *out, size_t digits)
{
    unsigned char bytes[16];
    size_t n = digits / 2;

    if (getrandom(bytes, n, 0) != (ssize_t)n)
        memset(bytes, 1, n);
    bytes[0] |= 1; /* all zeros would be none */
    for (size_t i = 0; i < n; i++)
        (void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void add_attribute(struct str *out, const char *key, const char *text)
{
    if (text == NULL)
        return;
    json_open(out, NULL, '{');
    json_add_text(out, "key", key);
    json_open(out, "value", '{');
    json_add_text(out, "stringValue", text);
    json_close(out, '}');
    json_close(out, '}');
}

static void add_int_attribute(struct str *out, const char *key, int64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    json_open(out, NULL, '{');
    json_add_text(out, "key", key);
    json_open(out, "value", '{');
    json_add_text(out, "intValue", text); /* 64 bits are text in OTLP's JSON */
    json_close(out, '}');
    json_close(out, '}');
}

static struct span *add_span(struct trace *trace, const struct job *job, const char *name, int64_t begin_us,
                             int64_t end_us)
{
    struct span *span = push(trace);

    if (span == NULL)
        return NULL;
    memcpy(span->trace_id, job->trace.trace_id, sizeof span->trace_id);
    memcpy(span->parent_id, job->trace.span_id, sizeof span->parent_id);
    random_hex(span->id, 16);
    span->name = mem_dup(name);
    span->kind = KIND_INTERNAL;
    span->begin_ns = trace->wall_ns + begin_us * 1000;
    span->end_ns = trace->wall_ns + end_us * 1000;
    return span;
}

void trace_begin(struct trace *trace, struct job *job)
{
    if (trace == NULL)
        return;
    if (job->traceparent != NULL)
        memcpy(job->trace.trace_id, job->traceparent + 3, 32);
    else
        random_hex(job->trace.trace_id, 32);
    random_hex(job->trace.span_id, 16);
}

static void add_phases(struct trace *trace, const struct job *job)
{
    for (size_t i = 0; i < job->n_phases; i++) {
        const struct job_phase *phase = &job->phases[i];
        struct span *span = add_span(trace, job, phase->name, phase->begin_us, phase->begin_us + phase->us);
        if (span != NULL)
            add_attribute(&span->attributes, "sandbox.id", job->resource);
    }
}

void trace_job(struct trace *trace, const struct job *job)
{
    auto_free char *name = NULL;
    struct span *span;

    if (trace == NULL || job->trace.span_id[0] == '\0')
        return;
    name = mem_printf("execute_%s", job->name);
    span = add_span(trace, job, name, job->begun_us, num_now_us());
    if (span == NULL)
        return;
    memcpy(span->id, job->trace.span_id, sizeof span->id);
    memset(span->parent_id, 0, sizeof span->parent_id);
    if (job->traceparent != NULL)
        memcpy(span->parent_id, job->traceparent + 36, 16);
    add_attribute(&span->attributes, "job.id", job->id);
    add_attribute(&span->attributes, "job.type", job->name);
    add_attribute(&span->attributes, "job.status", job->is_failed ? "FAILED" : "COMPLETED");
    add_attribute(&span->attributes, "resource.id", job->resource);
    span->error = job->is_failed ? mem_dup(job->error) : NULL;
    add_phases(trace, job);
}

void trace_told(struct trace *trace, const struct job *job, int64_t begin_us, int status)
{
    struct span *span;

    if (trace == NULL || job->trace.span_id[0] == '\0')
        return;
    span = add_span(trace, job, "update_job_status", begin_us, num_now_us());
    if (span == NULL)
        return;
    span->kind = KIND_CLIENT;
    add_attribute(&span->attributes, "job.id", job->id);
    add_attribute(&span->attributes, "job.status",
                  job->state == JOB_RUNNING ? "IN_PROGRESS"
                  : job->is_failed          ? "FAILED"
                                            : "COMPLETED");
    add_int_attribute(&span->attributes, "http.response.status_code", status);
    span->error = status / 100 == 2 ? NULL : mem_dup("the API did not take it");
}

/* ---- sending them ---- */

static void print_time(struct str *out, const char *key, int64_t ns)
{
    char text[24];

    (void)snprintf(text, sizeof text, "%lld", (long long)ns);
    json_add_text(out, key, text);
}

static void print_span(const struct span *span, struct str *out)
{
    json_open(out, NULL, '{');
    json_add_text(out, "traceId", span->trace_id);
    json_add_text(out, "spanId", span->id);
    if (span->parent_id[0] != '\0')
        json_add_text(out, "parentSpanId", span->parent_id);
    json_add_text(out, "name", span->name);
    json_add_int(out, "kind", span->kind);
    print_time(out, "startTimeUnixNano", span->begin_ns);
    print_time(out, "endTimeUnixNano", span->end_ns);
    json_open(out, "attributes", '[');
    str_add(out, str_text(&span->attributes));
    json_close(out, ']');
    json_open(out, "status", '{');
    if (span->error != NULL) {
        json_add_int(out, "code", 2);
        json_add_text(out, "message", span->error);
    }
    json_close(out, '}');
    json_close(out, '}');
}

static void print_batch(const struct trace *trace, size_t n, struct str *out)
{
    json_open(out, NULL, '{');
    json_open(out, "resourceSpans", '[');
    json_open(out, NULL, '{');
    json_open(out, "resource", '{');
    json_open(out, "attributes", '[');
    add_attribute(out, "service.name", "daytona-runner");
    add_attribute(out, "service.version", VERSION_TEXT);
    add_attribute(out, "service.instance.id", trace->host);
    json_close(out, ']');
    json_close(out, '}');
    json_open(out, "scopeSpans", '[');
    json_open(out, NULL, '{');
    json_open(out, "scope", '{');
    json_add_text(out, "name", "runner-ch");
    json_close(out, '}');
    json_open(out, "spans", '[');
    for (size_t i = 0; i < n; i++)
        print_span(&trace->queue[(trace->first + i) % QUEUE_MAX], out);
    for (const char *p = "]}]}]}"; *p != '\0'; p++)
        json_close(out, *p);
}

static void on_sent(void *ctx, const struct client_reply *reply)
{
    struct trace *trace = ctx;
    bool is_good = reply->status / 100 == 2, is_refused = reply->status / 100 == 4 && reply->status != 429;
    char status[16];

    (void)snprintf(status, sizeof status, "%d", reply->status);
    if (!is_good && !trace->is_failing)
        log_event(RUNNER_LOG_WARN, "traces.not_taken", "status", status, "error", reply->problem, NULL);
    trace->is_failing = !is_good;
    if (is_good)
        trace->stats.sent += trace->n_sending;
    else if (is_refused)
        trace->stats.dropped += trace->n_sending;
    if (is_good || is_refused)
        pop(trace, trace->n_sending);
    trace->n_sending = 0;
    trace->next_us = num_now_us() + EVERY_US;
}

int64_t trace_step(struct trace *trace, int64_t now_us, bool at_once)
{
    auto_str struct str body = STR_INIT;
    struct client_request request = {
        .method = "POST", .timeout_ms = SEND_MS, .reply_max = REPLY_MAX, .done = on_sent, .ctx = trace};

    if (trace == NULL || trace->n == 0 || trace->n_sending > 0)
        return INT64_MAX;
    if (!at_once && now_us < trace->next_us && (trace->is_failing || trace->n < BATCH_MAX))
        return trace->next_us;
    trace->n_sending = trace->n < BATCH_MAX ? trace->n : BATCH_MAX;
    print_batch(trace, trace->n_sending, &body);
    request.url = trace->url;
    request.headers = (const char *const *)trace->headers;
    request.body = str_text(&body);
    client_send(trace->client, &request);
    return INT64_MAX;
}

/* ---- its life ---- */

static int digit_of(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, c | 0x20) : NULL;

    return at != NULL ? (int)(at - digits) : -1;
}

/* %41 becomes A, in place. */
static void decode(char *text)
{
    char *to = text;

    for (; *text != '\0'; text++) {
        if (text[0] == '%' && digit_of(text[1]) >= 0 && digit_of(text[2]) >= 0) {
            *to++ = (char)(digit_of(text[1]) << 4 | digit_of(text[2]));
            text += 2;
        } else {
            *to++ = *text;
        }
    }
    *to = '\0';
}

/* "key=value,key=value", values as in a URL; what is none of that is left out. */
static void read_headers(struct trace *trace, const char *text)
{
    auto_free char *copy = mem_dup(text != NULL ? text : "");
    char *state = NULL;
    size_t n = 0;

    for (char *pair = strtok_r(copy, ",", &state); pair != NULL && n < HEADERS_MAX;
         pair = strtok_r(NULL, ",", &state)) {
        char *value = strchr(pair, '=');
        if (value == NULL || value == pair)
            continue;
        *value++ = '\0';
        decode(value);
        if (strpbrk(pair, "\r\n: ") == NULL && strpbrk(value, "\r\n") == NULL)
            trace->headers[n++] = mem_printf("%s: %s", pair, value);
    }
    explicit_bzero(copy, strlen(copy));
}

struct trace *trace_new(const struct trace_config *config, struct client *client)
{
    struct trace *trace;

    if (config->endpoint == NULL)
        return NULL;
    trace = mem_alloc(sizeof *trace);
    trace->client = client;
    trace->url = mem_printf("%s/v1/traces", config->endpoint);
    trace->wall_ns = (num_wall_us() - num_now_us()) * 1000;
    if (gethostname(trace->host, sizeof trace->host - 1) < 0)
        (void)snprintf(trace->host, sizeof trace->host, "unknown");
    read_headers(trace, config->headers);
    return trace;
}

void trace_free(struct trace *trace)
{
    if (trace == NULL)
        return;
    pop(trace, trace->n);
    for (size_t i = 0; trace->headers[i] != NULL; i++) {
        explicit_bzero(trace->headers[i], strlen(trace->headers[i]));
        free(trace->headers[i]);
    }
    free(trace->url);
    free(trace);
}

bool trace_is_idle(const struct trace *trace)
{
    return trace == NULL || trace->n == 0;
}

struct trace_stats trace_stats(const struct trace *trace)
{
    return trace != NULL ? trace->stats : (struct trace_stats){.sent = 0};
}
