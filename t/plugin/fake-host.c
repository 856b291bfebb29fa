#include "t/plugin/fake-host.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/str.h"
#include "core/util/text.h"

struct runner_call {
    int64_t deadline_ms; /* by num_now_ms(), -1: none */
    bool cancelled;
};

struct runner_batch {
    struct runner_step **steps;
    struct runner_result *results;
    size_t n;
    bool ran;
};

struct answer {
    uint32_t kind;
    char *match, *out;
    int32_t status;
    int64_t number;
    int code; /* RUNNER_E_*: the step fails, and out is the message */
    bool used;
};

static struct {
    struct runner_call call;
    char *root;
    struct str ran, log;
    struct answer *answers;
    size_t n_answers, live;
    int64_t allocs_left;
    fake_step_fn *on_step;
    void *on_step_arg;
} fake = {.call = {.deadline_ms = -1}, .allocs_left = -1};

/* ---- memory ---- */

static void *fake_alloc(size_t size)
{
    if (fake.allocs_left == 0)
        return NULL;
    if (fake.allocs_left > 0)
        fake.allocs_left--;
    fake.live++;
    return mem_alloc(size);
}

static void fake_release(void *p)
{
    if (p != NULL)
        fake.live--;
    free(p);
}

/* ---- copies of steps: what they point to included ---- */

static char **copy_list(const char *const *list)
{
    size_t n = 0;
    char **copy;

    if (list == NULL)
        return NULL;
    while (list[n] != NULL)
        n++;
    copy = mem_array(n + 1, sizeof *copy);
    for (size_t i = 0; i < n; i++)
        copy[i] = mem_dup(list[i]);
    return copy;
}

static void free_list(const char *const *list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        free((char *)(uintptr_t)list[i]);
    free((void *)(uintptr_t)list);
}

static struct runner_spawn *copy_spawn(const struct runner_spawn *from)
{
    struct runner_spawn *to;
    struct runner_fd *fds;

    if (from == NULL)
        return NULL;
    to = mem_alloc(sizeof *to);
    *to = *from;
    fds = mem_array(from->n_fds, sizeof *fds);
    for (uint32_t i = 0; i < from->n_fds; i++) {
        fds[i] = from->fds[i];
        fds[i].path = mem_dup(from->fds[i].path);
    }
    to->fds = fds;
    to->pid_path = mem_dup(from->pid_path);
    to->output_path = mem_dup(from->output_path);
    to->env = (const char *const *)copy_list(from->env);
    to->groups_of = (const char *const *)copy_list(from->groups_of);
    to->cgroup = mem_dup(from->cgroup);
    return to;
}

static void free_text(const char *text)
{
    free((char *)(uintptr_t)text);
}

static void free_spawn(const struct runner_spawn *spawn)
{
    if (spawn == NULL)
        return;
    for (uint32_t i = 0; i < spawn->n_fds; i++)
        free_text(spawn->fds[i].path);
    free((void *)(uintptr_t)spawn->fds);
    free_text(spawn->pid_path);
    free_text(spawn->output_path);
    free_list(spawn->env);
    free_list(spawn->groups_of);
    free_text(spawn->cgroup);
    free((void *)(uintptr_t)spawn);
}

static struct runner_step *copy_step(const struct runner_step *from)
{
    struct runner_step *to = mem_alloc(sizeof *to);

    *to = *from;
    to->path = mem_dup(from->path);
    to->to = mem_dup(from->to);
    to->argv = (const char *const *)copy_list(from->argv);
    to->data = from->data != NULL ? mem_dup_n(from->data, from->len) : NULL;
    to->spawn = copy_spawn(from->spawn);
    to->undo = from->undo != NULL ? copy_step(from->undo) : NULL;
    return to;
}

static void free_step(struct runner_step *step)
{
    if (step == NULL)
        return;
    free_text(step->path);
    free_text(step->to);
    free_list(step->argv);
    free((void *)(uintptr_t)step->data);
    free_spawn(step->spawn);
    free_step((struct runner_step *)(uintptr_t)step->undo);
    free(step);
}

/* ---- steps as text ---- */

