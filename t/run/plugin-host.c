#include "t/run/plugin-host.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/str.h"

#define STEPS_MAX 64

struct runner_call {
    int64_t deadline_ms; /* on the monotonic clock; -1: none */
    int cancel_fd;
};

struct runner_batch {
    struct runner_step *steps[STEPS_MAX];
    struct runner_result results[STEPS_MAX];
    size_t n;
    bool has_run;
};

static struct runner_call the_call = {.deadline_ms = -1, .cancel_fd = -1};
static const struct runner_plugin *transport;
static void *transport_self;
static atomic_llong live;
static int n_tests, n_failed;

/* ---- tap ------------------------------------------------------------------------------------------------------ */

void tap_ok(bool is_ok, const char *format, ...)
{
    va_list args;

    n_tests++;
    n_failed += !is_ok;
    printf("%sok %d - ", is_ok ? "" : "not ", n_tests);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

void tap_note(const char *format, ...)
{
    va_list args;

    printf("# ");
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

int tap_done(void)
{
    printf("1..%d\n", n_tests);
    return n_failed == 0 ? 0 : 1;
}

/* ---- services ------------------------------------------------------------------------------------------------- */

static void *host_alloc(size_t size)
{
    live++;
    return malloc(size);
}

static void host_release(void *p)
{
    live -= p != NULL;
    free(p);
}

int64_t host_live(void)
{
    return live;
}

static void host_log(struct runner_call *call, uint32_t level, const char *event, const struct runner_field *fields,
                     size_t n)
{
    auto_str struct str line = STR_INIT;

    (void)call;
    str_addf(&line, "log %u %s", level, event);
    for (size_t i = 0; i < n; i++)
        str_addf(&line, " %s=%s", fields[i].key, fields[i].value);
    tap_note("%s", str_text(&line));
}

static int64_t host_left_ms(struct runner_call *call)
{
    int64_t left = call->deadline_ms < 0 ? INT32_MAX : call->deadline_ms - num_now_ms();

    return left > 0 ? left : 0;
}

static bool is_cancelled(struct runner_call *call)
{
    struct pollfd p = {.fd = call->cancel_fd, .events = POLLIN};

    return call->cancel_fd >= 0 && poll(&p, 1, 0) > 0;
}

static int host_cancelled(struct runner_call *call)
{
    if (is_cancelled(call))
        return RUNNER_E_CANCELLED;
    return host_left_ms(call) == 0 ? RUNNER_E_TIMEOUT : 0;
}

static int host_wait(struct runner_call *call, int fd, short events, int64_t ms)
{
    struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = call->cancel_fd, .events = POLLIN}};
    int64_t left = host_left_ms(call);
    int n = poll(p, 2, (int)(ms >= 0 && ms < left ? ms : left));

    if (n < 0)
        return -1;
    if (p[1].revents != 0) {
        errno = ECANCELED;
        return -1;
    }
    if (n == 0 && host_left_ms(call) == 0) {
        errno = ETIMEDOUT;
        return -1;
    }
    return n > 0 ? p[0].revents : 0;
}

static const char *host_root(struct runner_call *call)
{
    (void)call;
    return "/nonexistent";
}

struct runner_call *host_call(int64_t ms, int cancel_fd)
{
    the_call.deadline_ms = ms < 0 ? -1 : num_now_ms() + ms;
    the_call.cancel_fd = cancel_fd;
    return &the_call;
}

/* ---- batches -------------------------------------------------------------------------------------------------- */

static struct runner_step *step_copy(const struct runner_step *step)
{
    struct runner_step *copy = mem_alloc(sizeof *copy);
    size_t n = 0;

    memcpy(copy, step, step->size < sizeof *copy ? step->size : sizeof *copy);
    copy->path = mem_dup(step->path);
    copy->to = mem_dup(step->to);
    copy->data = step->data != NULL ? mem_dup_n(step->data, step->len) : NULL;
    while (step->argv != NULL && step->argv[n] != NULL)
        n++;
    if (step->argv != NULL) {
        const char **argv = mem_array(n + 1, sizeof *argv);
        for (size_t i = 0; i < n; i++)
            argv[i] = mem_dup(step->argv[i]);
        copy->argv = argv;
    }
    copy->undo = step->undo != NULL ? step_copy(step->undo) : NULL;
    return copy;
}

static void step_free(struct runner_step *step)
{
    if (step == NULL)
        return;
    step_free((struct runner_step *)(uintptr_t)step->undo);
    for (size_t i = 0; step->argv != NULL && step->argv[i] != NULL; i++)
        free((char *)(uintptr_t)step->argv[i]);
    free((void *)(uintptr_t)step->argv);
    free((char *)(uintptr_t)step->path);
    free((char *)(uintptr_t)step->to);
    free((void *)(uintptr_t)step->data);
    free(step);
}

static struct runner_batch *host_batch_new(struct runner_call *call)
{
    (void)call;
    return mem_alloc(sizeof(struct runner_batch));
}

