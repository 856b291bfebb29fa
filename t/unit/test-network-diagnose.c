/* What network/bridge's diagnose() finds. */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "core/util/str.h"
#include "t/unit/findings.h"
#include "t/unit/network-stage.h"

TestSuite(bridge, .init = stage_open);

static void diagnose(struct str *ret_lines)
{
    void *self = make();

    cr_expect_eq(runner_plugin_1()->diagnose(self, fake_call(), findings_say, ret_lines, &err), 0, "%s", err.message);
    runner_plugin_1()->destroy(self);
    cr_expect_eq(fake_host_live(), 0);
    cr_expect_eq(fake_host_unused(), 0, "%s", fake_host_ran());
}

static void not_made_yet(void)
{
    fake_host_answer(RUNNER_STAT, "/sys/class/net/br0", 1, 0, NULL);
}

#define HAS(line) cr_expect_not_null(strstr(str_text(&lines), line), "no '%s' in:\n%s", line, str_text(&lines))

Test(bridge, diagnose_a_host_that_is_well)
{
    auto_str struct str lines = STR_INIT;

    fake_host_answer(RUNNER_RUN, "[nft][-j]", 0, 0, "{\"nftables\":[{\"metainfo\":{}}]}");
    fake_host_answer(RUNNER_RUN, "[route]", 0, 0, "[{\"dst\":\"default\",\"dev\":\"eth7\"}]");
    fake_host_answer(RUNNER_RUN, "[cat]", 0, 0, "0\n");
    not_made_yet();
    diagnose(&lines);
    HAS("ok tap: ");
    HAS("skip network: the bridge br0 is not there yet");
    HAS("ok nftables: ");
    HAS("ok firewall: ");
    HAS("ok uplink: eth7 ");
    HAS("ok forwarding: ");
    cr_expect_null(strstr(str_text(&lines), "FAIL"));
    cr_expect_not_null(strstr(fake_host_ran(), "[nft][-c][-f][-]"), "the rules are not committed");
    cr_expect_not_null(strstr(fake_host_ran(), "[tee][/proc/sys/net/ipv4/conf/eth7/forwarding] "));
    cr_expect_not_null(strstr(fake_host_ran(), "data=\"0\\x0a\""), "what was there is written: %s", fake_host_ran());
}

Test(bridge, diagnose_and_check_try_a_namespace_where_sandboxes_are_to_have_one)
{
    auto_str struct str lines = STR_INIT;
    void *self = NULL;

    cr_assert_eq(create("netns", "true", 1, &self), 0, "%s", err.message);
    cr_expect_eq(runner_plugin_1()->check(self, fake_call(), &err), 0, "%s", err.message);
    cr_expect(strstr(fake_host_ran(), " netns +held undo: TAP_DEL tapd-n") != NULL, "%s", fake_host_ran());
    cr_expect_eq(runner_plugin_1()->diagnose(self, fake_call(), findings_say, &lines, &err), 0);
    HAS("ok netns: ");
    fake_host_refuse(RUNNER_TAP_ADD, "tapd-n", RUNNER_E_NOTSUP, "it needs CAP_SYS_ADMIN");
    cr_expect_lt(runner_plugin_1()->check(self, fake_call(), &err), 0);
    cr_expect(strstr(err.message, "CAP_SYS_ADMIN") != NULL, "%s", err.message);
    runner_plugin_1()->destroy(self);
}

static void no_program(const char *match)
{
    fake_host_refuse(RUNNER_RUN, match, RUNNER_E_NOTFOUND, "program is not installed");
}

Test(bridge, diagnose_without_programs)
{
    auto_str struct str lines = STR_INIT;

    no_program("[ip][-V]");
    no_program("[nft]");
    diagnose(&lines);
    cr_expect_str_eq(str_text(&lines), "FAIL iproute2: program is not installed [apt-get install -y iproute2]\n"
                                       "FAIL nftables: program is not installed [apt-get install -y nftables]\n"
                                       "ok bandwidth: limits are kept by queues both ways []\n"
                                       "skip names: dns: false: lists of domains are refused []\n");
}

