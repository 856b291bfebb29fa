#include "plugins/vmm/cloud-hypervisor/machine.h"

#include <stdio.h>
#include <string.h>

#include "core/util/error.h"
#include "core/util/json.h"
#include "plugins/vmm/cloud-hypervisor/check.h"
#include "plugins/vmm/cloud-hypervisor/client.h"
#include "plugins/vmm/cloud-hypervisor/http.h"
#include "plugins/vmm/cloud-hypervisor/vmconfig.h"
#include "plugins/vmm/common/ending.h"
#include "plugins/vmm/common/request.h"

#define PAUSE_MS   45000 /* requests to disks are waited for, up to 30 s */
#define COMMAND_MS 10000
#define STATUS_MS  5000
#define NO_MACHINE "no machine" /* a state too: there is none, not yet or no more */

/* One operation on one machine. */
struct on {
    struct ch *ch;
    struct runner_call *call;
    const struct runner_vm *vm;
    int status; /* of the last reply, as HTTP; 0: none came */
};

/* PUT, whose reply matters by its success only. */
static int put(struct on *on, const char *action, const char *body, int fd, int64_t timeout_ms,
               struct runner_error *err)
{
    const struct client_request request = {.action = action, .body = body, .fd = fd, .timeout_ms = timeout_ms};
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    int status = client_call(on->ch, on->call, on->vm, &request, &reply, err);

    on->status = reply.status;
    return status;
}

/* ---- state ---- */

/* Cloud Hypervisor's word for a state, and ours. Created: it does not run, not yet or no more. */
static uint32_t state_of(const char *word)
{
    static const struct {
        const char *word;
        uint32_t state;
    } states[] = {{"Running", RUNNER_VM_RUNNING}, {"Paused", RUNNER_VM_PAUSED}, {"Created", RUNNER_VM_ENDED}};

    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        if (strcmp(word, states[i].word) == 0)
            return states[i].state;
    return RUNNER_VM_FAILED;
}

static int read_info(const struct client_reply *reply, struct runner_vm_status *ret, struct runner_error *err)
{
    auto_json struct json *tree = NULL;
    const char *word;

    if (http_body_json(str_text(&reply->body), reply->body.len, &tree, err) < 0)
        return error_wrap(err, "vm.info");
    word = json_text(tree, "state", NULL);
    if (word == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "vm.info: the answer of " CH_NAME " has no state");
    ret->state = state_of(word);
    (void)snprintf(ret->text, sizeof ret->text, "%.*s", (int)sizeof ret->text - 1, word);
    return 0;
}

/* A process without a machine (not created yet, or deleted) is ENDED too. */
static int query_state(struct on *on, struct runner_vm_status *ret, struct runner_error *err)
{
    const struct client_request request = {.action = "vm.info", .is_get = true, .fd = -1, .timeout_ms = STATUS_MS};
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    int status = client_call(on->ch, on->call, on->vm, &request, &reply, err);

    on->status = reply.status;
    if (status == 0)
        return read_info(&reply, ret, err);
    if (reply.status != 404)
        return -1;
    ret->state = RUNNER_VM_ENDED;
    (void)snprintf(ret->text, sizeof ret->text, NO_MACHINE);
    return 0;
}

/*
 * A call failed. Whether it was refused because there was nothing to do, or its answer was lost or late, its effect may
 * be there: what the machine says of itself decides. True when it is as wanted.
 */
static bool is_state(struct on *on, const char *word)
{
    struct runner_vm_status status = {.size = sizeof status};
    struct runner_error ignored = ERROR_INIT;

    return query_state(on, &status, &ignored) == 0 && strcmp(status.text, word) == 0;
}

/*
 * A call whose effect is that the machine is in that state. Core undoes nothing of a pause that failed: one whose answer
 * did not get through, by whatever mishap on its way, must not leave a machine standing still that is said to run.
 */
static int bring_to(struct on *on, const char *action, int64_t timeout_ms, const char *state, struct runner_error *err)
{
    struct runner_error cause = ERROR_INIT;
    int status;

    if (put(on, action, NULL, -1, timeout_ms, &cause) == 0)
        return 0;
    status = on->status;
    if (cause.code != RUNNER_E_CANCELLED && is_state(on, state))
        return 0;
    on->status = status;
    error_copy(err, &cause);
    return -1;
}

/* ---- boot ---- */

struct taps {
    int fds[VMCONFIG_NICS_MAX];
    unsigned n;
};

static void taps_close(struct taps *taps)
{
    while (taps->n > 0)
        close(taps->fds[--taps->n]);
}

/* A queue of each TAP. 1: this host hands out none, or there is none, so Cloud Hypervisor has to open or make them. */
static int taps_open(const struct on *on, struct taps *taps, struct runner_error *err)
{
    struct runner_error cause = ERROR_INIT;

    for (unsigned i = 0; i < on->vm->n_nics; i++) {
        auto_free char *address = mem_printf("tap:%s", on->vm->nics[i]->name);

        if (on->vm->nics[i]->name[0] == '\0') {
            taps_close(taps);
            return 1;
        }
        if (on->ch->host->dial(on->call, address, &taps->fds[taps->n], &cause) == 0) {
            taps->n++;
            continue;
        }
        taps_close(taps);
        if (cause.code == RUNNER_E_NOTSUP)
            return 1;
        error_copy(err, &cause);
        return error_wrap(err, "network interface %u", i);
    }
    return 0;
}

