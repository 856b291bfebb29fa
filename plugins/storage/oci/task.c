#include "plugins/storage/oci/task.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "core/util/error.h"

#define SLOTS     256
#define LINE_MAX_ (1 << 20)
#define ENDING_MS 400
#define LISTEN_FD 3
#define TASKS_MAX 64 /* of one operation: threads, of which there are some ten */

/* Which names of files and cgroups are in use, by all instances. */
static pthread_mutex_t slots_mutex = PTHREAD_MUTEX_INITIALIZER;
static bool slots[SLOTS];

struct run {
    const struct oci *self;
    struct runner_call *call;
    const struct task *task;
    int slot, fd;
    char *dir, *socket_path, *pid_path, *cgroup;
    struct str in;
    struct json *result;
};

static int take_slot(void)
{
    int slot = 0;

    pthread_mutex_lock(&slots_mutex);
    while (slot < SLOTS && slots[slot])
        slot++;
    if (slot < SLOTS)
        slots[slot] = true;
    pthread_mutex_unlock(&slots_mutex);
    return slot < SLOTS ? slot : -1;
}

static void free_slot(int slot)
{
    pthread_mutex_lock(&slots_mutex);
    slots[slot] = false;
    pthread_mutex_unlock(&slots_mutex);
}

/* ---- what it is asked for ---- */

static void add_object(struct str *out, const char *key, const struct runner_object *object)
{
    if (object == NULL)
        return;
    json_open(out, key, '{');
    json_add_text(out, "ref", object->ref);
    if (object->server != NULL)
        json_add_text(out, "server", object->server);
    if (object->username != NULL && object->password != NULL) {
        json_add_text(out, "username", object->username);
        json_add_text(out, "password", object->password);
    }
    json_close(out, '}');
}

static void add_optional(struct str *out, const char *key, const char *text)
{
    if (text != NULL)
        json_add_text(out, key, text);
}

static void add_settings(const struct run *r, struct str *out)
{
    const struct oci *self = r->self;
    auto_free char *store = mem_printf("%s/storage/oci", oci_host->root(r->call));

    json_add_text(out, "store", store);
    add_optional(out, "ca_file", self->ca_file);
    add_optional(out, "mirror", self->mirror);
    json_open(out, "insecure", '[');
    for (size_t i = 0; i < self->n_insecure; i++)
        json_add_text(out, NULL, self->insecure[i]);
    json_close(out, ']');
    json_add_int(out, "parallel", self->parallel);
    json_add_int(out, "max_image_bytes", self->max_image_bytes);
    json_add_int(out, "max_layers", self->max_layers);
    json_add_int(out, "cache_bytes", self->cache_bytes);
    json_add_int(out, "stall_ms", self->stall_ms);
    json_add_int(out, "uid", self->uid);
    json_add_int(out, "memory_bytes", self->memory_bytes);
    json_add_int(out, "deadline_ms", oci_host->left_ms(r->call));
}

static void add_request(const struct run *r, struct str *out)
{
    const struct task *task = r->task;

    str_reserve(out, 16384); /* it does not move later, and leave secrets behind */
    json_open(out, NULL, '{');
    json_add_text(out, "operation", task->operation);
    add_object(out, "from", task->from);
    add_object(out, "to", task->to);
    add_optional(out, "dir", task->dir);
    add_optional(out, "path", task->path);
    add_optional(out, "format", task->format);
    add_optional(out, "image", task->image_json);
    add_settings(r, out);
    json_close(out, '}');
}

/* ---- its process ---- */

static struct runner_step kill_step(const struct run *r)
{
    return (struct runner_step){.size = RUNNER_STEP_INIT, .kind = RUNNER_KILL, .path = r->pid_path, .number = SIGKILL};
}

static int add_start(const struct run *r, const struct str *request, struct runner_batch *batch,
                     struct runner_error *err)
{
    const struct runner_fd fd = {RUNNER_FD_LISTEN, LISTEN_FD, r->socket_path};
    const struct runner_spawn how = {.size = sizeof how,
                                     .n_fds = 1,
                                     .fds = &fd,
                                     .pid_path = r->pid_path,
                                     .cgroup = r->cgroup,
                                     .cgroup_memory_bytes = (uint64_t)r->self->memory_bytes,
                                     .cgroup_tasks = TASKS_MAX};
    const char *const argv[] = {r->self->program, r->socket_path, NULL};
    const struct runner_step kill = kill_step(r);
    const struct runner_step mkdir = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_MKDIR, .flags = RUNNER_S_PARENTS, .path = r->dir, .number = 0700};
    const struct runner_step spawn = {.size = RUNNER_STEP_INIT,
                                      .kind = RUNNER_SPAWN,
                                      .flags = RUNNER_S_SECRET,
                                      .argv = argv,
                                      .data = request->ptr,
                                      .len = request->len,
                                      .spawn = &how,
                                      .undo = &kill};

    /* One that an earlier runner left with this name is about to end, as nobody listens to it. */
    return oci_host->add(batch, &mkdir, err) < 0 || oci_host->add(batch, &kill, err) < 0 ||
                   oci_host->add(batch, &spawn, err) < 0
               ? -1
               : 0;
}

