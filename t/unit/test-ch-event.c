/* The stream of events of vmm/cloud-hypervisor. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "kit/fake/host.h"
#include "plugins/vmm/cloud-hypervisor/event.h"

static struct runner_error err = ERROR_INIT;

#define EVENT(source, event)                                                                                           \
    "{\n  \"timestamp\": {\n    \"secs\": 0,\n    \"nanos\": 94029\n  },\n  \"source\": \"" source                     \
    "\",\n  \"event\": \"" event "\",\n  \"properties\": null\n}\n\n"
#define PANIC                                                                                                          \
    "{\n  \"timestamp\": {\n    \"secs\": 3,\n    \"nanos\": 1\n  },\n  \"source\": \"guest\",\n  \"event\": "         \
    "\"panic\",\n  \"properties\": {\n    \"event\": \"panic\"\n  }\n}\n\n"

/* The texts of all events in what was fed, each with its kind, e.g. "vm/paused=1 ". */
static void collect(struct event_parser *parser, struct str *out)
{
    struct runner_vm_event event = {.size = sizeof event};

    while (event_parser_next(parser, &event) == 1)
        str_addf(out, "%s=%u ", event.text, event.kind);
}

static void expect_events(const char *text, size_t cut, const char *expected)
{
    CLEANUP(event_parser_done) struct event_parser parser = EVENT_PARSER_INIT;
    auto_str struct str out = STR_INIT;

    event_parser_feed(&parser, text, cut);
    collect(&parser, &out);
    event_parser_feed(&parser, text + cut, strlen(text) - cut);
    collect(&parser, &out);
    cr_expect_str_eq(str_text(&out), expected, "cut at %zu", cut);
}

Test(ch_event, kinds)
{
    expect_events(EVENT("vmm", "starting") EVENT("vm", "paused") EVENT("vm", "resumed") EVENT("vm", "rebooted")
                      EVENT("vm", "shutdown") PANIC EVENT("guest", "crash_loaded") EVENT("vm", "pausing"),
                  0,
                  "vmm/starting=0 vm/paused=1 vm/resumed=2 vm/rebooted=3 vm/shutdown=4 guest/panic=5 "
                  "guest/crash_loaded=0 vm/pausing=0 ");
}

Test(ch_event, split_at_every_byte)
{
    static const char text[] = PANIC EVENT("vm", "shutdown");

    for (size_t cut = 0; cut < sizeof text; cut++)
        expect_events(text, cut, "guest/panic=5 vm/shutdown=4 ");
}

Test(ch_event, byte_by_byte)
{
    static const char text[] = EVENT("vm", "paused") PANIC;
    CLEANUP(event_parser_done) struct event_parser parser = EVENT_PARSER_INIT;
    auto_str struct str out = STR_INIT;

    for (size_t i = 0; i < sizeof text - 1; i++) {
        event_parser_feed(&parser, text + i, 1);
        collect(&parser, &out);
    }
    cr_expect_str_eq(str_text(&out), "vm/paused=1 guest/panic=5 ");
}

/* The writer drops what a full pipe does not take: any beginning of an event may be followed by a whole one. */
Test(ch_event, torn)
{
    static const char torn[] = PANIC;

    for (size_t len = 1; len < sizeof torn - 2; len++) {
        auto_free char *text = mem_printf("%.*s%s%s", (int)len, torn, EVENT("vm", "paused"), EVENT("vm", "resumed"));
        CLEANUP(event_parser_done) struct event_parser parser = EVENT_PARSER_INIT;
        auto_str struct str out = STR_INIT;

        event_parser_feed(&parser, text, strlen(text));
        collect(&parser, &out);
        cr_expect_not_null(strstr(str_text(&out), "vm/resumed=2 "), "%zu bytes: %s", len, str_text(&out));
        if (torn[len - 1] == '\n')
            cr_expect_not_null(strstr(str_text(&out), "vm/paused=1 "), "%zu bytes: %s", len, str_text(&out));
    }
}

Test(ch_event, nonsense)
{
    expect_events("\n\n[]\n\n1\n\n{}\n\n{\"source\":1,\"event\":\"x\"}\n\nx\n\n" EVENT("vm", "booted"), 7,
                  "vm/booted=0 ");
}

