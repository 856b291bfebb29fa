/* runnerctl log */
#include "core/ctl/ctl.h"
#include "core/ctl/follow.h"
#include "core/ctl/interrupt.h"
#include "core/ctl/quote.h"

#define FOLLOW_MS 1000

static int fetch(struct ctl *ctl, const char *id, int64_t tail_bytes, struct client_reply *ret)
{
    auto_str struct str path = STR_INIT;
    struct client_request request = {.method = "GET"};

    str_add(&path, "/sandboxes/");
    quote_url(&path, id);
    str_add(&path, "/log");
    if (tail_bytes > 0)
        str_addf(&path, "?tail=%lld", (long long)tail_bytes);
    request.path = str_text(&path);
    return ctl_run(ctl, &request, ret);
}

static int print_from(struct ctl *ctl, const struct str *body, size_t at)
{
    struct str part = {.ptr = body->ptr + at, .len = body->len - at};

    return part.len > 0 ? ctl_print(ctl, &part) : CTL_OK;
}

static int follow_once(struct ctl *ctl, const char *id, struct follow *f)
{
    auto_reply struct client_reply reply = {0};
    int code = fetch(ctl, id, FOLLOW_WINDOW, &reply);
    bool is_whole = reply.body.len < FOLLOW_WINDOW;

    if (code != CTL_OK)
        return code;
    return print_from(ctl, &reply.body, follow_new(f, str_text(&reply.body), reply.body.len, is_whole));
}

static int show(struct ctl *ctl, const char *id, int64_t tail_bytes, bool is_follow)
{
    int64_t ask = is_follow && tail_bytes > 0 && tail_bytes < FOLLOW_WINDOW ? FOLLOW_WINDOW : tail_bytes;
    struct follow f = {.all_bytes = 0};
    auto_reply struct client_reply reply = {0};
    int code = fetch(ctl, id, ask, &reply);
    size_t skip;

    if (code != CTL_OK)
        return code;
    skip = tail_bytes > 0 && reply.body.len > (size_t)tail_bytes ? reply.body.len - (size_t)tail_bytes : 0;
    code = print_from(ctl, &reply.body, skip);
    (void)follow_new(&f, str_text(&reply.body), reply.body.len, ask == 0 || reply.body.len < (size_t)ask);
    while (code == CTL_OK && is_follow) {
        if (!interrupt_wait(FOLLOW_MS))
            code = CTL_SIGNAL + interrupt_signal();
        else
            code = follow_once(ctl, id, &f);
    }
    follow_done(&f);
    return code;
}

int log_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words ids = {NULL, 0};
    bool is_follow = false;
    int64_t tail_bytes = 0;
    const struct option_spec own[] = {
        {'f', "follow", NULL, "go on with what it writes, until interrupted", OPTION_FLAG, &is_follow, 0, 0},
        {'n', "tail", "BYTES", "the last so many bytes, like 4096 or 64K [all]", OPTION_BYTES, &tail_bytes, 0, 0}};
    int code = ctl_begin(ctl, argc, argv, own, ARRAY_LEN(own), 1, 1, &ids, NULL);

    if (code != CTL_GO_ON)
        return code;
    if (ctl_check_id(ctl, ids.ptr[0]) != CTL_OK)
        return CTL_USAGE;
    return show(ctl, ids.ptr[0], tail_bytes, is_follow);
}
