/* network/user against a fake host that dials for real. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "kit/fake/host.h"

const struct runner_plugin *runner_plugin_1(void);

static const struct runner_network_ops *ops;
static struct runner_error err = ERROR_INIT;

static void setup(void)
{
    fake_host_reset();
    cr_assert_eq(runner_plugin_1()->load(fake_host(), &err), 0);
    ops = runner_plugin_1()->ops;
}

TestSuite(user, .init = setup);

static int create(int64_t first, int64_t last, const char *dns, void **ret_self)
{
    struct runner_value values[] = {{.name = "first_port", .text = "", .number = first},
                                    {.name = "last_port", .text = "", .number = last},
                                    {.name = "guest_port", .text = "2280", .number = 2280},
                                    {.name = "dns", .text = dns}};

    return runner_plugin_1()->create(values, ARRAY_LEN(values), ret_self, &err);
}

static int attach(void *self, const char *id, struct runner_nic *nic)
{
    struct runner_batch *batch = fake_host()->batch_new(fake_call());
    int r = ops->attach(self, fake_call(), batch, id, nic, &err);

    cr_expect_eq(fake_batch_len(batch), 0, "there is nothing to do on the host");
    fake_host()->batch_free(batch);
    return r;
}

/* A port of 127.0.0.1 at which this test listens, or listened: with room for two more above it. */
static int listen_somewhere(int *ret_fd)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;

    *ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(*ret_fd, (struct sockaddr *)&in, sizeof in), 0);
    cr_assert_eq(listen(*ret_fd, 8), 0);
    cr_assert_eq(getsockname(*ret_fd, (struct sockaddr *)&in, &len), 0);
    return ntohs(in.sin_port);
}

Test(user, bad_parameters)
{
    void *self = NULL;

    cr_expect_lt(create(3000, 2999, "", &self), 0);
    cr_expect(strstr(err.message, "2999") != NULL);
    cr_expect_lt(create(3000, 3001, "dns.example", &self), 0);
    cr_expect(strstr(err.message, "network.dns") != NULL);
    cr_expect_null(self);
}

Test(user, attach_fills_the_nic)
{
    void *self = NULL;
    struct runner_nic nic = {.size = sizeof nic};
    char text[64];
    int fd, port = listen_somewhere(&fd);

    close(fd);
    cr_assert_eq(create(port, port + 2, "10.0.2.3", &self), 0);
    cr_assert_eq(attach(self, "a", &nic), 0, "%s", err.message);
    cr_expect_eq(nic.kind, RUNNER_NIC_USER);
    cr_expect_str_eq(nic.address, "10.0.2.15");
    cr_expect_str_eq(nic.gateway, "10.0.2.2");
    cr_expect_str_eq(nic.dns, "10.0.2.3");
    cr_expect_eq(nic.prefix_len, 24);
    cr_expect_eq(nic.guest_port, 2280);
    cr_expect((int)nic.forward_port >= port && (int)nic.forward_port <= port + 2);
    cr_expect_eq(ops->address(self, &nic, 2280, text, sizeof text, &err), 0);
    cr_expect_eq(strncmp(text, "tcp:127.0.0.1:", 14), 0, "%s", text);
    cr_expect_eq(atoi(text + 14), (int)nic.forward_port, "%s", text);
    cr_expect_lt(ops->address(self, &nic, 8080, text, sizeof text, &err), 0);
    cr_expect_eq(err.code, RUNNER_E_NOTSUP);
    runner_plugin_1()->destroy(self);
}

Test(user, a_port_in_use_is_passed_over)
{
    auto_close int fd = -1;
    int port = listen_somewhere(&fd);
    struct runner_nic a = {.size = sizeof a};
    void *self = NULL;

    cr_assert_eq(create(port, port, "", &self), 0);
    cr_expect_lt(attach(self, "a", &a), 0);
    cr_expect_eq(err.code, RUNNER_E_BUSY, "%s", err.message);
    cr_expect_eq(a.forward_port, 0);
    cleanup_close(&fd);
    fd = -1;
    cr_expect_eq(attach(self, "a", &a), 0, "%s", err.message);
    cr_expect_eq(a.forward_port, (uint32_t)port);
    runner_plugin_1()->destroy(self);
}

Test(user, each_has_its_own_port_until_all_are_taken)
{
    auto_close int fd = -1;
    int port = listen_somewhere(&fd);
    struct runner_nic a = {.size = sizeof a}, b = {.size = sizeof b};
    void *self = NULL;

    cleanup_close(&fd);
    fd = -1;
    cr_assert_eq(create(port, port, "", &self), 0);
    cr_expect_eq(attach(self, "a", &a), 0, "%s", err.message);
    cr_expect_lt(attach(self, "b", &b), 0);
    cr_expect_eq(err.code, RUNNER_E_NOSPACE);
    cr_expect_eq(ops->detach(self, fake_call(), NULL, "a", &a, &err), 0);
    cr_expect_eq(ops->detach(self, fake_call(), NULL, "a", &a, &err), 0, "twice is fine");
    cr_expect_lt(attach(self, "b", &b), 0, "it is a's until the steps were done");
    cr_expect_eq(ops->release(self, "b", &err), 0, "who has none");
    cr_expect_lt(attach(self, "b", &b), 0);
    cr_expect_eq(ops->release(self, "a", &err), 0);
    cr_expect_eq(attach(self, "b", &b), 0, "%s", err.message);
    runner_plugin_1()->destroy(self);
}

Test(user, adopt_reserves_and_the_port_of_before_is_kept)
{
    auto_close int fd = -1;
    int port = listen_somewhere(&fd);
    struct runner_nic nic = {.size = sizeof nic, .kind = RUNNER_NIC_USER, .forward_port = (uint32_t)port}, other = nic;
    void *self = NULL;

    cleanup_close(&fd);
    fd = -1;
    cr_assert_eq(create(1024, 65535, "", &self), 0);
    cr_expect_eq(ops->adopt(self, fake_call(), "a", &nic, &err), 0);
    cr_expect_lt(ops->adopt(self, fake_call(), "b", &other, &err), 0);
    cr_expect_eq(err.code, RUNNER_E_EXISTS);
    cr_expect_eq(attach(self, "a", &nic), 0, "%s", err.message);
    cr_expect_eq(nic.forward_port, (uint32_t)port);
    cr_expect_eq(attach(self, "b", &other), 0, "%s", err.message);
    cr_expect_neq(other.forward_port, (uint32_t)port);
    runner_plugin_1()->destroy(self);
}

Test(user, a_cancel_ends_the_search)
{
    struct runner_nic nic = {.size = sizeof nic};
    void *self = NULL;

    cr_assert_eq(create(20000, 20010, "", &self), 0);
    fake_host_cancel(true);
    cr_expect_lt(attach(self, "a", &nic), 0);
    cr_expect_eq(err.code, RUNNER_E_CANCELLED, "%s", err.message);
    runner_plugin_1()->destroy(self);
}
