/* What a runner says to runnerctl: whatever a reply holds, the command ends with an exit code, and nothing that it
 * prints can steer a terminal. The functions of core/ctl/client.c are here: a client whose runner says given bytes. */
#include "core/ctl/ctl.h"
#include "t/fuzz/fuzz.h"

static struct {
    long status;
    const char *body;
    size_t len;
} reply;

int client_new(const char *socket, const char *url, const char *token, struct client **ret, struct runner_error *err)
{
    (void)socket, (void)url, (void)token, (void)err;
    *ret = NULL;
    return 0;
}

void client_free(struct client *c)
{
    (void)c;
}

const char *client_address(const struct client *c)
{
    (void)c;
    return "nowhere";
}

void client_reply_done(struct client_reply *r)
{
    str_done(&r->body);
}

int client_run(struct client *c, const struct client_request *request, struct client_reply *ret,
               struct runner_error *err)
{
    (void)c;
    ret->status = reply.status;
    if (request->sink != NULL && reply.status == 200)
        return request->sink(request->ctx, reply.body, reply.len, err);
    str_add_mem(&ret->body, reply.body, reply.len);
    return 0;
}

/* In place of output_write(), by the linker. */
int __wrap_output_write(int fd, const void *data, size_t len);

int __wrap_output_write(int fd, const void *data, size_t len)
{
    const unsigned char *text = data;

    (void)fd;
    for (size_t i = 0; i < len; i++)
        need((text[i] >= 0x20 && text[i] != 0x7f) || text[i] == '\n' || text[i] == '\t');
    return 0;
}

static void run(const char *name, int (*command)(struct ctl *, int, char **), char **argv)
{
    const struct command self = {.name = name, .synopsis = "", .summary = ""};
    struct ctl ctl = {.command = &self};
    int argc = 0, code;

    while (argv[argc] != NULL)
        argc++;
    code = command(&ctl, argc, argv);
    need(code >= 0 && code < 256);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char id[] = "a1", timings[] = "--timings";
    static char *none[] = {NULL}, *one[] = {id, NULL}, *create[] = {timings, id, NULL};

    reply.body = (const char *)data;
    reply.len = size;
    for (reply.status = 200; reply.status <= 500; reply.status += 300) {
        run("ls", list_command, none);
        run("info", info_command, none);
        run("info", info_command, one);
        run("create", create_command, create);
        run("stop", stop_command, one);
        run("version", version_command, none);
    }
    return 0;
}
