#include "core/ctl/ctl.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/ctl/interrupt.h"
#include "core/ctl/output.h"
#include "core/util/num.h"
#include "core/util/text.h"

#define DEFAULT_SOCKET "/run/runner-ch/api.sock"
#define TOKEN_MAX      4096
#define LOOK_MS        500
#define REASON_MAX     400 /* bytes of a body that is no JSON */

void ctl_common_init(struct ctl_common *common, struct ctl *ctl)
{
    *common = (struct ctl_common){{
        {0, "socket", "PATH", "the runner's unix socket [$RUNNER_SOCKET, else " DEFAULT_SOCKET "]", OPTION_TEXT,
         &ctl->socket, 0, 0},
        {0, "url", "URL", "the runner at http://HOST:PORT instead, with the token in $RUNNER_TOKEN", OPTION_TEXT,
         &ctl->url, 0, 0},
        {0, "token-file", "FILE", "the token for --url is in this file", OPTION_TEXT, &ctl->token_file, 0, 0},
        {0, "json", NULL, "print the runner's JSON", OPTION_FLAG, &ctl->is_json, 0, 0},
        {'h', "help", NULL, "print this", OPTION_FLAG, &ctl->is_help, 0, 0},
    }};
}

int ctl_fail(const struct ctl *ctl, int code, const char *format, ...)
{
    auto_str struct str raw = STR_INIT, line = STR_INIT;
    va_list args;

    va_start(args, format);
    str_addv(&raw, format, args);
    va_end(args);
    str_add(&line, "runnerctl: ");
    if (ctl->command != NULL)
        str_addf(&line, "%s: ", ctl->command->name);
    if (ctl->is_many && ctl->subject != NULL && code == CTL_FAILED)
        str_addf(&line, "%s: ", ctl->subject);
    if (ctl->progress != NULL)
        progress_end(ctl->progress);
    output_add_clean(&line, str_text(&raw), true);
    str_add_char(&line, '\n');
    (void)output_write(STDERR_FILENO, str_text(&line), line.len);
    return code;
}

int ctl_fail_err(const struct ctl *ctl, const struct runner_error *err)
{
    int code = CTL_FAILED;

    if (err->code == RUNNER_E_UNREACHABLE)
        code = CTL_UNREACHABLE;
    else if (err->code == RUNNER_E_INVALID)
        code = CTL_USAGE;
    else if (err->code == RUNNER_E_CANCELLED)
        code = CTL_SIGNAL + interrupt_signal();
    return ctl_fail(ctl, code, "%s", err->message);
}

static int usage(const struct ctl *ctl, const char *message)
{
    (void)ctl_fail(ctl, CTL_USAGE, "%s", message);
    (void)fprintf(stderr, "usage: runnerctl %s %s (see runnerctl %s --help)\n", ctl->command->name,
                  ctl->command->synopsis, ctl->command->name);
    return CTL_USAGE;
}

void ctl_add_help(const struct command *command, const struct options *options, struct str *out)
{
    str_addf(out, "usage: runnerctl %s %s\n\n%s.\n\n", command->name, command->synopsis, command->summary);
    options_add_help(options, out);
    if (command->more != NULL)
        str_addf(out, "\n%s", command->more);
}

static int read_token(const char *path, struct str *ret_token, struct runner_error *err)
{
    auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    char buffer[TOKEN_MAX];
    size_t len = 0;
    ssize_t n;

    if (fd < 0)
        return fail_errno(err, errno, "token file '%s'", path);
    while ((n = read(fd, buffer + len, sizeof buffer - len)) > 0)
        len += (size_t)n;
    if (n < 0)
        return fail_errno(err, errno, "token file '%s'", path);
    if (len == sizeof buffer)
        return fail(err, RUNNER_E_INVALID, 0, "token file '%s': larger than any token", path);
    while (len > 0 && strchr("\r\n", buffer[len - 1]) != NULL)
        len--;
    if (memchr(buffer, '\0', len) != NULL)
        return fail(err, RUNNER_E_INVALID, 0, "token file '%s': holds a NUL byte", path);
    str_add_mem(ret_token, buffer, len);
    explicit_bzero(buffer, sizeof buffer);
    return 0;
}

