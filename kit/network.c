/* Networks: what setup, attach, detach, adopt, sweep and address promise; policies and counters: network-policy.c. */
#include <string.h>

#include "core/util/num.h"
#include "core/util/text.h"
#include "kit/general.h"
#include "kit/guard.h"
#include "kit/network.h"
#include "kit/plan.h"

enum { GUEST_PORT = 2280, AT_ONCE_NICS = 20 };

const struct runner_network_ops *network_ops(const struct subject *s)
{
    return s->plugin->desc.ops;
}

bool network_has(const struct subject *s, uint64_t cap)
{
    return (s->plugin->desc.caps & cap) != 0;
}

/* ---- requests ---- */

/* As core hands it in: MAC and, unless the network gives them, addresses. --answer and KEY=VALUE make them fit. */
static struct runner_nic nic_new(const struct subject *s)
{
    struct runner_nic nic = {.size = sizeof nic, .mac = "02:00:00:00:00:01"};

    if (network_has(s, RUNNER_NETWORK_CAP_OWN_ADDRESS))
        return nic;
    (void)snprintf(nic.address, sizeof nic.address, "10.0.0.2");
    (void)snprintf(nic.gateway, sizeof nic.gateway, "10.0.0.1");
    nic.prefix_len = 24;
    return nic;
}

static int attach(struct subject *s, void *self, struct runner_call *call, struct runner_batch *batch, const char *id,
                  struct runner_nic *nic, struct runner_error *err)
{
    *err = (struct runner_error)ERROR_INIT;
    return network_ops(s)->attach(self, call, batch, id, nic, err);
}

void network_plan_attach(struct subject *s, struct runner_batch *batch, const char *id, struct runner_nic *ret_nic)
{
    struct runner_error err;

    *ret_nic = nic_new(s);
    if (attach(s, s->self, fake_call(), batch, id, ret_nic, &err) != 0)
        stop_point("attach: %s", err.message);
}

struct runner_nic network_attach(struct subject *s, const char *id)
{
    struct runner_batch *batch = fake_batch();
    struct runner_nic nic;

    network_plan_attach(s, batch, id, &nic);
    (void)plan_run(batch, "attach");
    fake_host()->batch_free(batch);
    return nic;
}

static void release(struct subject *s, const char *id, const char *when)
{
    struct runner_error err = ERROR_INIT;

    if (network_ops(s)->release != NULL && network_ops(s)->release(s->self, id, &err) != 0)
        flaw("release %s: %s", when, err.message);
}

void network_detach(struct subject *s, const char *id, const struct runner_nic *nic, const char *when)
{
    struct runner_batch *batch = fake_batch();
    struct runner_error err = ERROR_INIT;

    if (network_ops(s)->detach(s->self, fake_call(), batch, id, nic, &err) != 0)
        flaw("detach %s: %s", when, err.message);
    else
        (void)plan_run(batch, when);
    fake_host()->batch_free(batch);
    release(s, id, when);
}

/* ---- operations ---- */

static void op_setup(struct subject *s, struct trial *t)
{
    TRY(t, network_ops(s)->setup(s->self, fake_call(), &t->err));
}

static void op_attach(struct subject *s, struct trial *t)
{
    struct runner_nic fresh = nic_new(s), made = fresh;
    struct runner_batch *batch = fake_batch();
    struct runner_nic *nic;

    guard_reset();
    nic = guard_put(t->layout, &fresh, sizeof fresh, NIC_OLDEST);
    TRY(t, network_ops(s)->attach(s->self, fake_call(), batch, "sb1", nic, &t->err));
    if (!guard_take(nic, &made, sizeof made))
        flaw("attach writes beyond the nic that it knows");
    fake_host()->batch_free(batch);
}