static const char *const kind_names[] = {
    [RUNNER_RUN] = "RUN",         [RUNNER_SPAWN] = "SPAWN",     [RUNNER_MKDIR] = "MKDIR", [RUNNER_WRITE] = "WRITE",
    [RUNNER_READ] = "READ",       [RUNNER_CLONE] = "CLONE",     [RUNNER_GROW] = "GROW",   [RUNNER_RENAME] = "RENAME",
    [RUNNER_REMOVE] = "REMOVE",   [RUNNER_STAT] = "STAT",       [RUNNER_LIST] = "LIST",   [RUNNER_STATFS] = "STATFS",
    [RUNNER_TAP_ADD] = "TAP_ADD", [RUNNER_TAP_DEL] = "TAP_DEL", [RUNNER_KILL] = "KILL",   [RUNNER_ALIVE] = "ALIVE",
    [RUNNER_PATCH] = "PATCH",     [RUNNER_OWN] = "OWN",         [RUNNER_WAIT] = "WAIT",   [RUNNER_CGROUP_DEL] = "CGROUP_DEL",
};

static const char *kind_name(uint32_t kind)
{
    return kind < ARRAY_LEN(kind_names) && kind_names[kind] != NULL ? kind_names[kind] : "UNKNOWN";
}

static void add_number(struct str *s, const struct runner_step *step)
{
    switch (step->kind) {
    case RUNNER_MKDIR:
    case RUNNER_WRITE:
    case RUNNER_CLONE:
    case RUNNER_OWN:
        str_addf(s, " mode=%04" PRIo64, (uint64_t)step->number);
        break;
    case RUNNER_RUN:
        str_addf(s, " ms=%" PRId64, step->number);
        break;
    case RUNNER_READ:
        str_addf(s, " limit=%" PRId64, step->number);
        break;
    case RUNNER_GROW:
        str_addf(s, " size=%" PRId64, step->number);
        break;
    case RUNNER_TAP_ADD:
        str_addf(s, " owner=%" PRId64, step->number);
        break;
    case RUNNER_PATCH:
        str_addf(s, " at=%" PRId64, step->number);
        break;
    case RUNNER_KILL:
        str_addf(s, " signal=%" PRId64, step->number);
        break;
    default:
        break;
    }
}

