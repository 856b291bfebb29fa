/* Transports: batches that fail, programs that are stopped, processes that outlive the call. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "kit/plan.h"
#include "kit/transport.h"

enum { SOON_MS = 100, GRACE_MS = 10000, FILES = 30 };

/* ---- undo ---- */

/* f made, renamed to g, g's directory made, and then a step that fails. Undone in the wrong order, f stays. */
static void point_undo(struct subject *s, const struct point *point)
{
    const char *f = at(s, "f"), *g = at(s, "g"), *d = at(s, "d");
    const struct runner_step remove_f = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = f};
    const struct runner_step back = {RUNNER_STEP_INIT, .kind = RUNNER_RENAME, .path = g, .to = f};
    const struct runner_step remove_d = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .flags = RUNNER_S_TREE, .path = d};
    const struct runner_step steps[] = {
        {RUNNER_STEP_INIT, .kind = RUNNER_WRITE, .path = f, .data = "x", .len = 1, .number = 0600, .undo = &remove_f},
        {RUNNER_STEP_INIT, .kind = RUNNER_RENAME, .path = f, .to = g, .undo = &back},
        {RUNNER_STEP_INIT, .kind = RUNNER_MKDIR, .path = d, .number = 0700, .undo = &remove_d},
        {RUNNER_STEP_INIT, .kind = RUNNER_READ, .path = at(s, "absent-file"), .number = 1},
        {RUNNER_STEP_INIT, .kind = RUNNER_WRITE, .path = at(s, "behind"), .data = "x", .len = 1, .number = 0600},
    };
    struct trial t = {.layout = TODAY};
    struct runner_result last;

    (void)point;
    subject_renew(s);
    run_steps(s, &t, steps, 5, &last);
    if (t.status == 0)
        flaw("a batch with a step that fails succeeds");
    if (t.err.code != RUNNER_E_NOTFOUND || strstr(t.err.message, "absent-file") == NULL)
        flaw("the error does not name the step that failed: code %s, '%s'", error_name(t.err.code), t.err.message);
    if (is_there("f") || is_there("g") || is_there("d"))
        flaw("what was done before is not undone, in reverse order:%s%s%s", is_there("f") ? " f" : "",
             is_there("g") ? " g" : "", is_there("d") ? " d" : "");
    if (is_there("behind") || last.size != 0)
        flaw("a step behind the one that failed was carried out");
}

static void point_undo_fails(struct subject *s, const struct point *point)
{
    const struct runner_step bad = {RUNNER_STEP_INIT, .kind = RUNNER_RENAME, .path = at(s, "never-was"),
                                    .to = at(s, "g")};
    const struct runner_step steps[] = {
        {RUNNER_STEP_INIT, .kind = RUNNER_STAT, .path = at(s, "f"), .undo = &bad},
        {RUNNER_STEP_INIT, .kind = RUNNER_READ, .path = at(s, "absent-file"), .number = 1},
    };
    struct trial t = {.layout = TODAY};
    struct runner_result last;

    (void)point;
    subject_renew(s);
    run_steps(s, &t, steps, 2, &last);
    if (strstr(t.err.message, "absent-file") == NULL || strstr(t.err.message, "never-was") == NULL)
        flaw("the error does not name both the step that failed and what was not undone: '%s'", t.err.message);
}

/* A tree is removed without what its links point to. */
static void point_links(struct subject *s, const struct point *point)
{
    const struct runner_step steps[] = {
        {RUNNER_STEP_INIT, .kind = RUNNER_MKDIR, .path = at(s, "keep"), .number = 0700},
        {RUNNER_STEP_INIT, .kind = RUNNER_WRITE, .path = at(s, "keep/f"), .data = "x", .len = 1, .number = 0600},
        {RUNNER_STEP_INIT, .kind = RUNNER_MKDIR, .path = at(s, "tree"), .number = 0700},
        {RUNNER_STEP_INIT, .kind = RUNNER_RUN, .number = 10000,
         .argv = (const char *const[]){"ln", "-s", at(s, "keep"), at(s, "tree/link"), NULL}},
        {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .flags = RUNNER_S_TREE, .path = at(s, "tree")},
    };
    struct trial t = {.layout = TODAY};
    struct runner_result last;

    (void)point;
    subject_renew(s);
    run_steps(s, &t, steps, 5, &last);
    if (t.status != 0)
        flaw("%s", t.err.message);
    if (is_there("tree") || !is_there("keep/f"))
        flaw("the tree is there still, or what a link in it points to is gone");
}

