/* Storages: what is kept of a request's credentials, and what is left of an operation that failed. */
#include <string.h>

#include "kit/general.h"
#include "kit/guard.h"
#include "kit/plan.h"

#define OLDEST_OBJECT (offsetof(struct runner_object, password) + sizeof(char *))
#define OLDEST_INFO   (offsetof(struct runner_object_info, size_bytes) + sizeof(int64_t))
#define OLDEST_BASE   (offsetof(struct runner_base, info) + sizeof(struct runner_object_info))
#define REF           "127.0.0.1:1/daytona/sample:1" /* where nobody listens */
#define OTHER_REF     "127.0.0.1:1/daytona/other:1"
#define PASSWORD      "kit-pa55word-0f-a-request"

static bool is_looking; /* at what they say */

static const struct runner_storage_ops *ops_of(const struct subject *s)
{
    return s->plugin->desc.ops;
}

static const struct runner_object *object_in(enum layout layout, const char *ref)
{
    struct runner_object object = {.ref = ref, .server = "127.0.0.1:1", .username = "kit", .password = PASSWORD};

    return guard_put(layout, &object, sizeof object, OLDEST_OBJECT);
}

static struct runner_object_info *info_in(enum layout layout)
{
    struct runner_object_info none = {.size_bytes = 0};

    return guard_put(layout, &none, sizeof none, OLDEST_INFO);
}

static void progress(void *ctx, const struct runner_progress *p)
{
    (void)ctx;
    if (!is_looking)
        return;
    if (p->phase == NULL || p->phase[0] == '\0' || p->phase[strspn(p->phase, "abcdefghijklmnopqrstuvwxyz")] != '\0')
        flaw("the phase of a progress is '%s'", p->phase);
    if (p->total_bytes != 0 && p->done_bytes > p->total_bytes)
        flaw("a progress of %llu bytes of %llu", (unsigned long long)p->done_bytes, (unsigned long long)p->total_bytes);
}

static void check_info(const struct trial *t, struct runner_object_info *kept)
{
    struct runner_object_info info;

    if (!guard_take(kept, &info, sizeof info))
        flaw("it writes beyond what it knows");
    if (t->status != 0 || !is_looking)
        return;
    if (strnlen(info.digest, sizeof info.digest) != 64 || info.digest[strspn(info.digest, "0123456789abcdef")] != '\0')
        flaw("'%.65s' is no digest", info.digest);
    if (info.size_bytes < 0)
        flaw("an object of %lld bytes", (long long)info.size_bytes);
}

/* ---- operations ---- */

static void op_inspect(struct subject *s, struct trial *t)
{
    struct runner_object_info *info;

    guard_reset();
    info = info_in(t->layout);
    TRY(t, ops_of(s)->inspect(s->self, fake_call(), object_in(t->layout, REF), info, &t->err));
    check_info(t, info);
}

static void base_release(const struct runner_base *base)
{
    fake_host()->release((void *)(uintptr_t)base->disk);
    fake_host()->release((void *)(uintptr_t)base->format);
    fake_host()->release((void *)(uintptr_t)base->image_json);
}

static void call_pull(struct subject *s, struct trial *t, const char *also)
{
    struct runner_base none = {.size = 0}, base;
    struct runner_base *kept;

    guard_reset();
    kept = guard_put(t->layout, &none, sizeof none, OLDEST_BASE);
    TRY(t, ops_of(s)->pull(s->self, fake_call(), object_in(t->layout, REF),
                           also != NULL ? object_in(t->layout, also) : NULL, s->sandbox_dir, progress, NULL, kept,
                           &t->err));
    if (!guard_take(kept, &base, sizeof base))
        flaw("pull writes beyond the base that it knows");
    if (t->status != 0)
        return;
    if (!is_looking)
        ;
    else if (base.disk == NULL || strchr(base.disk, '/') != NULL || base.format == NULL || base.size_bytes <= 0)
        flaw("pull does not say what disk it made");
    base_release(&base);
}

static void op_pull(struct subject *s, struct trial *t)
{
    call_pull(s, t, NULL);
}

static void op_pull_also(struct subject *s, struct trial *t)
{
    call_pull(s, t, OTHER_REF);
}

static void op_push(struct subject *s, struct trial *t)
{
    struct runner_object_info *info;

    guard_reset();
    info = info_in(t->layout);
    TRY(t, ops_of(s)->push(s->self, fake_call(), s->base_path, "raw", "{}", object_in(t->layout, REF), progress, NULL,
                           info, &t->err));
    check_info(t, info);
}