static int start(const struct run *r, struct runner_error *err)
{
    struct runner_batch *batch = oci_host->batch_new(r->call);
    auto_str struct str request = STR_INIT;
    int status;

    if (batch == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "out of memory");
    add_request(r, &request);
    status = add_start(r, &request, batch, err) < 0 ? -1 : oci_host->run(r->call, batch, err);
    oci_host->batch_free(batch);
    explicit_bzero(request.ptr, request.len);
    return status;
}

/* How it ended, when that is not by its own will; then what it leaves goes. After a cancel nothing more can be asked of the
 * host: the program removes its files itself. */
static int stop(const struct run *r, bool is_asked, struct runner_error *err)
{
    const struct runner_step alive = {.size = RUNNER_STEP_INIT, .kind = RUNNER_ALIVE, .path = r->pid_path},
                             kill = kill_step(r),
                             pid = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = r->pid_path},
                             sock = {.size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = r->socket_path},
                             cgroup = {.size = RUNNER_STEP_INIT, .kind = RUNNER_CGROUP_DEL, .path = r->cgroup};
    const struct runner_step *const steps[] = {&kill, &alive, &cgroup, &pid, &sock};
    struct runner_batch *batch = oci_host->batch_new(r->call);
    const struct runner_result *result;
    int status = batch == NULL ? fail(err, RUNNER_E_NOMEM, 0, "out of memory") : 0;

    for (size_t i = 0; i < ARRAY_LEN(steps) && status == 0; i++)
        status = oci_host->add(batch, steps[i], err) < 0 ? -1 : 0;
    if (status == 0)
        status = oci_host->run(r->call, batch, err);
    result = status == 0 && is_asked ? oci_host->result(batch, 1) : NULL;
    if (result != NULL && result->number2 >= 0 && WIFSIGNALED((int)result->number2))
        status = fail(err, RUNNER_E_IO, 0, "runner-oci was killed by signal %d%s", WTERMSIG((int)result->number2),
                      WTERMSIG((int)result->number2) == SIGKILL ? ", as when it needs more than `memory`" : "");
    else if (is_asked && status == 0)
        status = fail(err, RUNNER_E_IO, 0, "runner-oci ended without an answer");
    oci_host->batch_free(batch);
    return status;
}

/* ---- what it says ---- */

static void tell(const struct run *r, const struct json *line)
{
    const struct runner_progress progress = {.size = sizeof progress,
                                             .phase = json_text(line, "phase", "fetch"),
                                             .done_bytes = (uint64_t)json_int(line, "done", 0),
                                             .total_bytes = (uint64_t)json_int(line, "total", 0)};

    if (r->task->progress != NULL)
        r->task->progress(r->task->ctx, &progress);
}

/* A host that cannot do something cannot do it the next time either. */
static void warn(const struct run *r, const char *text)
{
    struct runner_field fields[] = {{"program", r->self->program}, {"reason", text}};

    if (!atomic_exchange(&((struct oci *)(uintptr_t)r->self)->has_warned, true))
        oci_host->log(r->call, RUNNER_LOG_WARN, "storage.unconfined", fields, ARRAY_LEN(fields));
}

static int take_error(const struct json *error, struct runner_error *err)
{
    int64_t code = json_int(error, "code", RUNNER_E_IO);

    (void)fail(err, code >= RUNNER_E_INVALID && code <= RUNNER_E_DENIED ? (int)code : RUNNER_E_IO, 0, "%s",
               json_text(error, "text", "runner-oci failed without a word"));
    err->retry = json_bool(error, "retry", false);
    return -1;
}