static int connect_client(const struct ctl *ctl, struct client **ret, struct runner_error *err)
{
    const char *socket = ctl->socket != NULL ? ctl->socket : getenv("RUNNER_SOCKET");
    const char *token = getenv("RUNNER_TOKEN");
    auto_str struct str file = STR_INIT;
    int status;

    if (ctl->socket != NULL && ctl->url != NULL)
        return fail(err, RUNNER_E_INVALID, 0, "--socket and --url exclude each other");
    if (ctl->token_file != NULL && ctl->url == NULL)
        return fail(err, RUNNER_E_INVALID, 0, "--token-file goes with --url");
    if (ctl->url == NULL)
        return client_new(socket != NULL && *socket != '\0' ? socket : DEFAULT_SOCKET, NULL, NULL, ret, err);
    if (ctl->token_file != NULL) {
        if (read_token(ctl->token_file, &file, err) < 0)
            return -1;
        token = str_text(&file);
    }
    status = client_new(NULL, ctl->url, token, ret, err);
    if (file.ptr != NULL)
        explicit_bzero(file.ptr, file.len);
    return status;
}

int ctl_begin(struct ctl *ctl, int argc, char **argv, const struct option_spec *own, size_t n_own, size_t min,
              size_t max, struct words *operands, struct words *rest)
{
    struct ctl_common common;
    struct options options = {.own = own, .n_own = n_own, .has_rest = rest != NULL, .rest_after = 1};
    struct runner_error err = ERROR_INIT;

    ctl_common_init(&common, ctl);
    options.common = common.specs;
    options.n_common = ARRAY_LEN(common.specs);
    if (options_parse(&options, argc, argv, operands, rest, &err) < 0)
        return usage(ctl, err.message);
    if (ctl->is_help) {
        auto_str struct str help = STR_INIT;
        ctl_add_help(ctl->command, &options, &help);
        return ctl_print(ctl, &help);
    }
    if (operands->n < min)
        return usage(ctl, "too few arguments");
    if (operands->n > max)
        return usage(ctl, "too many arguments");
    if (connect_client(ctl, &ctl->client, &err) < 0)
        return ctl_fail_err(ctl, &err);
    return CTL_GO_ON;
}

int ctl_check_id(const struct ctl *ctl, const char *id)
{
    if (text_is_id(id))
        return CTL_OK;
    return ctl_fail(ctl, CTL_USAGE, "'%.80s' is not a sandbox id (a-z, 0-9 and '-', at most 63)", id);
}

int ctl_check_ids(const struct ctl *ctl, const struct words *ids)
{
    for (size_t i = 0; i < ids->n; i++)
        if (ctl_check_id(ctl, ids->ptr[i]) != CTL_OK)
            return CTL_USAGE;
    return CTL_OK;
}

int ctl_each(struct ctl *ctl, const struct words *subjects,
             int (*one)(struct ctl *, const char *subject, const void *arg), const void *arg)
{
    int worst = CTL_OK;

    ctl->is_many = subjects->n > 1;
    for (size_t i = 0; i < subjects->n && (worst == CTL_OK || worst == CTL_FAILED); i++) {
        int code;
        ctl->subject = subjects->ptr[i];
        code = one(ctl, subjects->ptr[i], arg);
        worst = code > worst ? code : worst;
    }
    ctl->subject = NULL;
    return worst;
}

/* A recoverable error's message is JSON itself (contract 1.2). */
static void add_message(struct str *out, const char *message)
{
    auto_json struct json *tree = NULL;

    if (message[0] == '{' && json_parse(message, strlen(message), &tree, NULL) == 0)
        message = json_text(tree, "errorReason", message);
    str_add(out, message);
}