/* ---- stopped programs ---- */

static void *cancel_soon(void *arg)
{
    const struct timespec soon = {.tv_nsec = SOON_MS * 1000000L};
    uint64_t one = 1;

    nanosleep(&soon, NULL);
    (void)!write(*(int *)arg, &one, sizeof one);
    return NULL;
}

static void sleep_long(struct subject *s, int64_t limit_ms, int code, const char *what)
{
    const struct runner_step step = {RUNNER_STEP_INIT, .kind = RUNNER_RUN, .number = limit_ms,
                                     .argv = (const char *const[]){"sleep", "600", NULL}};
    struct trial t = {.layout = TODAY};
    struct runner_result last;

    run_steps(s, &t, &step, 1, &last);
    if (t.status == 0 || t.err.code != code)
        flaw("%s it returns %d, code %s: %s", what, t.status, error_name(t.err.code), t.err.message);
    if (t.ms > SOON_MS + GRACE_MS)
        flaw("%s it takes %lld ms", what, (long long)t.ms);
}

static void point_stopped(struct subject *s, const struct point *point)
{
    pthread_t thread;
    int fd = eventfd(0, EFD_CLOEXEC);

    (void)point;
    subject_renew(s);
    sleep_long(s, SOON_MS, RUNNER_E_TIMEOUT, "beyond its limit");
    fake_host_deadline(SOON_MS);
    sleep_long(s, 0, RUNNER_E_TIMEOUT, "beyond the deadline");
    fake_host_cancel_fd(fd);
    if (fd < 0 || pthread_create(&thread, NULL, cancel_soon, &fd) != 0)
        stop_point("pthread_create: %m");
    sleep_long(s, 0, RUNNER_E_CANCELLED, "cancelled");
    (void)pthread_join(thread, NULL);
}

static void point_says_why(struct subject *s, const struct point *point)
{
    const struct runner_step step = {RUNNER_STEP_INIT, .kind = RUNNER_RUN, .number = 10000,
                                     .argv = (const char *const[]){"cat", "/nonexistent/file", NULL}};
    struct trial t = {.layout = TODAY};
    struct runner_result last;

    (void)point;
    subject_renew(s);
    run_steps(s, &t, &step, 1, &last);
    if (t.status == 0)
        flaw("a program that fails succeeds");
    else if (strstr(t.err.message, "/nonexistent/file") == NULL)
        flaw("the message does not quote what the program said: '%s'", t.err.message);
}

/* ---- processes that outlive the call ---- */

static void one(struct subject *s, struct runner_step step, struct runner_result *ret)
{
    struct trial t = {.layout = TODAY};

    step.size = RUNNER_STEP_INIT;
    run_steps(s, &t, &step, 1, ret);
    if (t.status != 0)
        stop_point("%s", t.err.message);
}

