#include "plugins/vmm/cloud-hypervisor/adopt.h"

#include <string.h>

#include "core/util/error.h"
#include "core/util/json.h"
#include "plugins/vmm/cloud-hypervisor/client.h"
#include "plugins/vmm/cloud-hypervisor/http.h"
#include "plugins/vmm/cloud-hypervisor/machine.h"
#include "plugins/vmm/cloud-hypervisor/vmread.h"
#include "plugins/vmm/common/steps.h"

#define ASK_MS 5000

struct adoption {
    struct ch *ch;
    struct runner_call *call;
    const struct runner_vm *vm;
    int64_t pid; /* of who listens; 0: nobody does */
};

/* ---- its process ---- */

/* The configured program, whatever its version is called, or the usual one. */
static int take_listener(struct adoption *a, struct runner_error *err)
{
    const char *slash = strrchr(a->ch->binary, '/');
    const char *const names[] = {"cloud-hypervisor", slash != NULL ? slash + 1 : a->ch->binary, NULL};
    const struct runner_step step = {.size = RUNNER_STEP_INIT,
                                     .kind = RUNNER_ADOPT,
                                     .argv = names,
                                     .path = a->vm->pid_path,
                                     .to = a->vm->socket_path};
    struct runner_batch *batch = a->ch->host->batch_new(a->call);
    int status = batch == NULL ? fail(err, RUNNER_E_NOMEM, 0, "adopt") : 0;

    if (status == 0 && (a->ch->host->add(batch, &step, err) < 0 || a->ch->host->run(a->call, batch, err) < 0))
        status = -1;
    if (status == 0 && a->ch->host->result(batch, 0)->status == 0)
        a->pid = a->ch->host->result(batch, 0)->number;
    a->ch->host->batch_free(batch);
    return status;
}

/* One step on the pid file; its number, or -1 when its status is not 0 or it fails. */
static int64_t run_step(const struct adoption *a, uint32_t kind)
{
    struct runner_batch *batch = a->ch->host->batch_new(a->call);
    int64_t number = -1;

    if (batch != NULL && steps_add_path(a->ch->host, batch, kind, 0, 0, a->vm->pid_path, NULL) >= 0 &&
        a->ch->host->run(a->call, batch, NULL) == 0 && a->ch->host->result(batch, 0)->status == 0)
        number = a->ch->host->result(batch, 0)->number;
    a->ch->host->batch_free(batch);
    return number;
}

/* ---- what it says ---- */

static int get(const struct adoption *a, const char *action, struct json **ret, int *ret_status,
               struct runner_error *err)
{
    const struct client_request request = {.action = action, .is_get = true, .fd = -1, .timeout_ms = ASK_MS};
    auto_reply struct client_reply reply = CLIENT_REPLY_INIT;
    int status = client_call(a->ch, a->call, a->vm, &request, &reply, err);

    *ret_status = reply.status;
    if (status < 0)
        return -1;
    return http_body_json(str_text(&reply.body), reply.body.len, ret, err) < 0 ? error_wrap(err, "%s", action) : 0;
}

/* Who listens might not be who answers, where a socket was handed on: its own word for its number is asked, and then
 * whether the process that had this number before still has it. */
static int check_process(const struct adoption *a, struct runner_error *err)
{
    auto_json struct json *pong = NULL;
    int64_t pid;
    int status;

    if (get(a, "vmm.ping", &pong, &status, err) < 0)
        return -1;
    pid = json_int(pong, "pid", 0);
    if (pid != a->pid)
        return fail(err, RUNNER_E_INVALID, 0, "'%s': process %lld listens there, and process %lld answers",
                    a->vm->socket_path, (long long)a->pid, (long long)pid);
    if (run_step(a, RUNNER_ALIVE) != pid)
        return fail(err, RUNNER_E_UNREACHABLE, 0, "'%s': process %lld has just ended", a->vm->socket_path,
                    (long long)pid);
    return 0;
}

/* A process without a machine has no configuration. */
static int read_machine(const struct adoption *a, struct runner_machine *ret_machine,
                        struct runner_vm_status *ret_status, struct runner_error *err)
{
    auto_json struct json *info = NULL;
    int status;

    if (machine_status(a->ch, a->call, a->vm, ret_status, err) < 0)
        return -1;
    if (ret_status->state == RUNNER_VM_ABSENT)
        return fail(err, RUNNER_E_UNREACHABLE, 0, "'%s': it has just ended", a->vm->socket_path);
    if (get(a, "vm.info", &info, &status, err) < 0)
        return status == 404 ? (error_clear(err), 0) : -1;
    return vmread_config(a->ch->host, json_get(info, "config"), ret_machine, err) < 0
               ? error_wrap(err, "vm.info: config")
               : 0;
}

int adopt_machine(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_machine *ret_machine,
                  struct runner_vm_status *ret_status, struct runner_error *err)
{
    struct adoption a = {.ch = self, .call = call, .vm = vm};

    client_forget(self, vm->id);
    if (take_listener(&a, err) < 0)
        return -1;
    if (a.pid == 0) {
        ret_status->state = RUNNER_VM_ABSENT;
        (void)snprintf(ret_status->text, sizeof ret_status->text, "absent");
        return 0;
    }
    if (check_process(&a, err) == 0 && read_machine(&a, ret_machine, ret_status, err) == 0)
        return 0;
    (void)run_step(&a, RUNNER_REMOVE);
    client_forget(self, vm->id);
    return error_wrap(err, "process %lld", (long long)a.pid);
}
