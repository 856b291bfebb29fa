/* runnerctl exec */
#include "core/ctl/create.h"
#include "core/ctl/ctl.h"
#include "core/ctl/quote.h"

struct exec_options {
    const char *cwd;
    struct words env;
    int64_t timeout_ms;
};

static int build_body(const struct exec_options *o, const struct words *command, struct str *out,
                      struct runner_error *err)
{
    auto_str struct str line = STR_INIT;

    quote_shell(&line, command->ptr, command->n);
    json_open(out, NULL, '{');
    json_add_text(out, "command", str_text(&line));
    if (o->cwd != NULL)
        json_add_text(out, "cwd", o->cwd);
    if (o->env.n > 0 && create_add_env(out, "envs", &o->env, err) < 0)
        return -1;
    json_add_int(out, "timeout", (o->timeout_ms + 999) / 1000); /* whole seconds, never less than asked for */
    json_close(out, '}');
    return 0;
}

/* What the request failed with becomes 125, so that it is not taken for the command's own code. */
static int exec_code(int code)
{
    return code == CTL_FAILED || code == CTL_UNREACHABLE ? CTL_EXEC_FAILED : code;
}

static int execute(struct ctl *ctl, const struct exec_options *o, const char *id, const struct words *command)
{
    auto_str struct str body = STR_INIT, path = STR_INIT, out = STR_INIT;
    auto_reply struct client_reply reply = {0};
    auto_json struct json *tree = NULL;
    struct runner_error err = ERROR_INIT;
    const char *result;
    int64_t exit_code;
    int code;

    if (build_body(o, command, &body, &err) < 0)
        return ctl_fail_err(ctl, &err);
    str_add(&path, "/sandboxes/");
    quote_url(&path, id);
    str_add(&path, "/toolbox/process/execute");
    code = ctl_request(ctl, "POST", str_text(&path), str_text(&body), &reply, &tree);
    if (code != CTL_OK)
        return exec_code(code);
    exit_code = json_int(tree, "exitCode", -1);
    result = json_text(tree, "result", NULL);
    if (exit_code < 0 || exit_code > 255 || result == NULL)
        return ctl_fail(ctl, CTL_EXEC_FAILED,
                        "the guest's reply makes no sense: no \"result\" or \"exitCode\" from 0 to 255");
    str_add(&out, result);
    code = ctl->is_json ? ctl_print_json(ctl, &reply) : ctl_print(ctl, &out);
    return code == CTL_OK ? (int)exit_code : exec_code(code);
}

int exec_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words operands = {NULL, 0}, command = {NULL, 0};
    struct exec_options o = {.timeout_ms = 24 * 3600 * 1000LL};
    const struct option_spec own[] = {
        {'C', "cwd", "DIR", "the folder it runs in [the user's home]", OPTION_TEXT, &o.cwd, 0, 0},
        {'e', "env", "NAME=VALUE", "a variable of its environment; may be repeated", OPTION_WORDS, &o.env, 0, 0},
        {'t', "timeout", "TIME", "give up after this time, like 30s or 5m [24h]", OPTION_MSEC, &o.timeout_ms, 0, 0},
    };
    int code = ctl_begin(ctl, argc, argv, own, ARRAY_LEN(own), 1, 1, &operands, &command);

    if (code == CTL_GO_ON) {
        ctl->subject = operands.ptr[0];
        if (command.n == 0)
            code = ctl_fail(ctl, CTL_USAGE, "a command is needed: exec ID -- COMMAND");
        else if (ctl_check_id(ctl, operands.ptr[0]) != CTL_OK)
            code = CTL_USAGE;
        else
            code = execute(ctl, &o, operands.ptr[0], &command);
    }
    words_done(&o.env);
    return code;
}