/* vm.create, and a vm.add-net for each TAP. */
struct creation {
    struct client_request requests[1 + VMCONFIG_NICS_MAX];
    struct str bodies[1 + VMCONFIG_NICS_MAX];
    size_t n;
};

static void creation_done(struct creation *creation)
{
    for (size_t i = 0; i < creation->n; i++)
        str_done(&creation->bodies[i]);
}

/* vm.create ignores its descriptor: client_calls() is why it has one. */
static void creation_init(struct creation *creation, const struct on *on, const struct vmconfig_how *how,
                          const struct taps *taps)
{
    *creation = (struct creation){.n = 1 + taps->n};
    creation->requests[0] = (struct client_request){
        .action = "vm.create", .fd = taps->n > 0 ? taps->fds[0] : -1, .timeout_ms = on->ch->boot_timeout_ms};
    vmconfig_build(on->ch, on->vm, how, &creation->bodies[0]);
    for (unsigned i = 0; i < taps->n; i++) {
        creation->requests[1 + i] =
            (struct client_request){.action = "vm.add-net", .fd = taps->fds[i], .timeout_ms = COMMAND_MS};
        vmconfig_build_nic(on->vm, i, &creation->bodies[1 + i]);
    }
    for (size_t i = 0; i < creation->n; i++)
        creation->requests[i].body = str_text(&creation->bodies[i]);
}

/* How many of its calls had their effect, by the machine, which does not run yet; 0: there is none such. */
static size_t creation_read_back(struct on *on)
{
    const struct client_request request = {.action = "vm.info", .is_get = true, .fd = -1, .timeout_ms = STATUS_MS};
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    auto_json struct json *tree = NULL;
    const struct json *nics;
    size_t n = 1;

    if (client_call(on->ch, on->call, on->vm, &request, &reply, NULL) < 0 ||
        http_body_json(str_text(&reply.body), reply.body.len, &tree, NULL) < 0 ||
        strcmp(json_text(tree, "state", ""), "Created") != 0)
        return 0;
    nics = json_get(json_get(tree, "config"), "net");
    for (const struct json *nic = nics != NULL ? nics->first : NULL; nic != NULL; nic = nic->next)
        n++;
    return n;
}

/*
 * In one go, but not vm.boot with it: a machine whose creation is refused may be there all the same, and would run
 * otherwise than it was asked for. When an answer does not come in time, what is there decides what is left to do; but
 * whether it is confined only the answer to vm.create tells. *ret_done: how many calls succeeded.
 */
static int create_once(struct on *on, const struct vmconfig_how *how, const struct taps *taps, size_t *ret_done,
                       struct runner_error *err)
{
    CLEANUP(creation_done) struct creation creation;
    size_t at = 0;

    creation_init(&creation, on, how, taps);
    for (;;) {
        auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
        struct runner_error cause = ERROR_INIT;
        int status =
            client_calls(on->ch, on->call, on->vm, creation.requests + at, creation.n - at, &reply, ret_done, &cause);
        bool can_tell;
        size_t there;

        on->status = reply.status;
        *ret_done += at;
        if (status == 0)
            return 0;
        can_tell = cause.code == RUNNER_E_TIMEOUT && (*ret_done > 0 || !how->has_landlock);
        there = can_tell ? creation_read_back(on) : 0;
        if (there >= creation.n)
            return 0;
        if (there <= *ret_done) {
            error_copy(err, &cause);
            return -1;
        }
        at = there;
    }
}

/* Whether it is gone, when the answer is lost, the machine says. */
static int creation_remove(struct on *on, struct runner_error *err)
{
    return bring_to(on, "vm.delete", COMMAND_MS, NO_MACHINE, err);
}

/* A machine that is there without vm.create's answer may be one whose landlock rules were refused: it is made anew, once. */
static int create_surely(struct on *on, const struct vmconfig_how *how, const struct taps *taps, size_t *ret_done,
                         struct runner_error *err)
{
    struct runner_error cause = ERROR_INIT, ignored = ERROR_INIT;

    if (create_once(on, how, taps, ret_done, &cause) == 0)
        return 0;
    if (how->has_landlock && *ret_done == 0 && cause.code == RUNNER_E_TIMEOUT && creation_read_back(on) > 0 &&
        creation_remove(on, &ignored) == 0)
        return create_once(on, how, taps, ret_done, err);
    error_copy(err, &cause);
    return -1;
}

/*
 * A kernel without the rules that it wants makes Cloud Hypervisor refuse, but it keeps the configuration, and would
 * boot it unconfined: that is removed, and the machine made without, with a warning, unless the configuration insists.
 */
