/* /process/session: the toolbox API of session.c. */
#include <stdio.h>
#include <string.h>

#include "guest/daemon/follow.h"
#include "guest/daemon/routes.h"
#include "guest/daemon/session.h"

/* Clients before this version take the output with marks in one text, later ones the separated streams. */
#define SDK_SEPARATED_MINOR 167

/* ---- what a request names ---- */

static struct session *need_session(struct exchange *x, const char *id)
{
    struct session *s = session_find(id);

    if (s == NULL)
        reply_error(x, 404, "NOT_FOUND", "not found: session '%s'", id);
    return s;
}

static struct command *need_command(struct exchange *x)
{
    struct session *s = need_session(x, x->args[0]);
    struct command *c = s == NULL ? NULL : session_find_command(s, x->args[1]);

    if (s != NULL && c == NULL)
        reply_error(x, 404, "NOT_FOUND", "not found: command '%s' of session '%s'", x->args[1], x->args[0]);
    return c;
}

enum client { CLIENT_PLAIN, CLIENT_MARKS, CLIENT_SEPARATED };

/* The SDK says its version in a header (a WebSocket's in its subprotocol, see follow.c). */
static enum client client_of(const struct exchange *x)
{
    const char *version = head_get(&x->head, "X-Daytona-SDK-Version");
    const char *accept = head_get(&x->head, "Accept");
    unsigned major, minor;

    if (version != NULL && sscanf(version, "%3u.%5u", &major, &minor) == 2)
        return major > 0 || minor >= SDK_SEPARATED_MINOR ? CLIENT_SEPARATED : CLIENT_MARKS;
    return accept != NULL && strcmp(accept, "application/json") == 0 ? CLIENT_SEPARATED : CLIENT_PLAIN;
}

/* ---- JSON ---- */

static void add_command(struct str *json, const char *key, const struct command *c)
{
    json_open(json, key, '{');
    json_add_text(json, "id", c->id);
    json_add_text(json, "command", c->text);
    if (c->state == COMMAND_ENDED)
        json_add_int(json, "exitCode", c->exit_code);
    json_close(json, '}');
}

static void add_session(struct str *json, const struct session *s)
{
    json_open(json, NULL, '{');
    json_add_text(json, "sessionId", s->id);
    json_open(json, "commands", '[');
    for (const struct command *c = s->commands; c != NULL; c = c->next)
        add_command(json, NULL, c);
    json_close(json, ']');
    json_close(json, '}');
}

static void add_logs(struct str *json, const struct command *c, enum client client)
{
    static const char *const keys[] = {"output", "stdout", "stderr"};

    for (int stream = 0; stream < 3; stream++) {
        auto_str struct str text = STR_INIT;
        log_read(c->log, stream, stream == 0 && client == CLIENT_MARKS, &text);
        routes_add_output(json, keys[stream], text.ptr, text.len);
    }
}

/* ---- sessions ---- */

void session_list(struct exchange *x)
{
    auto_str struct str json = STR_INIT;

    json_open(&json, NULL, '[');
    for (const struct session *s = session_first(); s != NULL; s = s->next)
        add_session(&json, s);
    json_close(&json, ']');
    reply_json(x, 200, &json);
}

void session_create(struct exchange *x)
{
    auto_json struct json *body = exchange_json(x);
    struct runner_error err = ERROR_INIT;

    if (body == NULL)
        return;
    if (session_add(json_text(body, "sessionId", ""), &err) < 0)
        reply_fail(x, &err);
    else
        reply_empty(x, 201);
}

static void reply_session(struct exchange *x, const struct session *s)
{
    auto_str struct str json = STR_INIT;

    add_session(&json, s);
    reply_json(x, 200, &json);
}

void session_get(struct exchange *x)
{
    const struct session *s = need_session(x, x->args[0]);

    if (s != NULL)
        reply_session(x, s);
}

void session_entrypoint(struct exchange *x)
{
    const struct session *s = need_session(x, SESSION_ENTRYPOINT);

    if (s != NULL)
        reply_session(x, s);
}

void session_delete(struct exchange *x)
{
    struct session *s = need_session(x, x->args[0]);

    if (s == NULL)
        return;
    session_remove(s);
    reply_empty(x, 204);
}