void ctl_add_reason(struct str *out, long status, const struct str *body)
{
    auto_json struct json *tree = NULL;
    const char *message = NULL;
    size_t line;

    if (json_parse(str_text(body), body->len, &tree, NULL) == 0)
        message = json_text(tree, "message", json_text(tree, "error", NULL));
    if (message != NULL && *message != '\0') {
        add_message(out, message);
        return;
    }
    str_addf(out, "HTTP status %ld", status);
    line = strcspn(str_text(body), "\r\n");
    if (line > 0 && tree == NULL)
        str_addf(out, ": %.*s", line > REASON_MAX ? REASON_MAX : (int)line, str_text(body));
    else if (body->len == 0 && (status == 502 || status == 504)) /* the proxy's, which has no words */
        str_addf(out, ": what was asked for in the sandbox %s; 'runnerctl info' and 'runnerctl log' may tell why",
                 status == 502 ? "cannot be reached" : "did not answer in time");
}

int ctl_run(struct ctl *ctl, const struct client_request *request, struct client_reply *ret)
{
    struct runner_error err = ERROR_INIT;
    auto_str struct str reason = STR_INIT;

    if (client_run(ctl->client, request, ret, &err) < 0)
        return ctl_fail_err(ctl, &err);
    if (ret->status >= 200 && ret->status < 300)
        return CTL_OK;
    ctl_add_reason(&reason, ret->status, &ret->body);
    return ctl_fail(ctl, CTL_FAILED, "%s", str_text(&reason));
}

bool ctl_peek(struct ctl *ctl, const char *path, struct json **ret_tree)
{
    const struct client_request request = {.method = "GET", .path = path};
    auto_reply struct client_reply reply = {0};
    struct runner_error ignored = ERROR_INIT;

    return (ctl->other != NULL || connect_client(ctl, &ctl->other, &ignored) == 0) &&
           client_run(ctl->other, &request, &reply, &ignored) == 0 && reply.status == 200 &&
           json_parse(str_text(&reply.body), reply.body.len, ret_tree, &ignored) == 0;
}

/* Of a JSON reply only the time matters, not its bytes. */
static void on_tick(void *ctx, int64_t done_bytes, int64_t total_bytes)
{
    struct ctl *ctl = ctx;
    int64_t now_ms = num_now_ms();

    (void)done_bytes;
    (void)total_bytes;
    if (ctl->look != NULL && ctl->progress->is_on && now_ms - ctl->look_ms >= LOOK_MS) {
        ctl->look_ms = now_ms;
        ctl->look(ctl);
    }
    progress_tick(ctl->progress, ctl->progress->done_bytes, ctl->progress->total_bytes);
}

int ctl_request(struct ctl *ctl, const char *method, const char *path, const char *json, struct client_reply *ret,
                struct json **ret_tree)
{
    struct progress progress;
    auto_free char *title = mem_printf("%s %s", ctl->command->name, ctl->subject != NULL ? ctl->subject : "");
    const struct client_request request = {
        .method = method, .path = path, .json = json, .tick = on_tick, .ctx = ctl};
    struct runner_error err = ERROR_INIT;
    int code;

    progress_start(&progress, title);
    ctl->progress = &progress;
    ctl->look_ms = progress.start_ms;
    code = ctl_run(ctl, &request, ret);
    progress_end(&progress);
    ctl->progress = NULL;
    if (code != CTL_OK)
        return code;
    if (json_parse(str_text(&ret->body), ret->body.len, ret_tree, &err) < 0)
        return ctl_fail(ctl, CTL_FAILED, "the runner's reply makes no sense: %s", err.message);
    return CTL_OK;
}

int ctl_print(struct ctl *ctl, const struct str *text)
{
    if (output_write(STDOUT_FILENO, str_text(text), text->len) < 0)
        return ctl_fail(ctl, interrupt_signal() != 0 ? CTL_SIGNAL + interrupt_signal() : CTL_FAILED,
                        "standard output: %s", strerror(errno));
    return CTL_OK;
}

int ctl_print_json(struct ctl *ctl, const struct client_reply *reply)
{
    auto_str struct str line = STR_INIT;

    str_add_mem(&line, str_text(&reply->body), reply->body.len);
    if (line.len == 0 || line.ptr[line.len - 1] != '\n')
        str_add_char(&line, '\n');
    return ctl_print(ctl, &line);
}
