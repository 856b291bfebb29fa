/* runnerctl log */
#include "core/ctl/ctl.h"
#include "core/ctl/follow.h"
#include "core/ctl/interrupt.h"
#include "core/ctl/output.h"
#include "core/ctl/quote.h"

#define FOLLOW_MS  1000
#define TAIL_MAX   (64 << 20) /* bytes; what a runner gives at most */
#define FOLLOW_MAX (8 << 20)  /* bytes that following begins with */

static int fetch(struct ctl *ctl, const char *id, int64_t tail_bytes, const struct client_request *how,
                 struct client_reply *ret)
{
    auto_str struct str path = STR_INIT;
    struct client_request request = *how;

    str_add(&path, "/sandboxes/");
    quote_url(&path, id);
    str_addf(&path, "/log?tail=%lld", (long long)tail_bytes);
    request.method = "GET";
    request.path = str_text(&path);
    return ctl_run(ctl, &request, ret);
}

static int on_data(void *ctx, const char *data, size_t len, struct runner_error *err)
{
    (void)ctx;
    if (output_write(STDOUT_FILENO, data, len) < 0)
        return fail(err, RUNNER_E_IO, errno, "standard output");
    return 0;
}

static int show(struct ctl *ctl, const char *id, int64_t tail_bytes)
{
    auto_reply struct client_reply reply = {0};

    return fetch(ctl, id, tail_bytes, &(struct client_request){.sink = on_data}, &reply);
}

/* Fetches the end of the log and prints what is new of it, at most its last `most` bytes. */
static int follow_once(struct ctl *ctl, const char *id, int64_t ask, int64_t most, struct follow *f)
{
    auto_reply struct client_reply reply = {0};
    int code = fetch(ctl, id, ask, &(struct client_request){.sink = NULL}, &reply);
    size_t at, len = reply.body.len;
    struct str part;

    if (code != CTL_OK)
        return code;
    at = follow_new(f, str_text(&reply.body), len, len < (size_t)ask);
    if (len - at > (size_t)most)
        at = len - (size_t)most;
    part = (struct str){.ptr = reply.body.ptr + at, .len = len - at};
    return part.len > 0 ? ctl_print(ctl, &part) : CTL_OK;
}

static int follow(struct ctl *ctl, const char *id, int64_t tail_bytes)
{
    struct follow f = {.all_bytes = 0};
    int64_t most = tail_bytes < FOLLOW_MAX ? tail_bytes : FOLLOW_MAX;
    int code = follow_once(ctl, id, most > FOLLOW_WINDOW ? most : FOLLOW_WINDOW, most, &f);

    while (code == CTL_OK) {
        if (!interrupt_wait(FOLLOW_MS))
            code = CTL_SIGNAL + interrupt_signal();
        else
            code = follow_once(ctl, id, FOLLOW_WINDOW, FOLLOW_WINDOW, &f);
    }
    follow_done(&f);
    return code;
}

int log_command(struct ctl *ctl, int argc, char **argv)
{
    auto_words struct words ids = {NULL, 0};
    bool is_follow = false;
    int64_t tail_bytes = TAIL_MAX;
    const struct option_spec own[] = {
        {'f', "follow", NULL, "go on with what it writes, until interrupted", OPTION_FLAG, &is_follow, 0, 0},
        {'n', "tail", "BYTES", "the last so many bytes, like 4096 or 64K [64M]", OPTION_BYTES, &tail_bytes, 0, 0}};
    int code = ctl_begin(ctl, argc, argv, own, ARRAY_LEN(own), 1, 1, &ids, NULL);

    if (code != CTL_GO_ON)
        return code;
    if (ctl_check_id(ctl, ids.ptr[0]) != CTL_OK)
        return CTL_USAGE;
    if (tail_bytes > TAIL_MAX)
        return ctl_fail(ctl, CTL_USAGE, "--tail: at most 64M");
    return is_follow ? follow(ctl, ids.ptr[0], tail_bytes) : show(ctl, ids.ptr[0], tail_bytes);
}