static int create(struct on *on, struct vmconfig_how *how, const struct taps *taps, struct runner_error *err)
{
    struct runner_error cause = ERROR_INIT;
    size_t done;

    if (create_surely(on, how, taps, &done, &cause) == 0)
        return 0;
    if (!how->has_landlock || strcmp(on->ch->landlock, "on") == 0 || on->status == 0 || done > 0 ||
        strstr(cause.message, "landlock") == NULL) {
        error_copy(err, &cause);
        return -1;
    }
    check_no_landlock(on->ch, on->call, cause.message);
    how->has_landlock = false;
    if (creation_remove(on, err) < 0)
        return -1;
    return create_once(on, how, taps, &done, err);
}

static int boot_over(struct on *on, struct runner_error *err)
{
    CLEANUP(taps_close) struct taps taps = {.n = 0};
    struct vmconfig_how how = {0};
    struct ch_facts facts;
    int opens;

    if (check_facts(on->ch, on->call, &facts, err) < 0 || vmconfig_check(on->vm, err) < 0)
        return -1;
    opens = taps_open(on, &taps, err);
    if (opens < 0)
        return -1;
    how = (struct vmconfig_how){.has_landlock = facts.has_landlock, .opens_taps = opens == 1};
    if (create(on, &how, &taps, err) < 0)
        return -1;
    return bring_to(on, "vm.boot", on->ch->boot_timeout_ms, "Running", err);
}

/* The socket listens since before the process, so the first call waits until it is served. Asked again for what runs
 * already: fine. A refusal is an answer: only where none came, or the last one of a thread that is gone, the process may
 * have ended. */
int machine_boot(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err)
{
    const struct runner_vm whole = request_vm(vm);
    struct on on = {.ch = self, .call = call, .vm = &whole};
    struct runner_error cause = ERROR_INIT;

    if (boot_over(&on, &cause) == 0)
        return 0;
    if (strstr(cause.message, "VM is already created") != NULL && is_state(&on, "Running"))
        return 0;
    if (on.status == 0 || cause.code == RUNNER_E_UNREACHABLE)
        (void)ending_explain(on.ch->host, call, vm, CH_NAME, &cause);
    error_copy(err, &cause);
    return -1;
}

/* ---- later ---- */

int machine_power_button(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err)
{
    struct on on = {.ch = self, .call = call, .vm = vm};

    return put(&on, "vm.power-button", NULL, -1, COMMAND_MS, err);
}

int machine_pause(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err)
{
    struct on on = {.ch = self, .call = call, .vm = vm};

    return bring_to(&on, "vm.pause", PAUSE_MS, "Paused", err);
}

int machine_resume(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err)
{
    struct on on = {.ch = self, .call = call, .vm = vm};

    return bring_to(&on, "vm.resume", COMMAND_MS, "Running", err);
}

int machine_status(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_vm_status *ret,
                   struct runner_error *err)
{
    struct on on = {.ch = self, .call = call, .vm = vm};
    struct runner_error cause = ERROR_INIT;

    if (query_state(&on, ret, &cause) == 0)
        return 0;
    if (cause.code != RUNNER_E_UNREACHABLE && (on.status != 0 || cause.code != RUNNER_E_NOTFOUND)) {
        error_copy(err, &cause); /* who refuses is there, whatever was not found */
        return -1;
    }
    ret->state = RUNNER_VM_ABSENT;
    (void)snprintf(ret->text, sizeof ret->text, "absent");
    return 0;
}

/* ---- counters ---- */

static uint64_t count(const struct json *device, const char *name)
{
    int64_t value = json_int(device, name, 0);

    return value > 0 ? (uint64_t)value : 0;
}

/* A device is what its counters say: those of others are absent. */
static void add_counters(const struct json *devices, struct runner_vm_counters *sum)
{
    for (const struct json *device = devices->first; device != NULL; device = device->next) {
        sum->disk_read_bytes += count(device, "read_bytes");
        sum->disk_write_bytes += count(device, "write_bytes");
        sum->disk_reads += count(device, "read_ops");
        sum->disk_writes += count(device, "write_ops");
        sum->net_rx_bytes += count(device, "rx_bytes");
        sum->net_tx_bytes += count(device, "tx_bytes");
        sum->net_rx_packets += count(device, "rx_frames");
        sum->net_tx_packets += count(device, "tx_frames");
    }
}

int machine_counters(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_vm_counters *ret,
                     struct runner_error *err)
{
    const struct client_request request = {.action = "vm.counters", .is_get = true, .fd = -1, .timeout_ms = STATUS_MS};
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    auto_json struct json *tree = NULL;
    struct runner_vm_counters sum = {.size = ret->size};

    if (client_call(self, call, vm, &request, &reply, err) < 0)
        return -1;
    if (http_body_json(str_text(&reply.body), reply.body.len, &tree, err) < 0)
        return error_wrap(err, "vm.counters");
    if (tree->type != JSON_OBJECT)
        return fail(err, RUNNER_E_INVALID, 0, "vm.counters: %s where an object is due", json_type_name(tree->type));
    add_counters(tree, &sum);
    *ret = sum;
    return 0;
}
