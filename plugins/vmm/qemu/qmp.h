/*
 * QMP, the monitor protocol of QEMU, as a client: one JSON object a line. QEMU serves one client at a time and holds the
 * next without a greeting, so a conversation is short: open, a few commands, close. Events may come anywhere and are
 * passed over: what matters is asked for.
 */
#ifndef QEMU_QMP_H
#define QEMU_QMP_H

#include "core/util/json.h"
#include "include/runner-plugin.h"

#define QMP_LINE_MAX (8u << 20) /* bytes; a longer reply ends the conversation */

enum qmp_kind { QMP_GREETING, QMP_RETURN, QMP_ERROR, QMP_EVENT };

struct qmp_message {
    struct json *tree; /* owns the rest */
    enum qmp_kind kind;
    const struct json *value; /* RETURN: what it returned; EVENT: its data or NULL */
    const char *name;         /* EVENT: its name; ERROR: its class */
    const char *text;         /* ERROR: its description */
    int64_t id;               /* RETURN, ERROR: of the command answered; -1 without (unparsable input) */
};

/* One line, without its end, into a message that qmp_message_done() frees. INVALID when it is none. */
int qmp_parse(const char *line, size_t len, struct qmp_message *ret, struct runner_error *err);
void qmp_message_done(struct qmp_message *message); /* takes one that is all zero */

struct qmp {
    const struct runner_host *host;
    struct runner_call *call;
    int fd;              /* -1: closed */
    int64_t deadline_ms; /* of the whole conversation, by num_now_ms() */
    int64_t last_id;
    struct str in;         /* bytes received */
    size_t start, scanned; /* where the next line begins, and up to where no line end was found */
};
#define QMP_INIT                                                                                                       \
    {                                                                                                                  \
        .fd = -1                                                                                                       \
    }

/*
 * Connects to the socket at path, reads the greeting and negotiates, and asks a question with it, as qmp_execute() does;
 * NULL: none. QEMU may still carry it out after it was given up, so it is a command without effects. timeout_ms is for the
 * whole conversation, the operation's deadline counts too. Blocks. UNREACHABLE or NOTFOUND: nobody listens, UNREACHABLE:
 * QEMU hung up, TIMEOUT: no answer in time, INVALID: the peer speaks no QMP.
 */
int qmp_open(struct qmp *qmp, const struct runner_host *host, struct runner_call *call, const char *path,
             int64_t timeout_ms, const char *question, struct json **ret_value, struct runner_error *err);

/* Runs one command without arguments. ret_value: what it returned, the caller's to free; NULL: not wanted. Errors as
 * above, and IO when QEMU refuses, with its words. Blocks. */
int qmp_execute(struct qmp *qmp, const char *command, struct json **ret_value, struct runner_error *err);

void qmp_close(struct qmp *qmp); /* idempotent */
#define auto_qmp CLEANUP(qmp_close)

#endif