static void op_detach(struct subject *s, struct trial *t)
{
    struct runner_nic made = network_attach(s, "sb1");
    struct runner_batch *batch = fake_batch();

    guard_reset();
    TRY(t, network_ops(s)->detach(s->self, fake_call(), batch, "sb1",
                                  guard_put(t->layout, &made, sizeof made, NIC_OLDEST), &t->err));
    fake_host()->batch_free(batch);
}

static void op_adopt(struct subject *s, struct trial *t)
{
    struct runner_nic made = network_attach(s, "sb1");

    network_detach(s, "sb1", &made, "detach");
    guard_reset();
    TRY(t, network_ops(s)->adopt(s->self, fake_call(), "sb1", guard_put(t->layout, &made, sizeof made, NIC_OLDEST),
                                 &t->err));
}

static void op_sweep_network(struct subject *s, struct trial *t)
{
    struct runner_nic made = network_attach(s, "sb1");
    const struct runner_nic *owned[1];

    guard_reset();
    owned[0] = guard_put(t->layout, &made, sizeof made, NIC_OLDEST);
    TRY(t, network_ops(s)->sweep(s->self, fake_call(), owned, 1, &t->err));
}

static void op_address(struct subject *s, struct trial *t)
{
    struct runner_nic made = network_attach(s, "sb1");
    char address[64];

    guard_reset();
    TRY(t, network_ops(s)->address(s->self, guard_put(t->layout, &made, sizeof made, NIC_OLDEST), GUEST_PORT, address,
                                   sizeof address, &t->err));
}

/* ---- attach ---- */

static struct runner_batch *plan_attach(struct subject *s)
{
    struct runner_batch *batch = plan_begin(s);
    struct runner_nic nic;

    network_plan_attach(s, batch, "sb1", &nic);
    return batch;
}

static void point_attach_undo(struct subject *s, const struct point *point)
{
    (void)point;
    plan_check_undo(s, plan_attach, "dfspt", "dfspt");
}

static bool has_end(const char *text, size_t size)
{
    return memchr(text, '\0', size) != NULL;
}

static void check_nic(struct subject *s, const struct runner_nic *nic)
{
    if (!has_end(nic->name, sizeof nic->name) || !has_end(nic->mac, sizeof nic->mac) ||
        !has_end(nic->address, sizeof nic->address) || !has_end(nic->gateway, sizeof nic->gateway) ||
        !has_end(nic->dns, sizeof nic->dns))
        stop_point("a text of the nic has no end");
    if (nic->kind != RUNNER_NIC_TAP && nic->kind != RUNNER_NIC_USER)
        flaw("the nic's kind is %u", nic->kind);
    if (nic->kind == RUNNER_NIC_TAP && nic->name[0] == '\0')
        flaw("the TAP has no name");
    if (strcmp(nic->mac, "02:00:00:00:00:01") != 0)
        flaw("the MAC address, which is core's, has changed to %s", nic->mac);
    if (network_has(s, RUNNER_NETWORK_CAP_OWN_ADDRESS) && (nic->address[0] == '\0' || nic->prefix_len == 0))
        flaw("caps says that it gives addresses, and it gave none");
    if (!network_has(s, RUNNER_NETWORK_CAP_OWN_ADDRESS) && strcmp(nic->address, "10.0.0.2") != 0)
        flaw("the address, which is ipam's, has changed to %s", nic->address);
}

static void point_attach_nic(struct subject *s, const struct point *point)
{
    struct runner_nic nic;

    (void)point;
    subject_renew(s);
    nic = network_attach(s, "sb1");
    check_nic(s, &nic);
    if (nic.kind == RUNNER_NIC_TAP) {
        auto_free char *line = mem_printf("t %s\n", nic.name), *there = world_text(s->world, "t");
        if (strstr(there, line) == NULL)
            flaw("the steps do not make the TAP '%s'", nic.name);
    }
}

