#include "kit/plan.h"

#include <pthread.h>
#include <string.h>

#include "core/util/text.h"

struct runner_batch *plan_begin(struct subject *s)
{
    subject_renew(s);
    return fake_batch();
}

bool plan_run(struct runner_batch *batch, const char *what)
{
    struct runner_error err = ERROR_INIT;

    if (fake_host_run_batch(batch, &err) == 0)
        return true;
    flaw("the steps of %s fail: %s", what, err.message);
    return false;
}

/* ---- paths ---- */

static bool is_reading(const struct runner_step *step)
{
    return step->kind == RUNNER_READ || step->kind == RUNNER_STAT || step->kind == RUNNER_LIST ||
           step->kind == RUNNER_STATFS || step->kind == RUNNER_ALIVE || step->kind == RUNNER_WAIT;
}

static bool has_path(const struct runner_step *step)
{
    return step->path != NULL && step->kind != RUNNER_TAP_ADD && step->kind != RUNNER_TAP_DEL &&
           step->kind != RUNNER_CGROUP_DEL && step->kind != RUNNER_CGROUP_SET;
}

static bool is_plain(const char *path)
{
    size_t len = strlen(path);

    return path[0] == '/' && strstr(path, "/../") == NULL && (len < 3 || strcmp(path + len - 3, "/..") != 0);
}

static void check_path(const struct runner_step *step, const char *path, bool is_written, const char *dir)
{
    auto_free char *line = fake_step_text(step);
    const char *rest;

    if (path == NULL)
        return;
    if (!is_plain(path))
        flaw("path '%s' is not absolute, or has '..', in: %s", path, line);
    else if (is_written && (!text_starts(path, dir, &rest) || *rest != '/'))
        flaw("path '%s' is not within %s, in: %s", path, dir, line);
}

static void check_step(const struct runner_step *step, const char *dir)
{
    bool is_copy = step->kind == RUNNER_CLONE;

    if (has_path(step))
        check_path(step, step->path, !is_reading(step) && !is_copy, dir);
    if (is_copy || step->kind == RUNNER_RENAME)
        check_path(step, step->to, true, dir);
    if (step->spawn != NULL) {
        check_path(step, step->spawn->pid_path, true, dir);
        check_path(step, step->spawn->output_path, true, dir);
        for (uint32_t i = 0; i < step->spawn->n_fds; i++)
            if (step->spawn->fds[i].kind != RUNNER_FD_TAP)
                check_path(step, step->spawn->fds[i].path, step->spawn->fds[i].kind != RUNNER_FD_READ, dir);
    }
    if (step->undo != NULL)
        check_step(step->undo, dir);
}

void plan_check_paths(struct subject *s, plan_fn *plan, const char *dir)
{
    struct runner_batch *batch = plan(s);

    if (fake_batch_len(batch) == 0)
        skip_point("it adds no step");
    for (size_t i = 0; i < fake_batch_len(batch); i++)
        check_step(fake_batch_step(batch, i), dir);
    fake_host()->batch_free(batch);
}

/* ---- undo ---- */

static void compare(struct subject *s, const char *kinds, const char *before, const char *when)
{
    auto_free char *after = world_text(s->world, kinds);

    if (strcmp(before, after) != 0)
        flaw("%s there is on the host:\n%sand before there was:\n%s", when, after, before);
}

static void undo(struct runner_batch *batch, const char *when)
{
    auto_str struct str faults = STR_INIT;

    fake_host_undo_batch(batch, &faults);
    if (faults.len > 0)
        flaw("%s: %s", when, str_text(&faults));
}

static void check_whole(struct subject *s, plan_fn *plan, const char *kinds)
{
    struct runner_batch *batch = plan(s);
    auto_free char *before = world_text(s->world, kinds);

    if (fake_batch_len(batch) == 0)
        skip_point("it adds no step");
    if (plan_run(batch, "the plan")) {
        undo(batch, "undone");
        compare(s, kinds, before, "undone");
        undo(batch, "undone again");
        compare(s, kinds, before, "undone again");
    }
    fake_host()->batch_free(batch);
}

struct stop {
    int at, seen;
};

static int stop_gate(void *arg, enum fake_site site, struct runner_call *call, const void *subject)
{
    struct stop *stop = arg;

    (void)call, (void)subject;
    return site == FAKE_STEP && stop->seen++ == stop->at ? RUNNER_E_IO : 0;
}

static bool check_stopped(struct subject *s, plan_fn *plan, const char *kinds, int at)
{
    struct runner_batch *batch = plan(s);
    auto_free char *before = world_text(s->world, kinds), *when = mem_printf("stopped at step %d", at + 1);
    struct stop stop = {.at = at};
    struct runner_error err = ERROR_INIT;
    bool is_last = (size_t)at + 1 >= fake_batch_len(batch);

    fake_host_gate(stop_gate, &stop);
    if (fake_host_run_batch(batch, &err) == 0)
        flaw("%s it runs to its end", when);
    else if (strstr(err.message, "not undone") != NULL)
        flaw("%s: %s", when, err.message);
    fake_host_gate(NULL, NULL);
    compare(s, kinds, before, when);
    fake_host()->batch_free(batch);
    return !is_last;
}

void plan_check_undo(struct subject *s, plan_fn *plan, const char *kinds, const char *stopped_kinds)
{
    check_whole(s, plan, kinds);
    for (int at = 0; check_stopped(s, plan, stopped_kinds, at); at++)
        ;
}

/* ---- at once ---- */

struct worker {
    pthread_t thread;
    struct subject *subject;
    void *self;
    struct runner_call *call;
    at_once_fn *fn;
    size_t number;
    pthread_barrier_t *start;
    char *text;
};

static void *work(void *arg)
{
    struct worker *w = arg;

    pthread_barrier_wait(w->start);
    w->text = w->fn(w->subject, w->self, w->call, w->number);
    return NULL;
}

static void *instance_for(struct subject *s, bool is_shared)
{
    struct runner_error err = ERROR_INIT;
    void *self = NULL;

    if (is_shared)
        return s->self;
    if (s->plugin->desc.create(s->values, s->n_values, &self, &err) != 0)
        stop_point("create: %s", err.message);
    return self;
}

void plan_at_once(struct subject *s, at_once_fn *fn, char *ret_texts[AT_ONCE])
{
    bool is_shared = s->plugin->desc.threads == RUNNER_PARALLEL;
    struct worker workers[AT_ONCE];
    pthread_barrier_t start;

    if (s->plugin->desc.threads == RUNNER_SERIAL)
        skip_point("threads says that nothing may overlap");
    pthread_barrier_init(&start, NULL, AT_ONCE);
    for (size_t i = 0; i < AT_ONCE; i++) {
        workers[i] = (struct worker){.subject = s, .fn = fn, .number = i, .start = &start, .call = fake_call_new()};
        workers[i].self = instance_for(s, is_shared);
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            stop_point("pthread_create: %m");
    }
    for (size_t i = 0; i < AT_ONCE; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        ret_texts[i] = workers[i].text;
        fake_call_free(workers[i].call);
        if (!is_shared)
            s->plugin->desc.destroy(workers[i].self);
    }
    pthread_barrier_destroy(&start);
}

void plan_check_at_once(struct subject *s, at_once_fn *fn, const char *what)
{
    char *texts[AT_ONCE];

    plan_at_once(s, fn, texts);
    for (size_t i = 0; i < AT_ONCE; i++) {
        auto_free char *alone = fn(s, s->self, fake_call(), i);

        if (strcmp(texts[i], alone) != 0)
            flaw("at once with others, %s plans other steps than alone", what);
        free(texts[i]);
    }
}