Test(bridge, diagnose_without_device_or_privilege)
{
    auto_str struct str lines = STR_INIT;

    fake_host_answer(RUNNER_STAT, "/dev/net/tun", 1, 0, NULL);
    fake_host_refuse(RUNNER_RUN, "[nft]", RUNNER_E_IO, "netlink: Operation not permitted");
    diagnose(&lines);
    HAS("FAIL tap: no /dev/net/tun");
    HAS("[modprobe tun]");
    HAS("FAIL nftables: netlink: Operation not permitted [systemctl enable --now runner-ch]");
    HAS("warn uplink: no default route");

    str_clear(&lines);
    fake_host_refuse(RUNNER_TAP_ADD, "", RUNNER_E_NOTSUP, "no such thing");
    fake_host_answer(RUNNER_RUN, "[nft][-j]", 0, 0, "no JSON");
    diagnose(&lines);
    HAS("FAIL tap: no such thing [modprobe -a bridge tun]");
    HAS("skip firewall: ");
}

Test(bridge, diagnose_a_firewall)
{
    static const char chains[] =
        "{\"nftables\":[{\"chain\":{\"family\":\"inet\",\"table\":\"runner_br0\",\"name\":"
        "\"forward\",\"hook\":\"forward\",\"policy\":\"drop\"}},{\"chain\":{\"family\":\"ip\","
        "\"table\":\"filter\",\"name\":\"FORWARD\",\"hook\":\"forward\",\"policy\":\"drop\"}}]}";
    auto_str struct str lines = STR_INIT;

    not_made_yet();
    fake_host_answer(RUNNER_RUN, "[nft][-j]", 0, 0, chains);
    diagnose(&lines);
    HAS("warn firewall: the chain 'FORWARD' of table 'ip filter' drops");
    HAS("[nft insert rule ip filter FORWARD iifname br0 accept && nft insert rule ip filter FORWARD oifname br0 "
        "accept]");
    str_clear(&lines);
    not_made_yet();
    fake_host_answer(RUNNER_RUN, "[nft][-j]", 0, 0, chains);
    fake_host_answer(RUNNER_RUN, "[list][table][ip][filter]", 0, 0, "iifname \"br0\" accept");
    diagnose(&lines);
    HAS("ok firewall: ");
}

Test(bridge, diagnose_two_bridges)
{
    static const char chains[] = "{\"nftables\":[{\"chain\":{\"family\":\"ip\",\"table\":\"filter\",\"name\":"
                                 "\"FORWARD\",\"hook\":\"forward\",\"policy\":\"drop\"}}]}";
    auto_str struct str lines = STR_INIT;

    fake_host_answer(RUNNER_RUN, "[show][type][bridge]", 0, 0,
                     "[{\"ifname\":\"br0\"},{\"ifname\":\"br0-2\",\"group\":\"1919908767\"}]");
    fake_host_answer(RUNNER_RUN, "[show][master][br0-2]", 0, 0, "[{\"ifname\":\"tap-a\",\"master\":\"br0-2\"}]");
    fake_host_answer(RUNNER_RUN, "[nft][-j]", 0, 0, chains);
    fake_host_answer(RUNNER_RUN, "[list][table][ip][filter]", 0, 0, "iifname \"br0\" accept");
    diagnose(&lines);
    HAS("ok bridges: br0 has 0 of 1023 ports, br0-2 has 1 of 1023 ports");
    HAS("oifname br0 accept && nft insert rule ip filter FORWARD iifname br0-2 accept");
}

