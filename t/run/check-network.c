/* network/bridge on transport/local, both as built, in a network namespace of its own: TAPs, rules, packets. Speaks
 * TAP. Run it by unshare -n as root. */
#include "t/run/check-network.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/str.h"
#include "kit/fake/host.h"
#include "t/run/plugin-host.h"

static const struct runner_plugin *network;
static const struct runner_network_ops *ops;
static void *self;
static struct runner_error err = ERROR_INIT;

/* ---- helpers ---------------------------------------------------------------------------------------------------- */

char *run_program(const char *const *argv) /* its output, or NULL; freed by the caller */
{
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = argv};
    struct runner_batch *batch = host_table()->batch_new(NULL);
    int index = host_table()->add(batch, &step, &err);
    char *out = NULL;

    if (host_run_batch(batch, &err) == 0)
        out = mem_dup(host_table()->result(batch, index)->out);
    else
        tap_note("%s", err.message);
    host_table()->batch_free(batch);
    return out;
}

static bool output_has(char *output, const char *text) /* frees output */
{
    bool has = output != NULL && strstr(output, text) != NULL;

    if (!has)
        tap_note("no '%s' in: %s", text, output != NULL ? output : "(nothing)");
    free(output);
    return has;
}

void must(char *output)
{
    if (output == NULL) {
        printf("Bail out! preparation failed\n");
        exit(1);
    }
    free(output);
}

static size_t count_links(void)
{
    struct if_nameindex *links = if_nameindex();
    size_t n = 0;

    while (links != NULL && links[n].if_index != 0)
        n++;
    if_freenameindex(links);
    return n;
}

/* Removed interfaces go a moment later, when nobody waits for it. */
bool await_links(size_t n)
{
    for (int64_t end = num_now_ms() + COMING_MS; count_links() != n; poll(NULL, 0, 20))
        if (num_now_ms() >= end) {
            tap_note("%zu links, not %zu", count_links(), n);
            return false;
        }
    return true;
}

/* An idle TAP's name, which it keeps. */
static bool is_number(const char *name)
{
    unsigned bridge, number;
    int end = 0;

    return sscanf(name, "tap-%6x-%u%n", &bridge, &number, &end) == 2 && name[end] == '\0';
}

size_t count_idle(void)
{
    struct if_nameindex *links = if_nameindex();
    size_t n = 0;

    for (size_t i = 0; links != NULL && links[i].if_index != 0; i++)
        n += is_number(links[i].if_name);
    if_freenameindex(links);
    return n;
}

static int run_step(struct runner_step step)
{
    struct runner_batch *batch = host_table()->batch_new(NULL);
    int r;

    step.size = sizeof step;
    (void)host_table()->add(batch, &step, &err);
    r = host_run_batch(batch, &err);
    host_table()->batch_free(batch);
    return r;
}

static bool says(int code, const char *text)
{
    bool is_right = err.code == code && strstr(err.message, text) != NULL;

    if (!is_right)
        tap_note("code %s, message: %s", error_name(err.code), err.message);
    return is_right;
}

static struct runner_nic make_nic(const char *address)
{
    struct runner_nic nic = {.size = sizeof nic, .prefix_len = 24};

    (void)snprintf(nic.mac, sizeof nic.mac, "02:00:00:00:00:%02x", (unsigned)(ntohl(ip_of(address)) & 0xff));
    (void)snprintf(nic.address, sizeof nic.address, "%s", address);
    (void)snprintf(nic.gateway, sizeof nic.gateway, "10.0.0.1");
    return nic;
}

/* As core does it: the policy is behind it in one batch. */
static int attach(const char *id, struct runner_nic *nic)
{
    static const struct runner_policy open = {.size = sizeof open};
    struct runner_batch *batch = host_table()->batch_new(NULL);
    int r = ops->attach(self, host_call(-1, -1), batch, id, nic, &err);

    if (r == 0)
        r = ops->apply_policy(self, host_call(-1, -1), batch, id, nic, &open, &err);
    if (r == 0)
        r = host_run_batch(batch, &err);
    if (r < 0)
        tap_note("attach: %s", err.message);
    host_table()->batch_free(batch);
    return r;
}

int detach(const char *id, const struct runner_nic *nic)
{
    struct runner_batch *batch = host_table()->batch_new(NULL);
    int r = ops->detach(self, host_call(-1, -1), batch, id, nic, &err);

    if (r == 0)
        r = host_run_batch(batch, &err);
    if (r == 0)
        r = ops->release(self, id, &err);
    if (r < 0)
        tap_note("detach: %s", err.message);
    host_table()->batch_free(batch);
    return r;
}

