#include "plugins/vmm/qemu/machine.h"

#include <string.h>

#include "core/util/error.h"
#include "plugins/vmm/common/ending.h"
#include "plugins/vmm/qemu/qmp.h"

#define BOOT_MS    60000 /* QEMU greets after 20 to 110 ms; twenty at once on a busy host take seconds */
#define PAUSE_MS   45000 /* requests to disks are waited for */
#define COMMAND_MS 10000
#define STATUS_MS  5000

/* QEMU's word for a state (qapi/run-state.json), and ours. */
static uint32_t state_of(const char *word, bool is_running)
{
    static const struct {
        const char *word;
        uint32_t state;
    } states[] = {
        {"running", RUNNER_VM_RUNNING}, {"shutdown", RUNNER_VM_ENDED},        {"guest-panicked", RUNNER_VM_FAILED},
        {"io-error", RUNNER_VM_FAILED}, {"internal-error", RUNNER_VM_FAILED}, {"watchdog", RUNNER_VM_FAILED},
    };

    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        if (strcmp(word, states[i].word) == 0)
            return states[i].state;
    return is_running ? RUNNER_VM_RUNNING : RUNNER_VM_PAUSED;
}

#define QUESTION "query-status"

static int read_state(const struct json *value, struct runner_vm_status *ret, struct runner_error *err)
{
    const char *word = json_text(value, "status", NULL);

    if (word == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "QMP: " QUESTION " answers without a status");
    ret->state = state_of(word, json_bool(value, "running", false));
    (void)snprintf(ret->text, sizeof ret->text, "%.*s", (int)sizeof ret->text - 1, word);
    return 0;
}

static int query_state(struct qmp *qmp, struct runner_vm_status *ret, struct runner_error *err)
{
    auto_json struct json *value = NULL;

    return qmp_execute(qmp, QUESTION, &value, err) < 0 ? -1 : read_state(value, ret, err);
}

static int open_for_state(struct qmp *qmp, struct qemu *qemu, struct runner_call *call, const struct runner_vm *vm,
                          int64_t timeout_ms, struct runner_vm_status *ret, struct runner_error *err)
{
    auto_json struct json *value = NULL;

    if (qmp_open(qmp, qemu->host, call, vm->socket_path, timeout_ms, QUESTION, &value, err) < 0)
        return -1;
    return read_state(value, ret, err);
}

/* ---- operations ---- */

static int boot_over(struct qmp *qmp, struct qemu *qemu, struct runner_call *call, const struct runner_vm *vm,
                     struct runner_error *err)
{
    struct runner_vm_status status = {.size = sizeof status};

    if (open_for_state(qmp, qemu, call, vm, BOOT_MS, &status, err) < 0)
        return -1;
    if (status.state == RUNNER_VM_PAUSED) {
        if (qmp_execute(qmp, "cont", NULL, err) < 0 || query_state(qmp, &status, err) < 0)
            return -1;
    }
    if (status.state != RUNNER_VM_RUNNING)
        return fail(err, RUNNER_E_IO, 0, "the machine is in state '%s'", status.text);
    return 0;
}

/* The machine runs from the moment QEMU has built it, without a command: what is left is to see that it does. */
int machine_boot(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err)
{
    struct qemu *qemu = self;
    auto_qmp struct qmp qmp = QMP_INIT;

    if (boot_over(&qmp, qemu, call, vm, err) < 0)
        return ending_explain(qemu->host, call, vm, "QEMU", err);
    return 0;
}

static int command(struct qemu *qemu, struct runner_call *call, const struct runner_vm *vm, const char *name,
                   int64_t timeout_ms, struct runner_error *err)
{
    auto_qmp struct qmp qmp = QMP_INIT;

    if (qmp_open(&qmp, qemu->host, call, vm->socket_path, timeout_ms, NULL, NULL, err) < 0)
        return -1;
    return qmp_execute(&qmp, name, NULL, err);
}

/* A command whose answer is late, lost or none may have had its effect: what the machine says of itself decides. */
static int bring_to(struct qemu *qemu, struct runner_call *call, const struct runner_vm *vm, const char *name,
                    int64_t timeout_ms, uint32_t state, struct runner_error *err)
{
    struct runner_vm_status status = {.size = sizeof status};
    struct runner_error cause = ERROR_INIT, ignored = ERROR_INIT;
    auto_qmp struct qmp qmp = QMP_INIT;

    if (command(qemu, call, vm, name, timeout_ms, &cause) == 0)
        return 0;
    if (cause.code != RUNNER_E_CANCELLED && open_for_state(&qmp, qemu, call, vm, STATUS_MS, &status, &ignored) == 0 &&
        status.state == state)
        return 0;
    error_copy(err, &cause);
    return -1;
}

int machine_power_button(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err)
{
    return command(self, call, vm, "system_powerdown", COMMAND_MS, err);
}

int machine_pause(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err)
{
    return bring_to(self, call, vm, "stop", PAUSE_MS, RUNNER_VM_PAUSED, err);
}

int machine_resume(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err)
{
    return bring_to(self, call, vm, "cont", COMMAND_MS, RUNNER_VM_RUNNING, err);
}

int machine_status(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_vm_status *ret,
                   struct runner_error *err)
{
    struct qemu *qemu = self;
    auto_qmp struct qmp qmp = QMP_INIT;
    struct runner_error cause = ERROR_INIT;

    if (open_for_state(&qmp, qemu, call, vm, STATUS_MS, ret, &cause) == 0)
        return 0;
    if (cause.code != RUNNER_E_UNREACHABLE && cause.code != RUNNER_E_NOTFOUND) {
        error_copy(err, &cause);
        return -1;
    }
    ret->state = RUNNER_VM_ABSENT;
    (void)snprintf(ret->text, sizeof ret->text, "absent");
    return 0;
}