static void point_process(struct subject *s, const struct point *point)
{
    const char *pid_path = at(s, "pid");
    const struct runner_spawn spawn = {.size = sizeof spawn, .pid_path = pid_path, .output_path = at(s, "out")};
    const struct runner_step start = {RUNNER_STEP_INIT, .kind = RUNNER_SPAWN, .spawn = &spawn,
                                      .argv = (const char *const[]){"sleep", "600", NULL}};
    struct runner_result r, again;
    struct pollfd p = {.fd = -1, .events = POLLIN};
    struct runner_error err = ERROR_INIT;
    struct trial busy = {.layout = TODAY};

    (void)point;
    subject_renew(s);
    one(s, start, &r);
    if (r.number <= 1 || kill((pid_t)r.number, 0) < 0)
        stop_point("SPAWN says process %lld, which there is not", (long long)r.number);
    run_steps(s, &busy, &start, 1, &again);
    if (busy.status == 0 || busy.err.code != RUNNER_E_BUSY)
        flaw("a second process on the same pid file: returns %d, code %s", busy.status, error_name(busy.err.code));
    one(s, (struct runner_step){.kind = RUNNER_ALIVE, .path = pid_path}, &again);
    if (again.status != 0 || again.number != r.number)
        flaw("ALIVE says status %d, process %lld", again.status, (long long)again.number);
    if (transport_of(s)->watch(s->self, fake_call(), pid_path, &p.fd, &err) != 0)
        stop_point("watch: %s", err.message);
    if (poll(&p, 1, 0) != 0)
        flaw("watch says that a process has ended which lives");
    one(s, (struct runner_step){.kind = RUNNER_KILL, .path = pid_path, .number = SIGKILL}, &again);
    if (poll(&p, 1, GRACE_MS) != 1)
        flaw("watch does not say that the process has ended");
    close(p.fd);
    one(s, (struct runner_step){.kind = RUNNER_ALIVE, .path = pid_path}, &again);
    if (again.status != 1)
        flaw("ALIVE says that a killed process lives");
    one(s, (struct runner_step){.kind = RUNNER_KILL, .path = pid_path, .number = SIGKILL}, &again);
    if (again.status != 1)
        flaw("KILL of one that has ended says status %d", again.status);
}

/* ---- in two parts ---- */

enum { STARTED = 1, FIRST = 2, REST = 2 };

/* A directory and a process; then a file in it and, where it is to fail, one that is read and absent. */
struct parts {
    struct runner_spawn spawn;
    struct runner_step undo[FIRST], first[FIRST], rest[REST];
    const struct runner_step *list[FIRST], *more_list[REST];
    struct runner_result results[FIRST], more[REST];
    void *begun;
};

static void parts_begin(struct subject *s, struct parts *p)
{
    static const char *const argv[] = {"sleep", "600", NULL};
    const char *d = at(s, "d"), *pid_path = at(s, "pid");
    struct runner_error err = ERROR_INIT;

    *p = (struct parts){.spawn = {.size = sizeof p->spawn, .pid_path = pid_path}};
    p->undo[0] = (struct runner_step){RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .flags = RUNNER_S_TREE, .path = d};
    p->undo[1] = (struct runner_step){RUNNER_STEP_INIT, .kind = RUNNER_KILL, .path = pid_path, .number = SIGKILL};
    p->first[0] =
        (struct runner_step){RUNNER_STEP_INIT, .kind = RUNNER_MKDIR, .path = d, .number = 0700, .undo = &p->undo[0]};
    p->first[1] = (struct runner_step){
        RUNNER_STEP_INIT, .kind = RUNNER_SPAWN, .spawn = &p->spawn, .argv = argv, .undo = &p->undo[1]};
    p->rest[0] = (struct runner_step){
        RUNNER_STEP_INIT, .kind = RUNNER_WRITE, .path = at(s, "d/f"), .data = "x", .len = 1, .number = 0600};
    p->rest[1] = (struct runner_step){RUNNER_STEP_INIT, .kind = RUNNER_READ, .path = at(s, "absent-file"), .number = 1};
    for (size_t i = 0; i < FIRST; i++)
        p->list[i] = &p->first[i];
    for (size_t i = 0; i < REST; i++)
        p->more_list[i] = &p->rest[i];
    if (transport_of(s)->begin(s->self, fake_call(), p->list, FIRST, p->results, &p->begun, &err) != 0)
        stop_point("begin: %s", err.message);
    if (!is_there("d"))
        flaw("what is begun is not done: there is no directory");
}

static int parts_end(struct subject *s, struct parts *p, size_t n, struct runner_error *err)
{
    return transport_of(s)->end(s->self, fake_call(), p->begun, p->more_list, n, p->more, err);
}