static void add_flags(struct str *s, uint32_t flags)
{
    static const char *const names[] = {"any-status", "excl",    "sync",     "optional", "tree",
                                        "parents",    "reflink", "isolated", "secret",   "tail"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (flags & (1u << i))
            str_addf(s, " +%s", names[i]);
}

static void add_spawn(struct str *s, const struct runner_spawn *spawn)
{
    static const char *const names[] = {"?", "listen", "append", "readwrite", "read"};

    str_addf(s, " pid=%s output=%s", spawn->pid_path, spawn->output_path);
    if (spawn->uid != 0 || spawn->gid != 0)
        str_addf(s, " uid=%u gid=%u", spawn->uid, spawn->gid);
    if (spawn->nofile != 0)
        str_addf(s, " nofile=%" PRIu64, spawn->nofile);
    for (uint32_t i = 0; i < spawn->n_fds; i++)
        str_addf(s, "%s%d:%s:%s", i == 0 ? " fds=" : ",", spawn->fds[i].number,
                 names[spawn->fds[i].kind < ARRAY_LEN(names) ? spawn->fds[i].kind : 0], spawn->fds[i].path);
}

static void add_data(struct str *s, const struct runner_step *step)
{
    if (step->kind == RUNNER_TAP_ADD || step->kind == RUNNER_TAP_DEL) {
        str_addf(s, " idle=%s", (const char *)step->data);
        return;
    }
    str_addf(s, " len=%zu data=", step->len);
    if (step->flags & RUNNER_S_SECRET) {
        str_add(s, "***");
        return;
    }
    str_add_char(s, '"');
    text_add_escaped(s, step->data, step->len < 1000 ? step->len : 1000);
    str_add_char(s, '"');
}

static void add_step(struct str *s, const struct runner_step *step)
{
    str_add(s, kind_name(step->kind));
    if (step->path != NULL)
        str_addf(s, " %s", step->path);
    if (step->to != NULL)
        str_addf(s, " -> %s", step->to);
    if (step->argv != NULL)
        str_add_char(s, ' ');
    for (size_t i = 0; step->argv != NULL && step->argv[i] != NULL; i++)
        str_addf(s, "[%s]", step->argv[i]);
    add_number(s, step);
    if (step->data != NULL)
        add_data(s, step);
    if (step->spawn != NULL)
        add_spawn(s, step->spawn);
    add_flags(s, step->flags);
    if (step->undo != NULL) {
        str_add(s, " undo: ");
        add_step(s, step->undo);
    }
}

char *fake_step_text(const struct runner_step *step)
{
    struct str s = STR_INIT;

    add_step(&s, step);
    return str_steal(&s);
}

size_t fake_batch_len(const struct runner_batch *batch)
{
    return batch->n;
}

const struct runner_step *fake_batch_step(const struct runner_batch *batch, size_t index)
{
    return index < batch->n ? batch->steps[index] : NULL;
}

char *fake_batch_text(const struct runner_batch *batch)
{
    struct str s = STR_INIT;

    for (size_t i = 0; i < batch->n; i++) {
        add_step(&s, batch->steps[i]);
        str_add_char(&s, '\n');
    }
    return str_steal(&s);
}

/* ---- batches ---- */

static struct runner_batch *fake_batch_new(struct runner_call *call)
{
    (void)call;
    fake.live++;
    return mem_alloc(sizeof(struct runner_batch));
}

static void fake_batch_free(struct runner_batch *batch)
{
    if (batch == NULL)
        return;
    for (size_t i = 0; i < batch->n; i++) {
        free_step(batch->steps[i]);
        if (batch->results != NULL)
            fake_release(batch->results[i].out);
    }
    free(batch->steps);
    free(batch->results);
    free(batch);
    fake.live--;
}

static int fake_add(struct runner_batch *batch, const struct runner_step *step, struct runner_error *err)
{
    if (step->size != sizeof *step)
        return fail(err, RUNNER_E_INVALID, 0, "step of size %u", step->size);
    batch->steps = mem_grow(batch->steps, batch->n + 1, sizeof(struct runner_step *));
    batch->steps[batch->n] = copy_step(step);
    return (int)batch->n++;
}

static const struct runner_result *fake_result(const struct runner_batch *batch, int index)
{
    return batch->ran && index >= 0 && (size_t)index < batch->n ? &batch->results[index] : NULL;
}

static int answer_give(struct answer *answer, struct runner_result *result, struct runner_error *err)
{
    answer->used = true;
    if (answer->code != 0)
        return fail(err, answer->code, 0, "%s", answer->out);
    result->status = answer->status;
    result->number = answer->number;
    if (answer->out == NULL)
        return 0;
    result->len = strlen(answer->out);
    result->out = fake_alloc(result->len + 1);
    if (result->out == NULL)
        return fail(err, RUNNER_E_NOMEM, 0, "answer");
    memcpy(result->out, answer->out, result->len + 1);
    return 0;
}

static int step_answer(const struct runner_step *step, const char *line, struct runner_result *result,
                       struct runner_error *err)
{
    for (size_t i = 0; i < fake.n_answers; i++) {
        struct answer *answer = &fake.answers[i];

        if (!answer->used && answer->kind == step->kind && strstr(line, answer->match) != NULL)
            return answer_give(answer, result, err);
    }
    return fake.on_step != NULL ? fake.on_step(fake.on_step_arg, step, result, err) : 0;
}

static int fake_run(struct runner_call *call, struct runner_batch *batch, struct runner_error *err)
{
    if (call->cancelled)
        return fail(err, RUNNER_E_CANCELLED, 0, "cancelled");
    if (batch->ran)
        return fail(err, RUNNER_E_INVALID, 0, "the batch ran already");
    batch->results = mem_array(batch->n, sizeof *batch->results);
    batch->ran = true;
    for (size_t i = 0; i < batch->n; i++) {
        auto_free char *line = fake_step_text(batch->steps[i]);

        batch->results[i].size = sizeof batch->results[i];
        str_addf(&fake.ran, "%s\n", line);
        if (step_answer(batch->steps[i], line, &batch->results[i], err) < 0)
            return -1;
    }
    return 0;
}

/* ---- the operation ---- */

static int64_t fake_left_ms(struct runner_call *call)
{
    int64_t left = call->deadline_ms < 0 ? INT64_MAX : call->deadline_ms - num_now_ms();

    return left > 0 ? left : 0;
}

static int fake_cancelled(struct runner_call *call)
{
    if (call->cancelled)
        return RUNNER_E_CANCELLED;
    return fake_left_ms(call) == 0 ? RUNNER_E_TIMEOUT : 0;
}

static int fake_wait(struct runner_call *call, int fd, short events, int64_t ms)
{
    struct pollfd p = {.fd = fd, .events = events};
    int64_t left = fake_left_ms(call);
    bool is_own = ms >= 0 && ms < left;
    int n;

    if (call->cancelled) {
        errno = ECANCELED;
        return -1;
    }
    if (!is_own)
        ms = left;
    n = poll(&p, 1, ms > INT32_MAX ? -1 : (int)ms);
    if (n == 0 && !is_own) {
        errno = ETIMEDOUT;
        return -1;
    }
    return n > 0 ? p.revents : n;
}

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
    str_addf(&fake.log, "%s %s", names[level < ARRAY_LEN(names) ? level : 0], event);
    for (size_t i = 0; i < n; i++)
        str_addf(&fake.log, " %s=%s", fields[i].key, fields[i].value);
    str_add_char(&fake.log, '\n');
}

