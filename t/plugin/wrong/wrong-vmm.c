/* VMMs: one that answers each command with one byte, wrong in one way each. See wrong.h. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "t/plugin/wrong/wrong.h"

static int create(const struct runner_value *values, size_t n, void **ret_self, struct runner_error *err)
{
    (void)values, (void)n, (void)err;
    *ret_self = defect; /* no state of its own */
    return 0;
}

static void destroy(void *self)
{
    (void)self;
}

/* ---- planning ---- */

static int spawn(void *self, struct runner_call *call, struct runner_batch *batch, const struct runner_vm *vm,
                 struct runner_error *err)
{
    static const char *const argv[] = {"one-byte-vmm", NULL};
    const struct runner_fd fd = {.kind = RUNNER_FD_LISTEN, .number = 3, .path = vm->socket_path};
    const struct runner_spawn how = {
        .size = sizeof how, .fds = &fd, .n_fds = 1, .pid_path = vm->pid_path, .output_path = vm->log_path};
    const struct runner_step gone = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = vm->socket_path};
    const struct runner_step kill = {RUNNER_STEP_INIT, .kind = RUNNER_KILL, .path = vm->pid_path, .number = SIGKILL};
    const struct runner_step clear = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = vm->socket_path, .undo = &gone};
    const struct runner_step start = {
        RUNNER_STEP_INIT, .kind = RUNNER_SPAWN, .argv = argv, .spawn = &how, .undo = &kill};

    (void)self, (void)call;
    return host->add(batch, &clear, err) < 0 || host->add(batch, &start, err) < 0 ? -1 : 0;
}

static int cleanup(void *self, struct runner_call *call, struct runner_batch *batch, const struct runner_vm *vm,
                   struct runner_error *err)
{
    const struct runner_step gone = {RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .path = vm->socket_path};

    (void)self, (void)call;
    return host->add(batch, &gone, err) < 0 ? -1 : 0;
}

/* ---- talking ---- */

/* 'k' is the one answer there is. */
static int await_answer(struct runner_call *call, int fd, bool is_boot, struct runner_error *err)
{
    char answer;
    int n = host->wait(call, fd, POLLIN, -1);

    while (n < 0 && errno == ECANCELED && is_boot && is_wrong("sleeps-on")) {
        (void)poll(NULL, 0, 10);
        n = host->wait(call, fd, POLLIN, -1);
    }
    if (n < 0)
        return refuse(err, errno == ECANCELED ? RUNNER_E_CANCELLED : RUNNER_E_TIMEOUT, "no answer");
    if (recv(fd, &answer, 1, 0) != 1)
        return refuse(err, RUNNER_E_UNREACHABLE, "it hung up");
    if (is_boot && is_wrong("keeps-words"))
        (void)host_text("what it said, for nobody");
    return answer == 'k' || is_wrong("believes-all") ? 0 : refuse(err, RUNNER_E_INVALID, "not an answer");
}

static int ask(struct runner_call *call, const struct runner_vm *vm, bool is_boot, struct runner_error *err)
{
    char address[200];
    int fd = -1, status;

    (void)snprintf(address, sizeof address, "unix:%s", vm->socket_path);
    if (host->dial(call, address, &fd, err) < 0)
        return -1;
    status = send(fd, "?", 1, MSG_NOSIGNAL) == 1 ? await_answer(call, fd, is_boot, err)
                                                 : refuse(err, RUNNER_E_UNREACHABLE, "it hung up");
    if (status < 0 && is_boot && is_wrong(err->code == RUNNER_E_TIMEOUT ? "keeps-waiting" : "keeps-hold"))
        return -1;
    close(fd);
    return status;
}

static int boot(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err)
{
    (void)self;
    return ask(call, vm, true, err);
}

static int power_button(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err)
{
    struct runner_error own = {.size = sizeof own};
    int status = ask(call, vm, false, &own);

    (void)self;
    *err = own;
    return status;
}

static int status(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_vm_status *ret,
                  struct runner_error *err)
{
    (void)self;
    ret->state = RUNNER_VM_RUNNING;
    (void)snprintf(ret->text, sizeof ret->text, "it answers");
    if (ask(call, vm, false, err) == 0 || (is_wrong("sees-life") && err->code == RUNNER_E_INVALID))
        return 0;
    if (err->code != RUNNER_E_UNREACHABLE && err->code != RUNNER_E_NOTFOUND)
        return -1;
    ret->state = is_wrong("mistakes-absence") ? RUNNER_VM_ENDED : RUNNER_VM_ABSENT;
    return 0;
}

/* ---- events: a byte each ---- */

static int listen_to(void *self, struct runner_call *call, const struct runner_vm *vm, void **ret_stream, int *ret_fd,
                     struct runner_error *err)
{
    char address[200];
    int *stream = malloc(sizeof *stream);

    (void)self;
    (void)snprintf(address, sizeof address, "unix:%s", vm->socket_path);
    if (stream == NULL || host->dial(call, address, stream, err) < 0) {
        free(stream);
        return -1;
    }
    *ret_stream = stream;
    *ret_fd = *stream;
    return 0;
}

static int next(void *self, void *stream, struct runner_vm_event *ret, struct runner_error *err)
{
    static bool has_heard;
    const int *fd = stream;
    struct pollfd p = {.fd = *fd, .events = POLLIN};
    char byte;
    ssize_t n;

    (void)self;
    if (!has_heard && is_wrong("awaits-events"))
        (void)poll(&p, 1, -1);
    do
        n = recv(*fd, &byte, 1, MSG_DONTWAIT);
    while (n == 1 && byte != 'e' && is_wrong("drinks-flood") && poll(&p, 1, 200) > 0); /* the rest comes soon */
    has_heard = true;
    ret->kind = RUNNER_VM_EVENT_OTHER;
    (void)snprintf(ret->text, sizeof ret->text, "a byte");
    return n == 1 ? 1 : n < 0 && errno == EAGAIN ? 0 : refuse(err, RUNNER_E_UNREACHABLE, "it hung up");
}

static void unlisten(void *self, void *stream)
{
    int *fd = stream;

    (void)self;
    if (fd == NULL)
        return;
    close(*fd);
    free(fd);
}

static int describe(void *self, char *ret_text, size_t size)
{
    (void)self;
    if (is_wrong("describes-on"))
        memset(ret_text, 'x', size);
    else
        (void)snprintf(ret_text, size, "a VMM of one byte");
    return 0;
}

static struct runner_vmm_ops ops = {.spawn = spawn,
                                    .boot = boot,
                                    .power_button = power_button,
                                    .status = status,
                                    .describe = describe,
                                    .cleanup = cleanup,
                                    .listen = listen_to,
                                    .next = next,
                                    .unlisten = unlisten};

static struct runner_plugin plugin = {
    RUNNER_PLUGIN_INIT(RUNNER_VMM, NULL, ops),
    .caps = RUNNER_VMM_CAP_EVENTS,
    .threads = RUNNER_PARALLEL,
    .version = "0.1",
    .summary = "a VMM of one byte, in a wrong way",
    .load = load,
    .create = create,
    .destroy = destroy,
};

WRONG_PLUGIN(plugin, ops.pause = ops.resume = is_wrong("hides-pause") ? boot : NULL)
