#include "plugins/vmm/qemu/machine.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/text.h"
#include "plugins/vmm/qemu/qmp.h"

#define BOOT_MS     60000 /* QEMU greets after 20 to 110 ms; twenty at once on a busy host take seconds */
#define COMMAND_MS  10000
#define STATUS_MS   5000
#define END_MS      2000 /* from the end of a conversation to the end of the process */
#define END_POLL_MS 10
#define LOG_TAIL    "4096" /* bytes */
#define LOG_LINES   4
#define QUOTE_MAX   700 /* bytes of an error message */

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

static int query_state(struct qmp *qmp, struct runner_vm_status *ret, struct runner_error *err)
{
    auto_json struct json *value = NULL;
    const char *word;

    if (qmp_execute(qmp, "query-status", &value, err) < 0)
        return -1;
    word = json_text(value, "status", NULL);
    if (word == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "QMP: query-status answers without a status");
    ret->state = state_of(word, json_bool(value, "running", false));
    (void)snprintf(ret->text, sizeof ret->text, "%.*s", (int)sizeof ret->text - 1, word);
    return 0;
}

/* ---- the end of a process, in words ---- */

static int add_alive(struct qemu *self, struct runner_batch *batch, const struct runner_vm *vm,
                     struct runner_error *err)
{
    return self->host->add(
        batch, &(struct runner_step){.size = RUNNER_STEP_INIT, .kind = RUNNER_ALIVE, .path = vm->pid_path}, err);
}

/* The last bytes by tail(1): the log may have any length. */
static int add_tail(struct qemu *self, struct runner_batch *batch, const struct runner_vm *vm, struct runner_error *err)
{
    const char *const argv[] = {"tail", "-c", LOG_TAIL, "--", vm->log_path, NULL};

    return self->host->add(batch,
                           &(struct runner_step){.size = RUNNER_STEP_INIT,
                                                 .kind = RUNNER_RUN,
                                                 .flags = RUNNER_S_ANY_STATUS,
                                                 .argv = argv,
                                                 .number = COMMAND_MS},
                           err);
}

/* 1: it has ended, and *ret_wait is its wait status or -1. 0: it lives. -1: not known. */
static int has_ended(struct qemu *self, struct runner_call *call, const struct runner_vm *vm, int64_t *ret_wait)
{
    struct runner_batch *batch = self->host->batch_new(call);
    const struct runner_result *result;
    int ended = -1;

    if (batch != NULL && add_alive(self, batch, vm, NULL) >= 0 && self->host->run(call, batch, NULL) == 0) {
        result = self->host->result(batch, 0);
        ended = result->status == 1;
        *ret_wait = result->number2;
    }
    self->host->batch_free(batch);
    return ended;
}

/* The socket closes shortly before the process is gone, so its end is asked for until it is there. */
static bool await_end(struct qemu *self, struct runner_call *call, const struct runner_vm *vm, int64_t *ret_wait)
{
    int64_t deadline_ms = num_now_ms() + END_MS;
    int ended;

    while ((ended = has_ended(self, call, vm, ret_wait)) == 0 && num_now_ms() < deadline_ms)
        if (self->host->wait(call, -1, 0, END_POLL_MS) < 0)
            break;
    return ended == 1;
}

static void add_cause(struct str *s, int64_t wait_status)
{
    int status = (int)wait_status;

    if (wait_status < 0)
        return;
    if (WIFEXITED(status))
        str_addf(s, " with status %d", WEXITSTATUS(status));
    else if (WIFSIGNALED(status))
        str_addf(s, " by signal %d (%s)%s", WTERMSIG(status), sigdescr_np(WTERMSIG(status)),
                 WTERMSIG(status) == SIGSYS ? ", which is its sandbox's" : "");
}

/* The last lines of text, joined by " | ". */
static void add_last_lines(struct str *s, const char *text, size_t len)
{
    const char *start = text + len;
    size_t end = len;
    int lines = 0;

    while (end > 0 && text[end - 1] == '\n')
        end--;
    for (start = text + end; start > text && lines < LOG_LINES; start--)
        if (start[-1] == '\n' && ++lines == LOG_LINES)
            break;
    if (text + end - start > QUOTE_MAX)
        start = text + end - QUOTE_MAX;
    for (; start < text + end; start++)
        if (*start == '\n')
            str_add(s, " | ");
        else if (*start != '\r')
            text_add_escaped(s, start, 1);
}

