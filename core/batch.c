#include "core/batch.h"

#include <stddef.h>
#include <string.h>

#include "core/call.h"
#include "core/host.h"
#include "core/util/error.h"

/* Copies live in chunks that go with the batch. */
struct chunk {
    struct chunk *next;
    size_t used, size;
    max_align_t data[];
};

struct given { /* data that is the batch's, and was not copied */
    struct given *next;
    void *data;
    size_t len;
};

struct runner_batch {
    struct runner_call *call;
    struct chunk *chunks;
    struct given *given; /* in the chunks */
    struct runner_step **steps;
    struct runner_result *results;
    size_t n, cap;
    void *begun; /* the transport's, from batch_begin() to batch_end() */
    bool ran, has_secret;
};

struct runner_batch *batch_new(struct runner_call *call)
{
    struct runner_batch *batch = mem_alloc(sizeof *batch);

    batch->call = call;
    return batch;
}

void batch_free(struct runner_batch *batch)
{
    if (batch == NULL)
        return;
    for (size_t i = 0; batch->results != NULL && i < batch->n; i++)
        free(batch->results[i].out);
    for (const struct given *g = batch->given; g != NULL; g = g->next) {
        if (batch->has_secret)
            explicit_bzero(g->data, g->len);
        free(g->data);
    }
    while (batch->chunks != NULL) {
        struct chunk *next = batch->chunks->next;
        if (batch->has_secret)
            explicit_bzero(batch->chunks->data, batch->chunks->used);
        free(batch->chunks);
        batch->chunks = next;
    }
    free(batch->results);
    free(batch->steps);
    free(batch);
}

size_t batch_length(const struct runner_batch *batch)
{
    return batch->n;
}