static void op_copy(struct subject *s, struct trial *t)
{
    struct runner_object_info *info;

    guard_reset();
    info = info_in(t->layout);
    TRY(t, ops_of(s)->copy(s->self, fake_call(), object_in(t->layout, REF), object_in(t->layout, OTHER_REF), progress,
                           NULL, info, &t->err));
    check_info(t, info);
}

static void op_remove(struct subject *s, struct trial *t)
{
    guard_reset();
    TRY(t, ops_of(s)->remove(s->self, fake_call(), object_in(t->layout, REF), &t->err));
}

/* ---- what is told, what is left ---- */

static void look_at_status(const struct op *op, const struct trial *t, void *arg)
{
    (void)op;
    *(int *)arg += t->status == 0;
}

static void point_answers(struct subject *s, const struct point *point)
{
    const struct kind *kind = kind_of(RUNNER_STORAGE);
    int n = 0;

    (void)point;
    is_looking = true;
    for (size_t i = 0; i < kind->n_ops; i++)
        if (kind->ops[i].is_there == NULL && !point_is_fatal(&kind->ops[i], AS_IS))
            op_sweep(s, &kind->ops[i], AS_IS, look_at_status, &n);
    if (n == 0)
        skip_point("none succeeds in a host that is not real");
}

static void look_password(const struct op *op, const struct trial *t, void *arg)
{
    (void)arg;
    if (strstr(t->err.message, PASSWORD) != NULL)
        flaw("%s shows the password in its message %s", op->name, fault_text(t));
    if (strstr(fake_host_log(), PASSWORD) != NULL)
        flaw("%s shows the password in the log %s", op->name, fault_text(t));
    if (strstr(fake_host_added(), PASSWORD) != NULL)
        flaw("%s shows the password in a step %s", op->name, fault_text(t));
    fake_host_forget();
}

static void point_credentials(struct subject *s, const struct point *point)
{
    (void)point;
    fake_host_keep_added(true);
    op_sweep_all(s, look_password, NULL);
}

/* Where the steps that take it away work: a process may also end by itself, which none does here. */
static void look_left(const struct op *op, const struct trial *t, void *arg)
{
    const struct subject *s = arg;
    auto_free char *there = NULL;

    if (t->fault.sites != 0 && t->fault.sites != 1u << FAKE_DIAL)
        return;
    there = world_text(s->world, "p");
    if (there[0] != '\0')
        flaw("%s leaves a process %s: %s", op->name, fault_text(t), there);
}

static void point_left(struct subject *s, const struct point *point)
{
    (void)point;
    op_sweep_all(s, look_left, s);
}

/* ---- at once ---- */

static char *inspect_at_once(struct subject *s, void *self, struct runner_call *call, size_t thread)
{
    struct runner_object object = {
        .size = sizeof object, .ref = REF, .server = "127.0.0.1:1", .username = "kit", .password = PASSWORD};
    struct runner_object_info info = {.size = sizeof info};
    struct runner_error err = ERROR_INIT;
    int status = ops_of(s)->inspect(self, call, &object, &info, &err);

    (void)thread;
    return mem_printf("%d %s", status, status == 0 ? info.digest : error_name(err.code));
}

static void point_parallel(struct subject *s, const struct point *point)
{
    (void)point;
    subject_renew(s);
    plan_check_at_once(s, inspect_at_once, "inspect");
}

static void add_points(struct checklist *list, const struct plugin *plugin)
{
    (void)plugin;
    checklist_add(list, "answers", "digests, sizes, disks and progress are such", point_answers);
    checklist_add(list, "credentials", "a password is in no message, log line or step", point_credentials);
    checklist_add(list, "left", "no process is left behind", point_left);
    checklist_add(list, "parallel", "calls at once are what threads says", point_parallel);
}

/* The host that is made up has no server. */
static const struct op ops[] = {
    GENERAL_OPS,
    {.name = "inspect", .flags = OP_MAY_FAIL, .call = op_inspect},
    {.name = "pull", .flags = OP_MAY_FAIL, .call = op_pull},
    {.name = "pull-also", .flags = OP_MAY_FAIL, .call = op_pull_also},
    {.name = "push", .flags = OP_MAY_FAIL, .call = op_push},
    {.name = "copy", .flags = OP_MAY_FAIL, .call = op_copy},
    {.name = "remove", .flags = OP_MAY_FAIL, .call = op_remove},
};
const struct kind kind_storage = {ops, ARRAY_LEN(ops), add_points};