static void add_log(struct qemu *self, struct runner_call *call, const struct runner_vm *vm, struct str *s)
{
    struct runner_batch *batch = self->host->batch_new(call);
    const struct runner_result *result;

    if (batch != NULL && add_tail(self, batch, vm, NULL) >= 0 && self->host->run(call, batch, NULL) == 0) {
        result = self->host->result(batch, 0);
        if (result->status == 0 && result->len > 0) {
            str_add(s, ": ");
            add_last_lines(s, result->out, result->len);
        } else {
            str_add(s, " and said nothing");
        }
    }
    self->host->batch_free(batch);
}

/* What QEMU says when it cannot start, as a code; anything else is IO. */
static int code_of_text(const char *text)
{
    static const struct {
        const char *part;
        int code;
    } codes[] = {
        {"Address already in use", RUNNER_E_BUSY},
        {"Could not set up host forwarding", RUNNER_E_BUSY},
        {"Device or resource busy", RUNNER_E_BUSY},
        {"Failed to get", RUNNER_E_BUSY},
        {"No space left", RUNNER_E_NOSPACE},
        {"Cannot allocate memory", RUNNER_E_NOMEM},
        {"cannot set up guest memory", RUNNER_E_NOMEM},
        {"No such file", RUNNER_E_NOTFOUND},
    };

    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        if (strstr(text, codes[i].part) != NULL)
            return codes[i].code;
    return RUNNER_E_IO;
}

/* err says that nobody answers: when that is because the process has ended, say how and quote it instead. */
static int explain_end(struct qemu *self, struct runner_call *call, const struct runner_vm *vm,
                       struct runner_error *err)
{
    auto_str struct str s = STR_INIT;
    int64_t wait_status = -1;

    if (err == NULL || (err->code != RUNNER_E_UNREACHABLE && err->code != RUNNER_E_NOTFOUND) ||
        !await_end(self, call, vm, &wait_status))
        return -1;
    str_add(&s, "QEMU ended");
    add_cause(&s, wait_status);
    add_log(self, call, vm, &s);
    return fail(err, code_of_text(str_text(&s)), 0, "%s", str_text(&s));
}

/* ---- operations ---- */

static int boot_over(struct qmp *qmp, struct runner_error *err)
{
    struct runner_vm_status status = {.size = sizeof status};

    if (query_state(qmp, &status, err) < 0)
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

    if (qmp_open(&qmp, qemu->host, call, vm->socket_path, BOOT_MS, err) < 0 || boot_over(&qmp, err) < 0)
        return explain_end(qemu, call, vm, err);
    return 0;
}

static int command(struct qemu *qemu, struct runner_call *call, const struct runner_vm *vm, const char *name,
                   struct runner_error *err)
{
    auto_qmp struct qmp qmp = QMP_INIT;

    if (qmp_open(&qmp, qemu->host, call, vm->socket_path, COMMAND_MS, err) < 0)
        return -1;
    return qmp_execute(&qmp, name, NULL, err);
}

int machine_power_button(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err)
{
    return command(self, call, vm, "system_powerdown", err);
}

int machine_pause(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err)
{
    return command(self, call, vm, "stop", err);
}

int machine_resume(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_error *err)
{
    return command(self, call, vm, "cont", err);
}

int machine_status(void *self, struct runner_call *call, const struct runner_vm *vm, struct runner_vm_status *ret,
                   struct runner_error *err)
{
    struct qemu *qemu = self;
    auto_qmp struct qmp qmp = QMP_INIT;
    struct runner_error cause = ERROR_INIT;

    if (qmp_open(&qmp, qemu->host, call, vm->socket_path, STATUS_MS, &cause) == 0 &&
        query_state(&qmp, ret, &cause) == 0)
        return 0;
    if (cause.code != RUNNER_E_UNREACHABLE && cause.code != RUNNER_E_NOTFOUND) {
        error_copy(err, &cause);
        return -1;
    }
    ret->state = RUNNER_VM_ABSENT;
    (void)snprintf(ret->text, sizeof ret->text, "absent");
    return 0;
}