/* ---- dial ---- */

static socklen_t parse_address(const char *text, struct sockaddr_storage *ret)
{
    struct sockaddr_un *un = (struct sockaddr_un *)ret;
    struct sockaddr_in *in = (struct sockaddr_in *)ret;
    const char *rest, *colon;
    char host[64];
    int64_t port;

    memset(ret, 0, sizeof *ret);
    if (text_starts(text, "unix:", &rest) && strlen(rest) < sizeof un->sun_path) {
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, rest, strlen(rest));
        return sizeof *un;
    }
    if (!text_starts(text, "tcp:", &rest) || (colon = strrchr(rest, ':')) == NULL || colon - rest >= 64 ||
        !num_int(colon + 1, 1, 65535, &port))
        return 0;
    memcpy(host, rest, (size_t)(colon - rest));
    host[colon - rest] = '\0';
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, host, &in->sin_addr) == 1 ? sizeof *in : 0;
}

static int fake_dial(struct runner_call *call, const char *address, int *ret_fd, struct runner_error *err)
{
    struct sockaddr_storage addr;
    socklen_t len = parse_address(address, &addr);
    int fd;

    if (call->cancelled)
        return fail(err, RUNNER_E_CANCELLED, 0, "cancelled");
    if (len == 0)
        return fail(err, RUNNER_E_INVALID, 0, "address '%s'", address);
    fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail_errno(err, errno, "socket");
    if (connect(fd, (struct sockaddr *)&addr, len) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        int saved_errno = errno;

        close(fd);
        return fail(err, RUNNER_E_UNREACHABLE, saved_errno, "dial '%s'", address);
    }
    *ret_fd = fd;
    return 0;
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

struct runner_call *fake_call(void)
{
    return &fake.call;
}

void fake_host_reset(void)
{
    for (size_t i = 0; i < fake.n_answers; i++) {
        free(fake.answers[i].match);
        free(fake.answers[i].out);
    }
    free(fake.answers);
    free(fake.root);
    str_done(&fake.ran);
    str_done(&fake.log);
    memset(&fake, 0, sizeof fake);
    fake.call.deadline_ms = -1;
    fake.allocs_left = -1;
    fake_host_root("/root-of-host");
}

void fake_host_root(const char *path)
{
    free(fake.root);
    fake.root = mem_dup(path);
}

void fake_host_deadline(int64_t ms)
{
    fake.call.deadline_ms = ms < 0 ? -1 : num_now_ms() + ms;
}

void fake_host_cancel(bool cancelled)
{
    fake.call.cancelled = cancelled;
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

static void add_answer(struct answer answer)
{
    fake.answers = mem_grow(fake.answers, fake.n_answers + 1, sizeof answer);
    fake.answers[fake.n_answers++] = answer;
}

void fake_host_answer(uint32_t kind, const char *match, int32_t status, int64_t number, const char *out)
{
    add_answer((struct answer){
        .kind = kind, .match = mem_dup(match), .out = mem_dup(out), .status = status, .number = number});
}

void fake_host_refuse(uint32_t kind, const char *match, int code, const char *message)
{
    add_answer((struct answer){.kind = kind, .match = mem_dup(match), .out = mem_dup(message), .code = code});
}

size_t fake_host_unused(void)
{
    size_t n = 0;

    for (size_t i = 0; i < fake.n_answers; i++)
        n += !fake.answers[i].used;
    return n;
}

const char *fake_host_ran(void)
{
    return str_text(&fake.ran);
}

const char *fake_host_log(void)
{
    return str_text(&fake.log);
}

size_t fake_host_live(void)
{
    return fake.live;
}
