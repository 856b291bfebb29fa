/* The table, its memory and its log. */
#include "kit/fake/host.h"

#include <string.h>

#include "core/util/error.h"
#include "kit/fake/inner.h"

#define CALL_INIT                                                                                                      \
    {                                                                                                                  \
        .deadline_ms = -1, .cancel_fd = -1                                                                             \
    }

struct fake fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .call = CALL_INIT, .allocs_left = -1};

int fake_gate(enum fake_site site, struct runner_call *call, const void *subject)
{
    return fake.gate != NULL ? fake.gate(fake.gate_arg, site, call, subject) : 0;
}

int fake_gate_fail(int code, const char *what, struct runner_error *err)
{
    return fail(err, code, 0, "%s: refused by the test", what);
}

/* ---- memory ---- */

static bool may_alloc(void)
{
    bool may = fake.allocs_left != 0;

    if (fake.allocs_left > 0)
        fake.allocs_left--;
    return may;
}

/* What is in new memory is nobody's business: not zero. */
void *fake_alloc_own(size_t size)
{
    void *p = mem_alloc(size);

    memset(p, 0xa5, size);
    pthread_mutex_lock(&fake.lock);
    fake.live++;
    pthread_mutex_unlock(&fake.lock);
    return p;
}

static void *fake_alloc(size_t size)
{
    bool may = fake_gate(FAKE_ALLOC, NULL, NULL) == 0;

    pthread_mutex_lock(&fake.lock);
    may = may && may_alloc();
    pthread_mutex_unlock(&fake.lock);
    return may ? fake_alloc_own(size) : NULL;
}

void fake_release(void *p)
{
    pthread_mutex_lock(&fake.lock);
    fake.live -= p != NULL;
    pthread_mutex_unlock(&fake.lock);
    free(p);
}

/* ---- small services ---- */

static const char *fake_root(struct runner_call *call)
{
    (void)call;
    return fake.root;
}

static void fake_log(struct runner_call *call, uint32_t level, const char *event, const struct runner_field *fields,
                     size_t n)
{
    static const char *const names[] = {"?", "error", "warn", "info", "debug"};

    (void)call;
    pthread_mutex_lock(&fake.lock);
    str_addf(&fake.log, "%s %s", names[level < ARRAY_LEN(names) ? level : 0], event);
    for (size_t i = 0; i < n; i++)
        str_addf(&fake.log, " %s=%s", fields[i].key, fields[i].value);
    str_add_char(&fake.log, '\n');
    pthread_mutex_unlock(&fake.lock);
}

/* ---- what the tests call ---- */

struct runner_host *fake_host(void)
{
    static struct runner_host host = {
        .size = sizeof host,
        .api_minor = RUNNER_API_MINOR,
        .alloc = fake_alloc,
        .release = fake_release,
        .log = fake_log,
        .cancelled = fake_cancelled,
        .wait = fake_wait,
        .left_ms = fake_left_ms,
        .root = fake_root,
        .batch_new = fake_batch_new,
        .batch_free = fake_batch_free,
        .add = fake_add,
        .result = fake_result,
        .run = fake_run,
        .dial = fake_dial,
    };

    if (fake.root == NULL)
        fake_host_root("/root-of-host");
    return &host;
}

void fake_host_reset(void)
{
    for (size_t i = 0; i < fake.n_answers; i++) {
        free(fake.answers[i].match);
        free(fake.answers[i].out);
    }
    free(fake.answers);
    free(fake.root);
    free(fake.dial_to);
    str_done(&fake.ran);
    str_done(&fake.log);
    str_done(&fake.added);
    fake = (struct fake){.lock = PTHREAD_MUTEX_INITIALIZER, .call = CALL_INIT, .allocs_left = -1};
    fake_host_root("/root-of-host");
}

void fake_host_forget(void)
{
    pthread_mutex_lock(&fake.lock);
    str_clear(&fake.ran);
    str_clear(&fake.log);
    str_clear(&fake.added);
    pthread_mutex_unlock(&fake.lock);
}

void fake_host_root(const char *path)
{
    free(fake.root);
    fake.root = mem_dup(path);
}

void fake_host_alloc_fails_after(int64_t n)
{
    fake.allocs_left = n;
}

void fake_host_on_step(fake_step_fn *fn, void *arg)
{
    fake.on_step = fn;
    fake.on_step_arg = arg;
}

void fake_host_gate(fake_gate_fn *fn, void *arg)
{
    fake.gate = fn;
    fake.gate_arg = arg;
}

void fake_host_transport(const struct runner_transport_ops *ops, void *self)
{
    fake.transport = ops;
    fake.transport_self = self;
}

const char *fake_host_ran(void)
{
    return str_text(&fake.ran);
}

const char *fake_host_log(void)
{
    return str_text(&fake.log);
}

void fake_host_keep_added(bool is_wanted)
{
    fake.is_keeping_added = is_wanted;
}

const char *fake_host_added(void)
{
    return str_text(&fake.added);
}

size_t fake_host_live(void)
{
    return fake.live;
}