/* Stopped and started again, it has what it had. */
static void point_attach_again(struct subject *s, const struct point *point)
{
    struct runner_nic nic, again;
    struct runner_batch *batch;
    struct runner_error err;

    (void)point;
    subject_renew(s);
    nic = network_attach(s, "sb1");
    network_detach(s, "sb1", &nic, "detach");
    again = nic;
    batch = fake_batch();
    if (attach(s, s->self, fake_call(), batch, "sb1", &again, &err) != 0)
        stop_point("attach again: %s", err.message);
    (void)plan_run(batch, "attach again");
    fake_host()->batch_free(batch);
    if (strcmp(nic.name, again.name) != 0 || nic.forward_port != again.forward_port)
        flaw("it had '%s' and port %u, and now '%s' and port %u", nic.name, nic.forward_port, again.name,
             again.forward_port);
}

static void point_attach_others(struct subject *s, const struct point *point)
{
    struct runner_nic a, b;

    (void)point;
    subject_renew(s);
    a = network_attach(s, "a-sandbox-with-a-long-name-1");
    b = network_attach(s, "a-sandbox-with-a-long-name-2");
    if (a.kind == RUNNER_NIC_TAP && strcmp(a.name, b.name) == 0)
        flaw("two sandboxes have the interface '%s'", a.name);
    if (a.forward_port != 0 && a.forward_port == b.forward_port)
        flaw("two sandboxes have the port %u", a.forward_port);
}

/* ---- detach, adopt, address ---- */

static void point_detach_twice(struct subject *s, const struct point *point)
{
    auto_free char *before = NULL, *after = NULL;
    struct runner_nic nic, none;

    (void)point;
    subject_renew(s);
    before = world_text(s->world, "dfspt");
    nic = network_attach(s, "sb1");
    network_detach(s, "sb1", &nic, "detach");
    after = world_text(s->world, "dfspt");
    if (strcmp(before, after) != 0)
        flaw("detached, there is on the host:\n%sand before there was:\n%s", after, before);
    network_detach(s, "sb1", &nic, "detach again");
    none = nic_new(s);
    network_detach(s, "never", &none, "detach of what was never attached");
}

/* What another sandbox has adopted is not given away. */
static void point_adopt(struct subject *s, const struct point *point)
{
    struct runner_nic nic, other;
    struct runner_error err = ERROR_INIT;

    (void)point;
    subject_renew(s);
    nic = network_attach(s, "sb1");
    subject_renew(s); /* the runner started again */
    if (network_ops(s)->adopt(s->self, fake_call(), "sb1", &nic, &err) != 0 ||
        network_ops(s)->adopt(s->self, fake_call(), "sb1", &nic, &err) != 0)
        flaw("adopt, or adopt again: %s", err.message);
    other = network_attach(s, "sb2");
    if ((nic.kind == RUNNER_NIC_TAP && strcmp(nic.name, other.name) == 0) ||
        (nic.forward_port != 0 && nic.forward_port == other.forward_port))
        flaw("what sb1 has adopted is given to sb2: '%s', port %u", other.name, other.forward_port);
}

static void check_address(const char *address, size_t size)
{
    const char *rest, *colon;
    int64_t port;

    if (!has_end(address, size))
        flaw("address() gives a text without an end");
    else if (!text_starts(address, "tcp:", &rest) || (colon = strrchr(rest, ':')) == NULL || colon == rest ||
             !num_int(colon + 1, 1, 65535, &port))
        flaw("address() gives '%s', not tcp:ip:port", address);
}