/* ---- commands ---- */

static void reply_ended(struct command *c, void *arg)
{
    struct exchange *x = arg;
    auto_str struct str json = STR_INIT;

    x->state = NULL;
    json_open(&json, NULL, '{');
    json_add_text(&json, "cmdId", c->id);
    json_add_int(&json, "exitCode", c->exit_code);
    add_logs(&json, c, client_of(x));
    json_close(&json, '}');
    reply_json(x, 200, &json);
}

/* The client left: the command goes on, as in any shell that is left alone. */
static void stop_waiting(struct exchange *x)
{
    struct command *c = x->state;

    if (c != NULL)
        c->on_end = NULL;
}

static void reply_accepted(struct exchange *x, const struct command *c)
{
    auto_str struct str json = STR_INIT;

    json_open(&json, NULL, '{');
    json_add_text(&json, "cmdId", c->id);
    json_close(&json, '}');
    reply_json(x, 202, &json);
}

void session_exec(struct exchange *x)
{
    struct session *s = need_session(x, x->args[0]);
    auto_json struct json *body = s == NULL ? NULL : exchange_json(x);
    const char *text = json_text(body, "command", "");
    struct runner_error err = ERROR_INIT;
    struct command *c;

    if (body == NULL)
        return;
    if (*text == '\0') {
        reply_error(x, 400, "INVALID_REQUEST_BODY",
                    "invalid body request: command is required: a text that is not empty");
    } else if (session_run(s, NULL, text, json_bool(body, "suppressInputEcho", false), &c, &err) < 0) {
        reply_fail(x, &err);
    } else if (json_bool(body, "runAsync", false) || json_bool(body, "async", false)) {
        reply_accepted(x, c);
    } else if (c->state == COMMAND_ENDED) {
        reply_ended(c, x);
    } else {
        c->on_end = reply_ended;
        c->arg = x;
        x->state = c;
        x->on_done = stop_waiting;
    }
}

void session_command(struct exchange *x)
{
    const struct command *c = need_command(x);
    auto_str struct str json = STR_INIT;

    if (c == NULL)
        return;
    add_command(&json, NULL, c);
    reply_json(x, 200, &json);
}

void session_input(struct exchange *x)
{
    struct command *c = need_command(x);
    auto_json struct json *body = c == NULL ? NULL : exchange_json(x);
    const char *data = json_text(body, "data", NULL);
    struct runner_error err = ERROR_INIT;

    if (body == NULL)
        return;
    if (data == NULL)
        reply_error(x, 400, "INVALID_REQUEST_BODY", "invalid body request: data is required: a text");
    else if (c->state == COMMAND_ENDED)
        reply_error(x, 410, "GONE", "gone: command '%s' has ended", c->id);
    else if (command_input(c, data, strlen(data), &err) < 0)
        reply_fail(x, &err);
    else
        reply_empty(x, 204);
}

/* ---- logs ---- */

static void reply_logs(struct exchange *x, struct command *c)
{
    enum client client = client_of(x);
    auto_free char *follow = head_query(&x->head, "follow");
    auto_str struct str text = STR_INIT;

    if (follow != NULL && strcmp(follow, "true") == 0) {
        follow_log(x, c->log, client == CLIENT_MARKS);
        return;
    }
    if (client == CLIENT_SEPARATED) {
        json_open(&text, NULL, '{');
        add_logs(&text, c, client);
        json_close(&text, '}');
        reply_json(x, 200, &text);
        return;
    }
    log_read(c->log, 0, client == CLIENT_MARKS, &text);
    reply_open(x, 200, "text/plain; charset=utf-8", (int64_t)text.len, NULL);
    reply_data(x, text.ptr, text.len);
    reply_close(x);
}

void session_logs(struct exchange *x)
{
    struct command *c = need_command(x);

    if (c != NULL)
        reply_logs(x, c);
}

void session_entrypoint_logs(struct exchange *x)
{
    struct session *s = need_session(x, SESSION_ENTRYPOINT);

    if (s != NULL && s->commands != NULL)
        reply_logs(x, s->commands);
}