static bool is_alive(struct subject *s)
{
    struct runner_result r;

    one(s, (struct runner_step){.kind = RUNNER_ALIVE, .path = at(s, "pid")}, &r);
    return r.status == 0;
}

static void expect_nothing(struct subject *s, const char *when)
{
    if (is_there("d") || is_alive(s))
        flaw("%s it is not undone:%s%s", when, is_there("d") ? " a directory" : "", is_alive(s) ? " a process" : "");
}

static void point_parts(struct subject *s, const struct point *point)
{
    struct runner_error err = ERROR_INIT;
    struct runner_result r;
    struct parts p;

    (void)point;
    subject_renew(s);
    parts_begin(s, &p);
    if (parts_end(s, &p, REST - 1, &err) != 0)
        stop_point("end: %s", err.message);
    if (!is_there("d/f") || p.results[STARTED].number <= 1 || !is_alive(s))
        flaw("it ends, and not all is done: process %lld", (long long)p.results[STARTED].number);
    one(s, p.undo[1], &r);
    one(s, p.undo[0], &r);

    parts_begin(s, &p);
    if (parts_end(s, &p, REST, &err) == 0 || strstr(err.message, "absent-file") == NULL)
        flaw("a second part with a step that fails does not: '%s'", err.message);
    expect_nothing(s, "when its second part fails");

    error_clear(&err);
    parts_begin(s, &p);
    if (transport_of(s)->end(s->self, fake_call(), p.begun, NULL, 0, NULL, &err) != 0)
        flaw("without a second part it is not undone: '%s'", err.message);
    expect_nothing(s, "without a second part");
}

/* ---- at once ---- */

static char *write_at_once(struct subject *s, void *self, struct runner_call *call, size_t thread)
{
    struct str text = STR_INIT;

    for (int i = 0; i < FILES; i++) {
        auto_free char *path = mem_printf("%s/f%zu", s->dir, thread), *data = mem_printf("%zu-%d", thread, i);
        const struct runner_step write_it = {RUNNER_STEP_INIT, .kind = RUNNER_WRITE, .path = path, .data = data,
                                             .len = strlen(data), .number = 0600};
        const struct runner_step read_it = {RUNNER_STEP_INIT, .kind = RUNNER_READ, .path = path, .number = 100};
        const struct runner_step *steps[] = {&write_it, &read_it};
        struct runner_result results[2] = {{.size = 0}};
        struct runner_error err = ERROR_INIT;

        if (transport_of(s)->run(self, call, steps, 2, results, &err) != 0)
            flaw("run on thread %zu: %s", thread, err.message);
        else if (results[1].out == NULL || strcmp(results[1].out, data) != 0)
            flaw("thread %zu wrote '%s' and reads '%s'", thread, data, results[1].out);
        fake_host()->release(results[0].out);
        fake_host()->release(results[1].out);
    }
    return str_steal(&text);
}

static void point_parallel(struct subject *s, const struct point *point)
{
    char *texts[AT_ONCE];

    (void)point;
    subject_renew(s);
    plan_at_once(s, write_at_once, texts);
    for (size_t i = 0; i < AT_ONCE; i++)
        free(texts[i]);
}

void transport_add_points(struct checklist *list, const struct plugin *plugin)
{
    const struct runner_transport_ops *ops = plugin != NULL ? plugin->desc.ops : NULL;

    checklist_add(list, "run.undo", "a step that fails undoes those before it, in reverse", point_undo);
    checklist_add(list, "run.not-undone", "what could not be undone is named", point_undo_fails);
    checklist_add(list, "run.links", "a tree is removed without following links", point_links);
    checklist_add(list, "run.stopped", "a program ends at its limit, at the deadline, at a cancel", point_stopped);
    checklist_add(list, "run.stderr", "a program that fails is quoted", point_says_why);
    checklist_add(list, "process", "a process starts once, is watched, killed, and then is not", point_process);
    if (ops == NULL || (ops->begin != NULL && ops->end != NULL))
        checklist_add(list, "parts", "a batch in two parts is done, or undone, as one", point_parts);
    checklist_add(list, "parallel", "calls at once are what threads says", point_parallel);
}
