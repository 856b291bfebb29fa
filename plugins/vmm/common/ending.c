#include "plugins/vmm/common/ending.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/text.h"
#include "plugins/vmm/common/steps.h"

#define END_MS      2000 /* from the end of a conversation to the end of the process */
#define END_POLL_MS 10
#define LOG_TAIL    4096 /* bytes */
#define LOG_LINES   4
#define QUOTE_MAX   700 /* bytes of an error message */

/* 1: it has ended, and *ret_wait is its wait status or -1. 0: it lives. -1: not known. */
static int has_ended(const struct runner_host *host, struct runner_call *call, const struct runner_vm *vm,
                     int64_t *ret_wait)
{
    struct runner_batch *batch = host->batch_new(call);
    const struct runner_result *result;
    int ended = -1;

    if (batch != NULL && steps_add_path(host, batch, RUNNER_ALIVE, 0, 0, vm->pid_path, NULL) >= 0 &&
        host->run(call, batch, NULL) == 0) {
        result = host->result(batch, 0);
        ended = result->status == 1;
        *ret_wait = result->number2;
    }
    host->batch_free(batch);
    return ended;
}

/* The socket closes shortly before the process is gone, so its end is asked for until it is there. */
static bool await_end(const struct runner_host *host, struct runner_call *call, const struct runner_vm *vm,
                      int64_t *ret_wait)
{
    int64_t deadline_ms = num_now_ms() + END_MS;
    int ended;

    while ((ended = has_ended(host, call, vm, ret_wait)) == 0 && num_now_ms() < deadline_ms)
        if (host->wait(call, -1, 0, END_POLL_MS) < 0)
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

static void add_log(const struct runner_host *host, struct runner_call *call, const struct runner_vm *vm, struct str *s)
{
    struct runner_batch *batch = host->batch_new(call);
    const struct runner_result *result;

    if (batch != NULL &&
        steps_add_path(host, batch, RUNNER_READ, RUNNER_S_OPTIONAL | RUNNER_S_TAIL, LOG_TAIL, vm->log_path, NULL) >=
            0 &&
        host->run(call, batch, NULL) == 0) {
        result = host->result(batch, 0);
        if (result->status == 0 && result->len > 0) {
            str_add(s, ": ");
            add_last_lines(s, result->out, result->len);
        } else {
            str_add(s, " and said nothing");
        }
    }
    host->batch_free(batch);
}

int ending_code(const char *text)
{
    static const struct {
        const char *part;
        int code;
    } codes[] = {
        {"Address already in use", RUNNER_E_BUSY},
        {"Could not set up host forwarding", RUNNER_E_BUSY},
        {"Device or resource busy", RUNNER_E_BUSY},
        {"Failed to get", RUNNER_E_BUSY}, /* a lock of an image; both VMMs say it so */
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

int ending_explain(const struct runner_host *host, struct runner_call *call, const struct runner_vm *vm,
                   const char *program, struct runner_error *err)
{
    auto_str struct str s = STR_INIT;
    int64_t wait_status = -1;

    if (err == NULL || (err->code != RUNNER_E_UNREACHABLE && err->code != RUNNER_E_NOTFOUND) ||
        !await_end(host, call, vm, &wait_status))
        return -1;
    str_addf(&s, "%s ended", program);
    add_cause(&s, wait_status);
    add_log(host, call, vm, &s);
    return fail(err, ending_code(str_text(&s)), 0, "%s", str_text(&s));
}