static void host_batch_free(struct runner_batch *batch)
{
    if (batch == NULL)
        return;
    for (size_t i = 0; i < batch->n; i++) {
        step_free(batch->steps[i]);
        host_release(batch->results[i].out);
    }
    free(batch);
}

static int host_add(struct runner_batch *batch, const struct runner_step *step, struct runner_error *err)
{
    if (batch->n == STEPS_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "more than %d steps", STEPS_MAX);
    batch->steps[batch->n] = step_copy(step);
    return (int)batch->n++;
}

static const struct runner_result *host_result(const struct runner_batch *batch, int index)
{
    return batch->has_run && index >= 0 && (size_t)index < batch->n ? &batch->results[index] : NULL;
}

int host_run_batch(struct runner_batch *batch, struct runner_error *err)
{
    const struct runner_transport_ops *ops = transport->ops;

    batch->has_run = true;
    return ops->run(transport_self, &the_call, (const struct runner_step *const *)batch->steps, batch->n,
                    batch->results, err);
}

static int host_run(struct runner_call *call, struct runner_batch *batch, struct runner_error *err)
{
    (void)call;
    return host_run_batch(batch, err);
}

void host_undo_batch(struct runner_batch *batch)
{
    const struct runner_transport_ops *ops = transport->ops;

    for (size_t i = batch->n; i-- > 0;) {
        struct runner_result result = {.size = sizeof result};
        struct runner_error err = ERROR_INIT;

        if (batch->steps[i]->undo != NULL &&
            ops->run(transport_self, &the_call, &batch->steps[i]->undo, 1, &result, &err))
            tap_note("not undone: %s", err.message);
        host_release(result.out);
    }
}

static int host_dial(struct runner_call *call, const char *address, int *ret_fd, struct runner_error *err)
{
    return ((const struct runner_transport_ops *)transport->ops)->dial(transport_self, call, address, ret_fd, err);
}

static struct runner_host table = {
    .size = sizeof table,
    .api_minor = RUNNER_API_MINOR,
    .alloc = host_alloc,
    .release = host_release,
    .log = host_log,
    .cancelled = host_cancelled,
    .wait = host_wait,
    .left_ms = host_left_ms,
    .root = host_root,
    .batch_new = host_batch_new,
    .batch_free = host_batch_free,
    .add = host_add,
    .result = host_result,
    .run = host_run,
    .dial = host_dial,
};

struct runner_host *host_table(void)
{
    return &table;
}

/* ---- plugins -------------------------------------------------------------------------------------------------- */

static void bail_out(const char *what, const char *why) __attribute__((noreturn));
static void bail_out(const char *what, const char *why)
{
    printf("Bail out! %s: %s\n", what, why);
    exit(1);
}

const struct runner_plugin *host_load(const char *name)
{
    const char *top = getenv("top_builddir");
    auto_free char *path = mem_printf("%s/plugins/%s.so", top != NULL ? top : ".", name);
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct runner_plugin *(*get)(void);
    struct runner_error err = ERROR_INIT;
    const struct runner_plugin *plugin;

    if (object == NULL)
        bail_out(path, dlerror());
    *(void **)&get = dlsym(object, "runner_plugin_1");
    if (get == NULL)
        bail_out(path, "exports no runner_plugin_1");
    plugin = get();
    if (plugin->load != NULL && plugin->load(&table, &err) < 0)
        bail_out(path, err.message);
    return plugin;
}

static struct runner_value make_value(const struct runner_param *param, const char *text)
{
    struct runner_value v = {.name = param->name, .text = text};

    switch (param->type) {
    case RUNNER_T_INT:
        (void)num_int(text, INT64_MIN, INT64_MAX, &v.number);
        break;
    case RUNNER_T_BOOL:
        (void)num_bool(text, &v.number);
        break;
    case RUNNER_T_BYTES:
        (void)num_bytes(text, &v.number);
        break;
    case RUNNER_T_MSEC:
        (void)num_msec(text, &v.number);
        break;
    }
    return v;
}

static const char *given(va_list args, const char *name)
{
    const char *key, *found = NULL;

    while ((key = va_arg(args, const char *)) != NULL) {
        const char *value = va_arg(args, const char *);
        if (strcmp(key, name) == 0)
            found = value;
    }
    return found;
}

void *host_create(const struct runner_plugin *plugin, ...)
{
    static struct runner_value values[64]; /* as texts are: valid until destroy() */
    static size_t used;
    size_t start = used;
    struct runner_error err = ERROR_INIT;
    void *self = NULL;

    for (uint32_t i = 0; i < plugin->n_params && used < ARRAY_LEN(values); i++) {
        va_list args;
        const char *text;

        va_start(args, plugin);
        text = given(args, plugin->params[i].name);
        va_end(args);
        if (text == NULL)
            text = plugin->params[i].dflt;
        if (text != NULL)
            values[used++] = make_value(&plugin->params[i], text);
    }
    if (plugin->create(values + start, used - start, &self, &err) < 0)
        bail_out(plugin->name, err.message);
    return self;
}

void host_transport(const struct runner_plugin *plugin, void *self)
{
    transport = plugin;
    transport_self = self;
}