int apply(const char *id, const struct runner_nic *nic, const struct runner_policy *policy)
{
    struct runner_batch *batch = host_table()->batch_new(NULL);
    int r = ops->apply_policy(self, host_call(-1, -1), batch, id, nic, policy, &err);

    if (r == 0)
        r = host_run_batch(batch, &err);
    if (r < 0)
        tap_note("apply_policy: %s", err.message);
    host_table()->batch_free(batch);
    return r;
}

uint64_t refused(const struct runner_nic *nic)
{
    struct runner_nic_counters counters = {.size = sizeof counters};

    if (ops->counters(self, host_call(-1, -1), &nic, 1, &counters, &err) < 0)
        tap_note("counters: %s", err.message);
    return counters.refused_packets;
}

int setup(void)
{
    int r = ops->setup(self, host_call(-1, -1), &err);

    if (r == 0) /* of a runner that has no sandbox yet */
        r = ops->sweep(self, host_call(-1, -1), NULL, 0, &err);
    if (r < 0)
        tap_note("setup: %s", err.message);
    return r;
}

static char *read_file(const char *path)
{
    auto_fclose FILE *f = fopen(path, "r");
    char text[64] = "";

    if (f != NULL && fgets(text, sizeof text, f) == NULL)
        text[0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return mem_dup(text);
}

static bool file_is(const char *path, const char *text)
{
    auto_free char *found = read_file(path);

    return strcmp(found, text) == 0;
}

/* ---- setup ------------------------------------------------------------------------------------------------------ */

static void check_setup(void)
{
    tap_ok(network->check(self, host_call(-1, -1), &err) == 0, "check: %s", err.message);
    tap_ok(setup() == 0, "setup");
    tap_ok(output_has(PROGRAM("ip", "addr", "show", "dev", "br0"), "inet 10.0.0.1/24"), "the bridge has its address");
    tap_ok(output_has(PROGRAM("ip", "-d", "link", "show", "dev", "br0"), "link/ether 02:72:") &&
               output_has(PROGRAM("ip", "-d", "link", "show", "dev", "br0"), "forward_delay 0") &&
               output_has(PROGRAM("ip", "-d", "link", "show", "dev", "br0"), "stp_state 0") &&
               output_has(PROGRAM("ip", "-d", "link", "show", "dev", "br0"), "mcast_snooping 0"),
           "fixed hardware address, no STP, no forward delay, no snooping");
    tap_ok(file_is("/proc/sys/net/ipv4/conf/br0/forwarding", "1") &&
               file_is("/proc/sys/net/ipv4/conf/out0/forwarding", "1") &&
               file_is("/proc/sys/net/ipv4/ip_forward", "0") &&
               file_is("/proc/sys/net/ipv6/conf/br0/disable_ipv6", "1"),
           "forwarding of these two interfaces only, no IPv6");
    must(PROGRAM("nft", "add", "chain", "inet", "runner_br0", "witness"));
    tap_ok(setup() == 0 && output_has(PROGRAM("nft", "list", "table", "inet", "runner_br0"), "witness"),
           "setup again leaves the rules as they are");
    must(PROGRAM("nft", "delete", "table", "bridge", "runner_br0"));
    tap_ok(setup() == 0 && output_has(PROGRAM("nft", "list", "table", "bridge", "runner_br0"), "chain guest"),
           "setup brings back a missing table");
}

static void check_setup_refusals(void)
{
    void *mine = self;

    must(PROGRAM("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1"));
    self = host_create(network, "bridge", "veth0", NULL);
    tap_ok(ops->setup(self, host_call(-1, -1), &err) < 0 && says(RUNNER_E_EXISTS, "'veth0' exists and is no bridge"),
           "setup refuses another interface of the bridge's name");
    network->destroy(self);
    self = mine;
    must(PROGRAM("ip", "link", "del", "veth0"));
}

/* ---- TAPs ------------------------------------------------------------------------------------------------------- */

static void check_attach(struct runner_nic *a, struct runner_nic *b)
{
    auto_free char *show = NULL;

    *a = make_nic("10.0.0.2");
    *b = make_nic("10.0.0.3");
    tap_ok(attach(ID_A, a) == 0 && strcmp(a->name, "tap-0c0ffee0-aa") == 0, "attach: %s", a->name);
    tap_ok(attach(ID_B, b) == 0 && strcmp(b->name, a->name) != 0 && strlen(b->name) <= 15,
           "d21: attach of an id that begins alike: %s", b->name);
    show = PROGRAM("ip", "-d", "link", "show", "dev", a->name);
    tap_ok(show != NULL && strstr(show, "master br0") != NULL && strstr(show, "isolated on") != NULL &&
               strstr(show, "vnet_hdr on") != NULL && strstr(show, "persist on") != NULL &&
               strstr(show, "user nobody") != NULL && strstr(show, ",UP") != NULL,
           "the TAP: on the bridge, isolated, persistent, owner set, up");
    if (show != NULL && strstr(show, "user nobody") == NULL)
        tap_note("%s", show);
    tap_ok(run_step((struct runner_step){.kind = RUNNER_TAP_ADD, .path = a->name, .to = "br0"}) < 0 &&
               says(RUNNER_E_EXISTS, a->name),
           "TAP_ADD: the name is taken");
    tap_ok(run_step((struct runner_step){.kind = RUNNER_TAP_ADD, .path = "tap-0123456789ab"}) < 0 &&
               says(RUNNER_E_INVALID, "tap-0123456789ab") && if_nametoindex("tap-0123456789a") == 0,
           "TAP_ADD: a name of 16 bytes is refused, not cut");
    tap_ok(run_step((struct runner_step){.kind = RUNNER_TAP_ADD, .path = "tap-x", .to = "nobr"}) < 0 &&
               says(RUNNER_E_NOTFOUND, "nobr") && if_nametoindex("tap-x") == 0,
           "TAP_ADD: no such bridge, and nothing is left");
    tap_ok(run_step((struct runner_step){.kind = RUNNER_TAP_DEL, .path = "br0"}) < 0 &&
               says(RUNNER_E_INVALID, "not a TAP") && if_nametoindex("br0") != 0,
           "TAP_DEL never removes what is no TAP");
    tap_ok(run_step((struct runner_step){.kind = RUNNER_TAP_DEL, .path = "tap-none"}) == 0, "TAP_DEL: absent is fine");
}

static void check_undo(void)
{
    struct runner_batch *batch = host_table()->batch_new(NULL);
    struct runner_nic nic = make_nic("10.0.0.9");
    struct runner_step bad = {.size = RUNNER_STEP_INIT, .kind = RUNNER_READ, .path = "/nonexistent/x", .number = 1};
    size_t before = count_links();

    tap_ok(ops->attach(self, host_call(-1, -1), batch, "undo", &nic, &err) == 0 &&
               host_table()->add(batch, &bad, &err) >= 0 && host_run_batch(batch, &err) < 0 &&
               says(RUNNER_E_NOTFOUND, "/nonexistent/x") && await_links(before),
           "a failed batch takes its TAP away");
    host_table()->batch_free(batch);
    tap_ok(ops->release(self, "undo", &err) == 0 && detach("undo", &nic) == 0 && await_links(before),
           "detach after that is fine");
}

static void check_reuse(struct runner_nic *b)
{
    unsigned index = if_nametoindex(b->name);
    char idle[IF_NAMESIZE] = "";
    struct runner_nic c = make_nic("10.0.0.4");
    auto_free char *show = NULL;

    tap_ok(detach(ID_B, b) == 0 && if_nametoindex(b->name) == 0 && if_indextoname(index, idle) != NULL &&
               is_number(idle),
           "detach keeps the TAP idle, as %s", idle);
    show = PROGRAM("ip", "-j", "link", "show", "dev", idle);
    tap_ok(show != NULL && strstr(show, "\"operstate\":\"DOWN\"") != NULL && strstr(show, "\"UP\"") == NULL,
           "it is down");
    tap_ok(attach("c", &c) == 0 && strcmp(c.name, idle) == 0 && if_nametoindex(idle) == index,
           "the next attach takes it, by its name");
    tap_ok(output_has(PROGRAM("ip", "-d", "link", "show", "dev", idle), "isolated on"), "and it is isolated");
    tap_ok(attach("c", &c) == 0 && strcmp(c.name, idle) == 0, "attach of a nic that has its name already, TAP there");
    index = if_nametoindex(idle);
    tap_ok(detach("c", &c) == 0 && if_nametoindex(idle) == index && count_idle() == 1, "it stays under that name");
    must(PROGRAM("ip", "link", "del", "dev", idle));
    c = make_nic("10.0.0.4");
    tap_ok(attach("c", &c) == 0 && strcmp(c.name, idle) == 0 &&
               output_has(PROGRAM("ip", "link", "show", "dev", idle), ",UP"),
           "removed by somebody meanwhile, it is made anew");
    tap_ok(detach("c", &c) == 0 && attach(ID_B, b) == 0, "back again");
}

/* ---- sweep, and many -------------------------------------------------------------------------------------------- */

static void check_sweep(const struct runner_nic *a)
{
    const struct runner_nic *owned[] = {a};
    void *mine = self;

    /* A runner that starts anew: it knows the record of A only. */
    self = host_create(network, "owner", "65534", "pool", "2", NULL);
    (void)run_step((struct runner_step){.kind = RUNNER_TAP_ADD, .path = "tap-orphan", .to = "br0"});
    (void)run_step((struct runner_step){.kind = RUNNER_TAP_ADD, .path = "tap-others", .to = NULL});
    tap_ok(ops->adopt(self, host_call(-1, -1), ID_A, a, &err) == 0, "adopt");
    tap_ok(ops->adopt(self, host_call(-1, -1), "another", a, &err) < 0 && says(RUNNER_E_EXISTS, ID_A),
           "d21: adopt: one name, two records");
    tap_ok(ops->sweep(self, host_call(-1, -1), owned, 1, &err) == 0 && if_nametoindex("tap-orphan") == 0 &&
               if_nametoindex(a->name) != 0 && if_nametoindex("tap-others") != 0 && count_idle() == 2,
           "sweep removes what is on our bridge and nobody's, and idle ones beyond the pool");
    (void)run_step((struct runner_step){.kind = RUNNER_TAP_DEL, .path = "tap-others"});
    network->destroy(self);
    self = mine;
}

static void check_many(void)
{
    struct runner_nic nics[20];
    size_t before = count_links() - count_idle();
    int64_t start = num_now_us(), attached, detached, again;
    int failed = 0;
    char id[16];

    for (int i = 0; i < 20; i++) {
        (void)snprintf(id, sizeof id, "many-%d", i);
        nics[i] = make_nic("10.0.0.50");
        failed += attach(id, &nics[i]) < 0;
    }
    attached = num_now_us();
    for (int i = 0; i < 20; i++) {
        (void)snprintf(id, sizeof id, "many-%d", i);
        failed += detach(id, &nics[i]) < 0;
    }
    detached = num_now_us();
    tap_ok(failed == 0 && await_links(before + 20), "d23: 20 sandboxes: all their TAPs are idle now");
    for (int i = 0; i < 20; i++) {
        (void)snprintf(id, sizeof id, "again-%d", i);
        nics[i] = make_nic("10.0.0.50");
        failed += attach(id, &nics[i]) < 0;
    }
    again = num_now_us();
    tap_ok(failed == 0 && await_links(before + 20), "and taken again");
    tap_note("a TAP: made %lld us, kept idle %lld us, taken again %lld us", (long long)(attached - start) / 20,
             (long long)(detached - attached) / 20, (long long)(again - detached) / 20);
    for (int i = 0; i < 20; i++) {
        (void)snprintf(id, sizeof id, "again-%d", i);
        failed += detach(id, &nics[i]) < 0;
    }
    tap_ok(failed == 0 && await_links(before + 20) && count_idle() == 20, "and idle again");
}

int main(void)
{
    const struct runner_plugin *local = host_load("transport/local");
    void *transport = host_create(local, NULL);
    struct runner_nic a, b;
    struct guest out;

    fake_host_root("/nonexistent"); /* nothing of another run's */
    host_transport(local, transport);
    (void)host_call(-1, -1);
    network = host_load("network/bridge");
    ops = network->ops;
    self = host_create(network, "owner", "65534", "pool", "64", "dns", "false", NULL);
    if (count_links() != 1) {
        printf("Bail out! not in a network namespace of its own: run it by unshare -n\n");
        return 1;
    }
    guest_open(&out, "out0", "02:00:00:00:00:99", "203.0.113.99", true);
    must(PROGRAM("ip", "link", "set", "dev", "lo", "up"));
    must(PROGRAM("ip", "addr", "add", "203.0.113.1/24", "dev", "out0"));
    must(PROGRAM("ip", "link", "set", "dev", "out0", "up"));
    must(PROGRAM("ip", "route", "add", "default", "via", "203.0.113.99"));
    check_setup();
    check_setup_refusals();
    check_attach(&a, &b);
    check_undo();
    check_reuse(&b);
    check_packets(&a, &b, &out);
    check_many();
    check_sweep(&a);
    tap_ok(detach(ID_A, &a) == 0 && if_nametoindex(a.name) == 0, "the last sandbox goes");
    network->destroy(self);
    network->destroy(NULL);
    local->destroy(transport);
    tap_ok(host_live() == 0, "no memory of the host is left");
    close(out.fd);
    return tap_done();
}