/* Who writes his chains anew says where others may add theirs. */
Test(bridge, diagnose_firewalls_that_have_a_place_for_others)
{
    auto_str struct str lines = STR_INIT;

    fake_host_answer(RUNNER_RUN, "[nft][-j]", 0, 0,
                     "{\"nftables\":[{\"chain\":{\"family\":\"ip\",\"table\":\"filter\",\"name\":\"FORWARD\","
                     "\"hook\":\"forward\",\"policy\":\"drop\"}},{\"chain\":{\"family\":\"ip\",\"table\":\"filter\","
                     "\"name\":\"DOCKER-USER\"}},{\"chain\":{\"family\":\"inet\",\"table\":\"u\",\"name\":\"f\","
                     "\"hook\":\"forward\",\"policy\":\"drop\"}},{\"chain\":{\"family\":\"inet\",\"table\":\"u\","
                     "\"name\":\"ufw-user-forward\"}}]}");
    diagnose(&lines);
    HAS("[nft insert rule ip filter DOCKER-USER iifname br0 accept && nft insert rule ip filter DOCKER-USER oifname "
        "br0 "
        "accept]");
    HAS("[ufw route allow in on br0 && ufw route allow out on br0]");
}

Test(bridge, diagnose_limits_of_bandwidth)
{
    auto_str struct str lines = STR_INIT;

    fake_host_answer(RUNNER_NETLINK, "rshb-", 1, 0, NULL);
    diagnose(&lines);
    HAS("warn bandwidth: this kernel has no tbf: packets beyond a limit of what guests send and receive are dropped");
    HAS("[modprobe -a sch_tbf sch_ingress cls_u32 act_mirred ifb]");
}

/* ---- a bridge of three ports, the last of which has no flags ---- */

static struct {
    int ends[3];
    bool is_isolating, is_locking;
} ports;

static int ports_dial(struct runner_call *call, const char *address, int *ret_fd, struct runner_error *e)
{
    int pair[2], i = address[strlen(address) - 1] - 'a';

    (void)call;
    if (strncmp(address, "tap:", 4) != 0 || i < 0 || i > 2)
        return fail(e, RUNNER_E_INVALID, 0, "%s", address);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair), 0);
    ports.ends[i] = pair[0];
    *ret_fd = pair[1];
    return 0;
}

/* What was sent by then is passed on. */
static int ports_wait(struct runner_call *call, int fd, short events, int64_t ms)
{
    (void)call;
    (void)fd;
    (void)ms;
    for (int by = 0; by < 3; by++) {
        uint8_t frame[128];
        ssize_t n;

        while ((n = recv(ports.ends[by], frame, sizeof frame, 0)) > 0) {
            int to = frame[12 + 5] - 1, as = frame[12 + 11] - 1;

            if (by != 2 && ((ports.is_isolating && to != 2) || (ports.is_locking && as != by)))
                continue;
            cr_expect_eq(send(ports.ends[to], frame, (size_t)n, 0), n);
        }
    }
    return events;
}

static void diagnose_ports(bool is_isolating, bool is_locking, struct str *ret_lines)
{
    ports.is_isolating = is_isolating;
    ports.is_locking = is_locking;
    fake_host()->dial = ports_dial;
    fake_host()->wait = ports_wait;
    diagnose(ret_lines);
    for (int i = 0; i < 3; i++)
        close(ports.ends[i]);
}

Test(bridge, diagnose_ports_that_hold)
{
    auto_str struct str lines = STR_INIT;

    diagnose_ports(true, true, &lines);
    HAS("ok ports: frames to another isolated port");
}

Test(bridge, diagnose_ports_that_are_not_isolated)
{
    auto_str struct str lines = STR_INIT;

    diagnose_ports(false, true, &lines);
    HAS("warn ports: a port that is isolated is not");
}

Test(bridge, diagnose_ports_that_are_not_locked)
{
    auto_str struct str lines = STR_INIT;

    diagnose_ports(true, false, &lines);
    HAS("warn ports: a port that is locked is not");
}

Test(bridge, diagnose_interrupted)
{
    auto_str struct str lines = STR_INIT;
    void *self = make();

    fake_host_cancel(true);
    cr_expect_eq(runner_plugin_1()->diagnose(self, fake_call(), findings_say, &lines, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_CANCELLED);
    runner_plugin_1()->destroy(self);
}
