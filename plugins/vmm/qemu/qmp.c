#include "plugins/vmm/qemu/qmp.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "core/util/num.h"

#define READ_CHUNK 16384

/* ---- messages ---- */

static const struct json *member(const struct json *tree, const char *key, enum json_type type)
{
    const struct json *m = json_get(tree, key);

    return m != NULL && m->type == type ? m : NULL;
}

static int classify(struct qmp_message *message, struct runner_error *err)
{
    const struct json *tree = message->tree, *m;

    message->id = json_int(tree, "id", -1);
    if (member(tree, "QMP", JSON_OBJECT) != NULL) {
        message->kind = QMP_GREETING;
        return 0;
    }
    if ((m = json_get(tree, "return")) != NULL) {
        message->kind = QMP_RETURN;
        message->value = m;
        return 0;
    }
    if ((m = member(tree, "error", JSON_OBJECT)) != NULL) {
        message->kind = QMP_ERROR;
        message->name = json_text(m, "class", "GenericError");
        message->text = json_text(m, "desc", "no description");
        return 0;
    }
    if ((m = member(tree, "event", JSON_STRING)) != NULL) {
        message->kind = QMP_EVENT;
        message->name = m->text;
        message->value = json_get(tree, "data");
        return 0;
    }
    return fail(err, RUNNER_E_INVALID, 0, "QMP: neither greeting, reply nor event");
}

int qmp_parse(const char *line, size_t len, struct qmp_message *ret, struct runner_error *err)
{
    struct qmp_message message = {0};

    if (json_parse(line, len, &message.tree, err) < 0)
        return error_wrap(err, "QMP");
    if (message.tree->type != JSON_OBJECT) {
        fail(err, RUNNER_E_INVALID, 0, "QMP: %s where an object is due", json_type_name(message.tree->type));
        qmp_message_done(&message);
        return -1;
    }
    if (classify(&message, err) < 0) {
        qmp_message_done(&message);
        return -1;
    }
    *ret = message;
    return 0;
}

void qmp_message_done(struct qmp_message *message)
{
    json_free(message->tree);
    *message = (struct qmp_message){0};
}

/* ---- bytes ---- */

static int64_t conversation_left_ms(const struct qmp *qmp)
{
    int64_t left = qmp->deadline_ms - num_now_ms();

    return left > 0 ? left : 0;
}

/* Until fd is ready for events, the conversation's time is over, or the operation's. */
static int await(struct qmp *qmp, short events, struct runner_error *err)
{
    int seen = qmp->host->wait(qmp->call, qmp->fd, events, conversation_left_ms(qmp));

    if (seen < 0)
        return fail(err, qmp->host->cancelled(qmp->call) == RUNNER_E_CANCELLED ? RUNNER_E_CANCELLED : RUNNER_E_TIMEOUT,
                    0, "QMP: %s while waiting for QEMU", errno == ECANCELED ? "cancelled" : "deadline passed");
    if (seen == 0)
        return fail(err, RUNNER_E_TIMEOUT, 0, "QMP: no answer in time");
    return 0;
}

static int hung_up(struct runner_error *err)
{
    return fail(err, RUNNER_E_UNREACHABLE, 0, "QMP: QEMU closed the connection");
}

static int send_all(struct qmp *qmp, const char *data, size_t len, struct runner_error *err)
{
    while (len > 0) {
        ssize_t n = send(qmp->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n >= 0) {
            data += n;
            len -= (size_t)n;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return hung_up(err);
        } else if (errno == EAGAIN) {
            if (await(qmp, POLLOUT, err) < 0)
                return -1;
        } else if (errno != EINTR) {
            return fail(err, RUNNER_E_IO, errno, "QMP: write");
        }
    }
    return 0;
}

static void drop_read_lines(struct qmp *qmp)
{
    size_t rest = qmp->in.len - qmp->start;

    if (qmp->start == 0)
        return;
    memmove(qmp->in.ptr, qmp->in.ptr + qmp->start, rest);
    qmp->scanned -= qmp->start;
    qmp->in.len = rest;
    qmp->start = 0;
}

static int receive(struct qmp *qmp, struct runner_error *err)
{
    drop_read_lines(qmp);
    if (qmp->in.len >= QMP_LINE_MAX)
        return fail(err, RUNNER_E_INVALID, 0, "QMP: a line longer than %u bytes", QMP_LINE_MAX);
    if (conversation_left_ms(qmp) == 0) /* it may be talking all the time */
        return fail(err, RUNNER_E_TIMEOUT, 0, "QMP: no answer in time");
    str_reserve(&qmp->in, READ_CHUNK);
    for (;;) {
        ssize_t n;

        if (await(qmp, POLLIN, err) < 0) /* it is hardly ever there already */
            return -1;
        n = recv(qmp->fd, qmp->in.ptr + qmp->in.len, READ_CHUNK, MSG_DONTWAIT);
        if (n > 0) {
            qmp->in.len += (size_t)n;
            qmp->in.ptr[qmp->in.len] = '\0';
            return 0;
        }
        if (n == 0 || errno == ECONNRESET)
            return hung_up(err);
        if (errno != EAGAIN && errno != EINTR)
            return fail(err, RUNNER_E_IO, errno, "QMP: read");
    }
}