static void point_address(struct subject *s, const struct point *point)
{
    const uint32_t ports[] = {1, 22, GUEST_PORT, 65535};
    struct runner_nic nic;

    (void)point;
    subject_renew(s);
    nic = network_attach(s, "sb1");
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        struct runner_error err = ERROR_INIT;
        char address[64], small[9];

        memset(address, 'x', sizeof address);
        memset(small, 'x', sizeof small);
        if (network_ops(s)->address(s->self, &nic, ports[i], address, sizeof address, &err) == 0)
            check_address(address, sizeof address);
        else if (network_has(s, RUNNER_NETWORK_CAP_ALL_PORTS))
            flaw("caps says all ports, and port %u cannot be had: %s", ports[i], err.message);
        else if (err.code != RUNNER_E_NOTSUP)
            flaw("port %u is refused with code %s, not notsup: %s", ports[i], error_name(err.code), err.message);
        if (network_ops(s)->address(s->self, &nic, ports[i], small, sizeof small - 1, &err) == 0 &&
            !has_end(small, sizeof small - 1))
            flaw("address() gives a text without an end when there is little room");
        if (small[sizeof small - 1] != 'x')
            flaw("address() writes beyond the room that it has");
    }
}

/* ---- at once ---- */

static char *attach_at_once(struct subject *s, void *self, struct runner_call *call, size_t thread)
{
    struct str text = STR_INIT;

    for (int i = 0; i < AT_ONCE_NICS; i++) {
        auto_free char *id = mem_printf("t%zu-%d", thread, i);
        struct runner_batch *batch = fake_batch();
        struct runner_nic nic = nic_new(s);
        struct runner_error err;

        if (attach(s, self, call, batch, id, &nic, &err) != 0)
            flaw("attach on thread %zu: %s", thread, err.message);
        else
            str_addf(&text, "%s/%u\n", nic.name, nic.forward_port);
        fake_host()->batch_free(batch);
    }
    return str_steal(&text);
}

static bool has_line_of(const char *text, const char *line)
{
    size_t len = strcspn(line, "\n") + 1;

    for (; *text != '\0'; text += strcspn(text, "\n") + 1)
        if (strncmp(text, line, len) == 0)
            return true;
    return false;
}

static void point_parallel(struct subject *s, const struct point *point)
{
    char *texts[AT_ONCE];

    (void)point;
    subject_renew(s);
    plan_at_once(s, attach_at_once, texts);
    for (size_t i = 0; i < AT_ONCE && s->plugin->desc.threads == RUNNER_PARALLEL; i++)
        for (size_t other = 0; other < i; other++)
            for (const char *line = texts[i]; *line != '\0'; line += strcspn(line, "\n") + 1)
                if (has_line_of(texts[other], line))
                    flaw("at once, two sandboxes have %.*s", (int)strcspn(line, "\n"), line);
    for (size_t i = 0; i < AT_ONCE; i++)
        free(texts[i]);
}

static void add_points(struct checklist *list, const struct plugin *plugin)
{
    checklist_add(list, "attach.nic", "the nic is filled, and its interface made", point_attach_nic);
    checklist_add(list, "attach.undo", "undone, at any step and twice, nothing is left", point_attach_undo);
    checklist_add(list, "attach.again", "a sandbox that starts again has what it had", point_attach_again);
    checklist_add(list, "attach.others", "no two sandboxes have the same", point_attach_others);
    checklist_add(list, "detach.twice", "detached, nothing is left; what is absent can be", point_detach_twice);
    checklist_add(list, "adopt.kept", "what was adopted is given to nobody else", point_adopt);
    checklist_add(list, "address.form", "an address can be dialled, or is refused with NOTSUP", point_address);
    checklist_add(list, "parallel", "calls at once are what threads says", point_parallel);
    network_add_policy_points(list, plugin);
}

static const struct op ops[] = {
    GENERAL_OPS,
    {.name = "setup", .call = op_setup},
    {.name = "attach", .call = op_attach},
    {.name = "detach", .call = op_detach},
    {.name = "adopt", .call = op_adopt},
    {.name = "sweep", .call = op_sweep_network},
    {.name = "address", .call = op_address},
    {.name = "apply_policy", .call = network_op_apply_policy, .is_there = network_has_policy},
    {.name = "counters", .call = network_op_counters, .is_there = network_has_counters},
};
const struct kind kind_network = {ops, ARRAY_LEN(ops), add_points};
