/* Whom vmm/cloud-hypervisor takes over: the process that listens, answers, and is still the same one. */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "core/util/error.h"
#include "kit/fake/host.h"
#include "plugins/vmm/cloud-hypervisor/adopt.h"
#include "plugins/vmm/cloud-hypervisor/client.h"
#include "plugins/vmm/cloud-hypervisor/vmread.h"

#define CONFIG                                                                                                         \
    "{\"cpus\":{\"boot_vcpus\":2,\"max_vcpus\":4},\"memory\":{\"size\":1073741824},\"net\":[{\"tap\":\"tap-x\"}]}"
#define PING "{\"build_version\":\"v53.0\",\"version\":\"53.0.0\",\"pid\":4711}"

static struct runner_host host;
static struct ch ch;
static const struct runner_vm vm = {
    .size = sizeof vm, .id = "sb-1", .dir = "/d", .socket_path = "/run/sb-1.sock", .pid_path = "/d/vmm.pid"};
static const char *replies[8]; /* bodies; NULL: 404 */
static size_t n_replies, n_replied;
static int peer; /* of the one connection */

/* ---- a peer that answers each request with the next reply ---- */

static int one_dial(struct runner_call *call, const char *address, int *ret_fd, struct runner_error *err)
{
    int ends[2];

    (void)call, (void)address, (void)err;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    *ret_fd = ends[0];
    if (peer >= 0)
        close(peer);
    peer = ends[1];
    return 0;
}

static void reply(void)
{
    const char *body = n_replied < n_replies ? replies[n_replied] : NULL;
    auto_free char *text = body != NULL
                               ? mem_printf("HTTP/1.1 200 \r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body)
                               : mem_dup("HTTP/1.1 404 \r\nContent-Length: 2\r\n\r\n[]");
    char request[4096];

    if (recv(peer, request, sizeof request, MSG_DONTWAIT) <= 0)
        return;
    n_replied++;
    cr_assert_eq(send(peer, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static int one_wait(struct runner_call *call, int fd, short events, int64_t ms)
{
    struct pollfd p = {.fd = fd, .events = events};

    (void)call, (void)ms;
    if (events & POLLIN)
        reply();
    return poll(&p, 1, 0) > 0 ? p.revents : 0;
}

static void setup(void)
{
    fake_host_reset();
    host = *fake_host();
    host.dial = one_dial;
    host.wait = one_wait;
    ch = (struct ch){.host = &host, .binary = "/opt/ch/cloud-hypervisor-static", .lock = PTHREAD_MUTEX_INITIALIZER};
    n_replies = n_replied = 0;
    peer = -1;
}

static void teardown(void)
{
    client_forget_all(&ch);
    if (peer >= 0)
        close(peer);
    cr_expect_eq(fake_host_live(), 0);
}

TestSuite(ch_adopt, .init = setup, .fini = teardown, .timeout = 60);

static void will_say(const char *body)
{
    replies[n_replies++] = body;
}

static int adopt(struct runner_machine *machine, struct runner_vm_status *status, struct runner_error *err)
{
    *machine = (struct runner_machine){.size = sizeof *machine};
    *status = (struct runner_vm_status){.size = sizeof *status};
    return adopt_machine(&ch, fake_call(), &vm, machine, status, err);
}

static void refused_with(const char *word)
{
    struct runner_machine machine;
    struct runner_vm_status status;
    struct runner_error err = ERROR_INIT;

    cr_expect_eq(adopt(&machine, &status, &err), -1);
    cr_expect_not_null(strstr(err.message, word), "%s", err.message);
    cr_expect_eq(machine.cpus, 0, "nothing is said");
    cr_expect_not_null(strstr(fake_host_ran(), "REMOVE /d/vmm.pid"), "no pid file is left: %s", fake_host_ran());
}

/* ---- tests ---- */

Test(ch_adopt, who_listens_and_answers)
{
    struct runner_machine machine;
    struct runner_vm_status status;
    struct runner_error err = ERROR_INIT;

    fake_host_answer(RUNNER_ADOPT, "[cloud-hypervisor][cloud-hypervisor-static]", 0, 4711, NULL);
    fake_host_answer(RUNNER_ALIVE, "/d/vmm.pid", 0, 4711, NULL);
    will_say(PING);
    will_say("{\"state\":\"Running\"}");
    will_say("{\"state\":\"Running\",\"config\":" CONFIG "}");
    cr_assert_eq(adopt(&machine, &status, &err), 0, "%s", err.message);
    cr_expect_eq(status.state, RUNNER_VM_RUNNING);
    cr_expect_eq(machine.cpus, 2);
    cr_expect_str_eq(machine.tap, "tap-x");
    vmread_release(&host, &machine);
    cr_expect_eq(fake_host_unused(), 0);
}

Test(ch_adopt, nobody)
{
    struct runner_machine machine;
    struct runner_vm_status status;
    struct runner_error err = ERROR_INIT;

    fake_host_answer(RUNNER_ADOPT, "", 1, 0, NULL);
    cr_assert_eq(adopt(&machine, &status, &err), 0, "%s", err.message);
    cr_expect_eq(status.state, RUNNER_VM_ABSENT);
    cr_expect_eq(n_replied, 0, "nobody is asked");
}

Test(ch_adopt, one_without_a_machine)
{
    struct runner_machine machine;
    struct runner_vm_status status;
    struct runner_error err = ERROR_INIT;

    fake_host_answer(RUNNER_ADOPT, "", 0, 4711, NULL);
    fake_host_answer(RUNNER_ALIVE, "", 0, 4711, NULL);
    will_say(PING);
    cr_assert_eq(adopt(&machine, &status, &err), 0, "%s", err.message);
    cr_expect_eq(status.state, RUNNER_VM_ENDED);
    cr_expect_eq(machine.cpus, 0);
}

/* A socket that was handed on: who began to listen is not who answers. */
Test(ch_adopt, another_answers)
{
    fake_host_answer(RUNNER_ADOPT, "", 0, 42, NULL);
    will_say(PING);
    refused_with("process 42 listens there, and process 4711 answers");
}

/* Its number was used again between two looks. */
Test(ch_adopt, it_has_ended)
{
    fake_host_answer(RUNNER_ADOPT, "", 0, 4711, NULL);
    fake_host_answer(RUNNER_ALIVE, "", 1, 0, NULL);
    will_say(PING);
    refused_with("has just ended");
}

Test(ch_adopt, no_cloud_hypervisor)
{
    fake_host_answer(RUNNER_ADOPT, "", 0, 4711, NULL);
    will_say("{\"hello\":1}");
    refused_with("process 0 answers");
}

Test(ch_adopt, what_it_runs_is_not_understood)
{
    fake_host_answer(RUNNER_ADOPT, "", 0, 4711, NULL);
    fake_host_answer(RUNNER_ALIVE, "", 0, 4711, NULL);
    will_say(PING);
    will_say("{\"state\":\"Running\"}");
    will_say("{\"state\":\"Running\",\"config\":{\"cpus\":1}}");
    refused_with("vm.info: config: cpus");
}