/* The next line; *ret_line points into the buffer and is valid until the next call. */
static int read_line(struct qmp *qmp, const char **ret_line, size_t *ret_len, struct runner_error *err)
{
    for (;;) {
        const char *end = NULL;

        if (qmp->scanned < qmp->in.len)
            end = memchr(qmp->in.ptr + qmp->scanned, '\n', qmp->in.len - qmp->scanned);
        if (end != NULL) {
            *ret_line = qmp->in.ptr + qmp->start;
            *ret_len = (size_t)(end - *ret_line);
            qmp->start = qmp->scanned = (size_t)(end + 1 - qmp->in.ptr);
            return 0;
        }
        qmp->scanned = qmp->in.len;
        if (receive(qmp, err) < 0)
            return -1;
    }
}

static int read_message(struct qmp *qmp, struct qmp_message *ret, struct runner_error *err)
{
    const char *line;
    size_t len;

    if (read_line(qmp, &line, &len, err) < 0)
        return -1;
    return qmp_parse(line, len, ret, err);
}

/* ---- conversation ---- */

/* The commands' names are ours, and need no quoting. */
static void add_command(struct qmp *qmp, const char *command, struct str *out)
{
    str_addf(out, "{\"execute\":\"%s\",\"id\":%" PRId64 "}\n", command, ++qmp->last_id);
}

static int read_greeting(struct qmp *qmp, struct runner_error *err)
{
    CLEANUP(qmp_message_done) struct qmp_message message = {0};

    if (read_message(qmp, &message, err) < 0)
        return -1;
    if (message.kind != QMP_GREETING)
        return fail(err, RUNNER_E_INVALID, 0, "QMP: no greeting");
    return 0;
}

/* Passes over events; a reply to another id cannot be, since commands are answered in their order. */
static int read_reply(struct qmp *qmp, const char *command, int64_t id, struct json **ret_value,
                      struct runner_error *err)
{
    for (;;) {
        CLEANUP(qmp_message_done) struct qmp_message message = {0};

        if (read_message(qmp, &message, err) < 0)
            return -1;
        if (message.kind == QMP_EVENT)
            continue;
        if (message.kind == QMP_ERROR)
            return fail(err, RUNNER_E_IO, 0, "QEMU refuses %s: %s", command, message.text);
        if (message.kind != QMP_RETURN || message.id != id)
            return fail(err, RUNNER_E_INVALID, 0, "QMP: an answer to another command than %s", command);
        if (ret_value != NULL)
            *ret_value = json_take(message.tree, "return"); /* the rest is freed with the message */
        return 0;
    }
}

/* What QEMU is to do after its greeting is said before, so that it does all at once. */
static int open_over(struct qmp *qmp, const char *question, struct json **ret_value, struct runner_error *err)
{
    static const char negotiation[] = "qmp_capabilities";
    auto_str struct str out = STR_INIT;

    add_command(qmp, negotiation, &out);
    if (question != NULL)
        add_command(qmp, question, &out);
    if (send_all(qmp, out.ptr, out.len, err) < 0 || read_greeting(qmp, err) < 0 ||
        read_reply(qmp, negotiation, 1, NULL, err) < 0)
        return -1;
    return question != NULL ? read_reply(qmp, question, 2, ret_value, err) : 0;
}

int qmp_open(struct qmp *qmp, const struct runner_host *host, struct runner_call *call, const char *path,
             int64_t timeout_ms, const char *question, struct json **ret_value, struct runner_error *err)
{
    auto_free char *address = mem_printf("unix:%s", path);

    *qmp = (struct qmp){.host = host, .call = call, .fd = -1, .deadline_ms = num_now_ms() + timeout_ms};
    if (host->dial(call, address, &qmp->fd, err) < 0) {
        qmp->fd = -1;
        return -1;
    }
    if (open_over(qmp, question, ret_value, err) < 0) {
        qmp_close(qmp);
        return -1;
    }
    return 0;
}

int qmp_execute(struct qmp *qmp, const char *command, struct json **ret_value, struct runner_error *err)
{
    auto_str struct str out = STR_INIT;

    add_command(qmp, command, &out);
    return send_all(qmp, out.ptr, out.len, err) < 0 ? -1 : read_reply(qmp, command, qmp->last_id, ret_value, err);
}

void qmp_close(struct qmp *qmp)
{
    cleanup_close(&qmp->fd);
    qmp->fd = -1;
    str_done(&qmp->in);
    qmp->start = qmp->scanned = 0;
}