Test(ch_event, too_long)
{
    CLEANUP(event_parser_done) struct event_parser parser = EVENT_PARSER_INIT;
    auto_free char *filler = mem_alloc(1001);
    auto_str struct str out = STR_INIT;

    memset(filler, 'x', 1000);
    event_parser_feed(&parser, "{\"source\":\"", 11);
    for (int i = 0; i < 1000; i++) {
        event_parser_feed(&parser, filler, 1000);
        collect(&parser, &out);
        cr_assert_leq(parser.in.len, EVENT_MAX + 1000 + 11, "what is too long is not kept");
    }
    event_parser_feed(&parser, "\",\"event\":\"x\"}\n\n" EVENT("vm", "paused"),
                      strlen("\",\"event\":\"x\"}\n\n" EVENT("vm", "paused")));
    collect(&parser, &out);
    cr_expect_str_eq(str_text(&out), "vm/paused=1 ");
}

/* ---- operations ---- */

static struct runner_host host;
static int ends[2];
static ino_t dialled;

static int pipe_dial(struct runner_call *call, const char *address, int *ret_fd, struct runner_error *e)
{
    struct stat status;

    (void)call;
    if (strcmp(address, "fifo:/d/events") != 0)
        return fail(e, RUNNER_E_NOTFOUND, 0, "no fifo '%s'", address);
    cr_assert_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    cr_assert_eq(fstat(ends[0], &status), 0);
    dialled = status.st_ino;
    *ret_fd = ends[0];
    return 0;
}

/* Of a VMM that never stops: others have their turn before its next event. */
Test(ch_event, flood)
{
    struct ch ch = {.host = &host};
    struct runner_vm vm = {.size = sizeof vm, .id = "sb-1", .dir = "/d"};
    struct runner_vm_event event = {.size = sizeof event};
    auto_free char *filler = mem_alloc(300001);
    int fd, turns = 0, got;
    void *stream;

    host = *fake_host();
    host.dial = pipe_dial;
    memset(filler, 'x', 300000);
    cr_assert_eq(event_listen(&ch, fake_call(), &vm, &stream, &fd, &err), 0, "%s", err.message);
    cr_assert_geq(fcntl(ends[1], F_SETPIPE_SZ, 1 << 20), 1 << 20);
    cr_assert_eq(write(ends[1], filler, 300000), 300000);
    cr_assert_eq(write(ends[1], "\n\n" PANIC, strlen("\n\n" PANIC)), (ssize_t)strlen("\n\n" PANIC));
    while ((got = event_next(&ch, stream, &event, &err)) == 0 && turns < 100)
        turns++;
    cr_expect_eq(got, 1);
    cr_expect_eq(turns, 300000 / 65536);
    event_unlisten(&ch, stream);
    close(ends[1]);
}

Test(ch_event, stream)
{
    struct ch ch = {.host = &host};
    struct runner_vm vm = {.size = sizeof vm, .id = "sb-1", .dir = "/d"};
    struct runner_vm_event event = {.size = sizeof event};
    static const char text[] = EVENT("vm", "paused") PANIC;
    struct stat got;
    void *stream;
    int fd;

    host = *fake_host();
    host.dial = pipe_dial;
    cr_assert_eq(event_listen(&ch, fake_call(), &vm, &stream, &fd, &err), 0, "%s", err.message);
    cr_assert_eq(fstat(fd, &got), 0);
    cr_expect_eq(got.st_ino, dialled, "the pipe, under whatever number");
    cr_expect_eq(event_next(&ch, stream, &event, &err), 0);
    cr_assert_eq(write(ends[1], text, sizeof text - 1), (ssize_t)sizeof text - 1);
    cr_expect_eq(event_next(&ch, stream, &event, &err), 1);
    cr_expect_str_eq(event.text, "vm/paused");
    cr_expect_eq(event_next(&ch, stream, &event, &err), 1);
    cr_expect_eq(event.kind, RUNNER_VM_EVENT_PANIC);
    cr_expect_eq(event_next(&ch, stream, &event, &err), 0);
    close(ends[1]);
    cr_expect_eq(event_next(&ch, stream, &event, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_UNREACHABLE);
    event_unlisten(&ch, stream);
    event_unlisten(&ch, NULL);
    vm.dir = "/elsewhere";
    cr_expect_eq(event_listen(&ch, fake_call(), &vm, &stream, &fd, &err), -1);
    cr_expect_str_eq(err.message, "events of 'sb-1': no fifo 'fifo:/elsewhere/events'");
}