static void *keep(struct runner_batch *batch, const void *data, size_t len)
{
    size_t room = (len + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    struct chunk *chunk = batch->chunks;
    void *copy;

    if (chunk == NULL || chunk->size - chunk->used < room) {
        size_t size = room > 4096 ? room : 4096;
        chunk = mem_grow(NULL, 1, sizeof *chunk + size);
        chunk->used = 0;
        chunk->size = size;
        chunk->next = batch->chunks;
        batch->chunks = chunk;
    }
    copy = (char *)chunk->data + chunk->used;
    chunk->used += room;
    if (len > 0)
        memcpy(copy, data, len);
    return copy;
}

static const char *keep_text(struct runner_batch *batch, const char *text)
{
    return text == NULL ? NULL : keep(batch, text, strlen(text) + 1);
}

static const char *const *keep_list(struct runner_batch *batch, const char *const *list)
{
    const char **copy;
    size_t n = 0;

    if (list == NULL)
        return NULL;
    while (list[n] != NULL)
        n++;
    copy = keep(batch, list, (n + 1) * sizeof *list);
    for (size_t i = 0; i < n; i++)
        copy[i] = keep_text(batch, list[i]);
    return copy;
}

static const struct runner_spawn *keep_spawn(struct runner_batch *batch, const struct runner_spawn *spawn)
{
    struct runner_spawn whole = {.size = 0};
    struct runner_fd *fds;
    struct runner_spawn *copy;

    if (spawn == NULL)
        return NULL;
    memcpy(&whole, spawn, spawn->size < sizeof whole ? spawn->size : sizeof whole);
    whole.size = sizeof whole;
    copy = keep(batch, &whole, sizeof whole);
    fds = keep(batch, whole.fds, whole.n_fds * sizeof *whole.fds);
    for (uint32_t i = 0; i < whole.n_fds; i++)
        fds[i].path = keep_text(batch, fds[i].path);
    copy->fds = fds;
    copy->pid_path = keep_text(batch, whole.pid_path);
    copy->output_path = keep_text(batch, whole.output_path);
    copy->env = keep_list(batch, whole.env);
    copy->groups_of = keep_list(batch, whole.groups_of);
    copy->cgroup = keep_text(batch, whole.cgroup);
    return copy;
}

static const struct runner_port *keep_port(struct runner_batch *batch, const struct runner_port *port)
{
    struct runner_port whole = {.size = 0};
    struct runner_port *copy;

    if (port == NULL)
        return NULL;
    memcpy(&whole, port, port->size < sizeof whole ? port->size : sizeof whole);
    whole.size = sizeof whole;
    copy = keep(batch, &whole, sizeof whole);
    copy->mac = keep_text(batch, whole.mac);
    copy->address = keep_text(batch, whole.address);
    copy->also = keep_text(batch, whole.also);
    return copy;
}

static const struct runner_netns *keep_netns(struct runner_batch *batch, const struct runner_netns *netns)
{
    struct runner_netns whole = {.size = 0};
    struct runner_netns *copy;

    if (netns == NULL)
        return NULL;
    memcpy(&whole, netns, netns->size < sizeof whole ? netns->size : sizeof whole);
    whole.size = sizeof whole;
    copy = keep(batch, &whole, sizeof whole);
    copy->rules = whole.rules == NULL ? NULL : keep(batch, whole.rules, whole.rules_len);
    copy->routes = whole.routes == NULL ? NULL : keep(batch, whole.routes, whole.routes_len);
    return copy;
}

static struct runner_step *keep_step(struct runner_batch *batch, const struct runner_step *step, int depth)
{
    struct runner_step whole = {.size = 0};
    struct runner_step *copy;

    memcpy(&whole, step, step->size < sizeof whole ? step->size : sizeof whole);
    whole.size = sizeof whole;
    copy = keep(batch, &whole, sizeof whole);
    copy->path = keep_text(batch, whole.path);
    copy->to = keep_text(batch, whole.to);
    copy->argv = keep_list(batch, whole.argv);
    copy->data = whole.data == NULL ? NULL : keep(batch, whole.data, whole.len);
    copy->spawn = keep_spawn(batch, whole.spawn);
    copy->port = keep_port(batch, whole.port);
    copy->netns = keep_netns(batch, whole.netns);
    copy->undo = whole.undo == NULL || depth > 0 ? NULL : keep_step(batch, whole.undo, depth + 1);
    return copy;
}

enum need { NEED_PATH = 1, NEED_TO = 2, NEED_ARGV = 4, NEED_SPAWN = 8, NEED_DATA = 16 };

static const struct {
    const char *name;
    int needs;
} kinds[] = {
    [RUNNER_RUN] = {"RUN", NEED_ARGV},         [RUNNER_SPAWN] = {"SPAWN", NEED_ARGV | NEED_SPAWN},
    [RUNNER_MKDIR] = {"MKDIR", NEED_PATH},     [RUNNER_WRITE] = {"WRITE", NEED_PATH},
    [RUNNER_READ] = {"READ", NEED_PATH},       [RUNNER_CLONE] = {"CLONE", NEED_PATH | NEED_TO},
    [RUNNER_GROW] = {"GROW", NEED_PATH},       [RUNNER_RENAME] = {"RENAME", NEED_PATH | NEED_TO},
    [RUNNER_REMOVE] = {"REMOVE", NEED_PATH},   [RUNNER_STAT] = {"STAT", NEED_PATH},
    [RUNNER_LIST] = {"LIST", NEED_PATH},       [RUNNER_STATFS] = {"STATFS", NEED_PATH},
    [RUNNER_TAP_ADD] = {"TAP_ADD", NEED_PATH}, [RUNNER_TAP_DEL] = {"TAP_DEL", NEED_PATH},
    [RUNNER_KILL] = {"KILL", NEED_PATH},       [RUNNER_ALIVE] = {"ALIVE", NEED_PATH},
    [RUNNER_PATCH] = {"PATCH", NEED_PATH},     [RUNNER_OWN] = {"OWN", NEED_PATH},
    [RUNNER_WAIT] = {"WAIT", NEED_PATH},       [RUNNER_CGROUP_DEL] = {"CGROUP_DEL", NEED_PATH},
    [RUNNER_ADOPT] = {"ADOPT", NEED_PATH | NEED_TO | NEED_ARGV},
    [RUNNER_CGROUP_SET] = {"CGROUP_SET", NEED_PATH},
    [RUNNER_NETLINK] = {"NETLINK", NEED_DATA}, [RUNNER_CONNTRACK_DEL] = {"CONNTRACK_DEL", NEED_PATH},
};

static int validate(const struct runner_step *step, struct runner_error *err)
{
    bool is_name = step->kind == RUNNER_TAP_ADD || step->kind == RUNNER_TAP_DEL || step->kind == RUNNER_CGROUP_DEL ||
                   step->kind == RUNNER_CGROUP_SET || step->kind == RUNNER_CONNTRACK_DEL;
    int needs;

    if (step->size < offsetof(struct runner_step, undo) || step->kind == 0 || step->kind >= ARRAY_LEN(kinds) ||
        kinds[step->kind].name == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "step of unknown kind %u", step->kind);
    needs = kinds[step->kind].needs;
    if (((needs & NEED_PATH) && step->path == NULL) || ((needs & NEED_TO) && step->to == NULL) ||
        ((needs & NEED_ARGV) && (step->argv == NULL || step->argv[0] == NULL)) ||
        ((needs & NEED_SPAWN) && (step->spawn == NULL || step->spawn->pid_path == NULL)) ||
        ((needs & NEED_DATA) && (step->data == NULL || step->len == 0)))
        return fail(err, RUNNER_E_INVALID, 0, "step %s lacks a member", kinds[step->kind].name);
    if ((needs & NEED_PATH) && !is_name && step->path[0] != '/')
        return fail(err, RUNNER_E_INVALID, 0, "step %s: path '%s' is not absolute", kinds[step->kind].name, step->path);
    return 0;
}

int batch_add(struct runner_batch *batch, const struct runner_step *step, struct runner_error *err)
{
    if (batch->ran)
        return fail(err, RUNNER_E_BUSY, 0, "a step was added to a batch that ran");
    if (batch->n == BATCH_STEPS_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "more than %d steps in a batch", BATCH_STEPS_MAX);
    if (validate(step, err) < 0 || (step->undo != NULL && validate(step->undo, err) < 0))
        return -1;
    if (batch->n == batch->cap) {
        batch->cap = batch->cap == 0 ? 16 : batch->cap * 2;
        batch->steps = mem_grow(batch->steps, batch->cap, sizeof(struct runner_step *));
    }
    batch->has_secret = batch->has_secret || (step->flags & RUNNER_S_SECRET);
    batch->steps[batch->n] = keep_step(batch, step, 0);
    return (int)batch->n++;
}

int batch_add_given(struct runner_batch *batch, const struct runner_step *step, struct str *data,
                    struct runner_error *err)
{
    struct runner_step without = *step;
    struct given *given;
    int index;

    without.data = NULL;
    without.len = 0;
    index = batch_add(batch, &without, err);
    if (index < 0)
        return -1;
    given = keep(batch, &(struct given){batch->given, data->ptr, data->len}, sizeof *given);
    batch->given = given;
    batch->steps[index]->data = given->data;
    batch->steps[index]->len = given->len;
    *data = (struct str)STR_INIT;
    return index;
}

const struct runner_result *batch_result(const struct runner_batch *batch, int index)
{
    const struct runner_result *result;

    if (batch->results == NULL || index < 0 || (size_t)index >= batch->n)
        return NULL;
    result = &batch->results[index];
    return result->size != 0 ? result : NULL;
}

static int ready(struct runner_batch *batch, struct runner_error *err)
{
    if (batch->ran)
        return fail(err, RUNNER_E_BUSY, 0, "a batch ran twice");
    batch->ran = true;
    batch->results = mem_array(batch->n, sizeof *batch->results);
    return 0;
}

static const struct runner_step *const *steps_of(const struct runner_batch *batch)
{
    return (const struct runner_step *const *)batch->steps;
}

int batch_run(struct runner_call *call, struct runner_batch *batch, struct runner_error *err)
{
    if (ready(batch, err) < 0)
        return -1;
    return batch->n == 0 ? 0 : host_run(call->host, call, steps_of(batch), batch->n, batch->results, err);
}

int batch_begin(struct runner_call *call, struct runner_batch *batch, struct runner_error *err)
{
    if (ready(batch, err) < 0)
        return -1;
    return host_begin(call->host, call, steps_of(batch), batch->n, batch->results, &batch->begun, err);
}

bool batch_is_begun(const struct runner_batch *batch)
{
    return batch != NULL && batch->begun != NULL;
}

int batch_end(struct runner_call *call, struct runner_batch *begun, struct runner_batch *rest, struct runner_error *err)
{
    void *handle = begun->begun;

    if (rest != NULL && ready(rest, err) < 0)
        return -1;
    begun->begun = NULL;
    if (rest == NULL)
        return host_end(call->host, call, handle, NULL, 0, NULL, err);
    return host_end(call->host, call, handle, steps_of(rest), rest->n, rest->results, err);
}

static void print_spawn(const struct runner_spawn *spawn, struct str *out)
{
    if (spawn->uid != 0)
        str_addf(out, " owner=%u:%u", spawn->uid, spawn->gid);
    if (spawn->cgroup != NULL)
        str_addf(out, " cgroup=%s", spawn->cgroup);
}

static void print_step(const struct runner_step *step, const char *before, struct str *out)
{
    str_addf(out, "%s%s", before, kinds[step->kind].name);
    for (size_t i = 0; step->argv != NULL && step->argv[i] != NULL; i++)
        str_addf(out, " %s", step->argv[i]);
    if (step->path != NULL)
        str_addf(out, " %s", step->path);
    if (step->to != NULL)
        str_addf(out, " -> %s", step->to);
    if (step->number != 0) {
        bool is_mode = step->kind == RUNNER_MKDIR || step->kind == RUNNER_WRITE || step->kind == RUNNER_CLONE ||
                       step->kind == RUNNER_OWN;
        str_addf(out, is_mode ? " mode=%llo" : " number=%lld", (long long)step->number);
    }
    if (step->kind == RUNNER_OWN || (step->flags & RUNNER_S_OWNED))
        str_addf(out, " owner=%u:%u", step->uid, step->gid);
    if (step->spawn != NULL)
        print_spawn(step->spawn, out);
    if (step->port != NULL)
        str_addf(out, " port=%s", step->port->mac != NULL ? step->port->mac : "");
    if (step->netns != NULL)
        str_addf(out, " netns=%zu,%zu", step->netns->rules_len, step->netns->routes_len);
    if (step->len > 0)
        str_addf(out, step->flags & RUNNER_S_SECRET ? " data=***" : " data=%zu", step->len);
    if (step->flags != 0)
        str_addf(out, " flags=%u", step->flags);
    str_add_char(out, '\n');
    if (step->undo != NULL)
        print_step(step->undo, "  undo ", out);
}

void batch_print(const struct runner_batch *batch, struct str *out)
{
    for (size_t i = 0; i < batch->n; i++)
        print_step(batch->steps[i], "", out);
}