/* 1: it was the last one. */
static int take_line(struct run *r, const char *text, size_t len, struct runner_error *err)
{
    auto_json struct json *line = NULL;

    if (json_parse(text, len, &line, err) < 0)
        return error_wrap(err, "runner-oci");
    if (json_get(line, "error") != NULL)
        return take_error(json_get(line, "error"), err);
    if (json_get(line, "warning") != NULL) {
        warn(r, json_text(line, "warning", ""));
        return 0;
    }
    if (json_get(line, "result") == NULL) {
        tell(r, line);
        return 0;
    }
    r->result = json_take(line, "result");
    return 1;
}

static int take_lines(struct run *r, struct runner_error *err)
{
    size_t start = 0;
    int status = 0;

    while (status == 0) {
        char *from = r->in.ptr + start, *end = memchr(from, '\n', r->in.len - start);

        if (end == NULL)
            break;
        start += (size_t)(end + 1 - from);
        status = take_line(r, from, (size_t)(end - from), err);
    }
    r->in.len -= start;
    memmove(r->in.ptr, r->in.ptr + start, r->in.len);
    if (status == 0 && r->in.len > LINE_MAX_)
        return fail(err, RUNNER_E_IO, 0, "runner-oci: a line of more than %d bytes", LINE_MAX_);
    return status;
}

static int stopped(struct runner_error *err)
{
    return fail(err, errno == ECANCELED ? RUNNER_E_CANCELLED : RUNNER_E_TIMEOUT, 0,
                errno == ECANCELED ? "the operation was cancelled" : "the operation's time is over");
}

/* Hangs up, and gives it a moment to notice: what it writes to may be removed next. A cancelled operation cannot wait by the
 * host's means. */
static void hang_up(const struct run *r)
{
    struct pollfd p = {.fd = r->fd, .events = POLLIN};
    char rest[4096];

    (void)shutdown(r->fd, SHUT_WR);
    while (poll(&p, 1, ENDING_MS) > 0 && recv(r->fd, rest, sizeof rest, MSG_DONTWAIT) > 0)
        ;
}

/* 0: the result is there; 1: the program has ended without one. */
static int listen_to(struct run *r, struct runner_error *err)
{
    char buffer[16384];

    for (;;) {
        ssize_t n = recv(r->fd, buffer, sizeof buffer, 0);
        int status = 0;

        if (n == 0 || (n < 0 && errno == ECONNRESET))
            return 1;
        if (n > 0) {
            str_add_mem(&r->in, buffer, (size_t)n);
            status = take_lines(r, err);
        } else if (errno != EAGAIN && errno != EINTR) {
            return fail_errno(err, errno, "runner-oci");
        } else if (oci_host->wait(r->call, r->fd, POLLIN, -1) < 0) {
            (void)stopped(err);
            hang_up(r);
            return -1;
        }
        if (status != 0)
            return status < 0 ? -1 : 0;
    }
}

static int talk(struct run *r, struct runner_error *err)
{
    auto_free char *address = mem_printf("unix:%s", r->socket_path);
    struct runner_error more = ERROR_INIT;
    int status = oci_host->dial(r->call, address, &r->fd, err) < 0 ? -1 : listen_to(r, err);
    int code = status < 0 ? err->code : 0;

    if (code == RUNNER_E_CANCELLED || code == RUNNER_E_TIMEOUT)
        return -1;
    if (stop(r, status == 1, &more) == 0)
        return status;
    if (status >= 0)
        error_copy(err, &more);
    else
        error_append(err, "%s", more.message);
    return -1;
}

static void run_done(struct run *r)
{
    cleanup_close(&r->fd);
    free(r->dir);
    free(r->socket_path);
    free(r->pid_path);
    free(r->cgroup);
    str_done(&r->in);
    json_free(r->result);
    free_slot(r->slot);
}

int task_run(const struct oci *self, struct runner_call *call, const struct task *task, struct json **ret_result,
             struct runner_error *err)
{
    struct run r = {.self = self, .call = call, .task = task, .fd = -1, .slot = take_slot()};
    int status;

    if (r.slot < 0)
        return fail(err, RUNNER_E_BUSY, 0, "more than %d operations on images at once", SLOTS);
    r.dir = mem_printf("%s/storage/oci/run", oci_host->root(call));
    r.socket_path = mem_printf("%s/%d-%d.sock", r.dir, (int)getpid(), r.slot);
    r.pid_path = mem_printf("%s/%d-%d.pid", r.dir, (int)getpid(), r.slot);
    r.cgroup = mem_printf("oci-%d", r.slot);
    status = start(&r, err) < 0 ? -1 : talk(&r, err);
    if (status == 0) {
        *ret_result = r.result;
        r.result = NULL;
    }
    run_done(&r);
    return status;
}
