/* A runner's way of using network/bridge, for tests in other languages: a command a line on standard input, a line of
 * answer each ("ok ..." or "error CODE ..."). It may be killed at any moment, as a runner may.
 *
 *   setup | check | attach ID MAC ADDRESS [NAME] | detach ID | policy ID FLAGS [CIDR...] [DOMAIN...] | adopt ID NAME MAC ADDRESS
 *   rate ID TX RX (bytes a second, open) | lack WORD | sweep ID... | sweep all | counters ID | change N ID CIDR CIDR | block N ID CIDR
 *   first N CIDR | come-and-go N | fill N | dial ID
 *
 * FLAGS: the sum of RUNNER_POLICY_*. change: N policies, one CIDR and the other in turn. block: N times blocked, and with a
 * list again. first: the first list of N sandboxes, one after another. come-and-go: N sandboxes, one after another, attached and
 * detached. fill: N more that stay, each with a list of its own. Those answer with microseconds: p50 p99 max. dial: the number of a queue of its TAP, which
 * stays open. Arguments: key=value, parameters of the plugin; with netns=true TAPs are dialled. Environment:
 * NETWORK_DRIVER_ROOT, the host's root. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "core/util/num.h"
#include "core/util/str.h"
#include "kit/fake/host.h"
#include "t/run/plugin-host.h"

#define BOXES_MAX 2200
#define WORDS_MAX 64

struct box {
    char id[64];
    struct runner_nic nic;
};

static const struct runner_network_ops *ops;
static void *self;
static struct runner_error err = ERROR_INIT;
static struct box boxes[BOXES_MAX];
static size_t n_boxes;
static bool is_dialling;

static struct box *find(const char *id)
{
    for (size_t i = 0; i < n_boxes; i++)
        if (strcmp(boxes[i].id, id) == 0)
            return &boxes[i];
    return NULL;
}

static struct box *add_box(const char *id, const char *mac, const char *address, const char *name)
{
    struct box *b = find(id);

    if (b == NULL && n_boxes == BOXES_MAX)
        return NULL;
    if (b == NULL)
        b = &boxes[n_boxes++];
    memset(b, 0, sizeof *b);
    (void)snprintf(b->id, sizeof b->id, "%s", id);
    b->nic = (struct runner_nic){.size = sizeof b->nic, .prefix_len = 16, .is_dialled = is_dialling};
    (void)snprintf(b->nic.mac, sizeof b->nic.mac, "%s", mac);
    (void)snprintf(b->nic.address, sizeof b->nic.address, "%s", address);
    (void)snprintf(b->nic.name, sizeof b->nic.name, "%s", name);
    return b;
}

static struct runner_batch *batch_new(void)
{
    error_clear(&err);
    return host_table()->batch_new(NULL);
}

static int batch_end(struct runner_batch *batch, int planned)
{
    int r = planned < 0 ? -1 : host_run_batch(batch, &err);

    host_table()->batch_free(batch);
    return r;
}

/* ---- a kernel that lacks something -------------------------------------------------------------------------------- */

static char lacked[16];
static int (*add_step)(struct runner_batch *, const struct runner_step *, struct runner_error *);

static int add_lacking(struct runner_batch *batch, const struct runner_step *step, struct runner_error *e)
{
    auto_free char *data = NULL;
    struct runner_step changed = *step;
    char *at;

    if (step->kind == RUNNER_NETLINK && step->number == 0) {
        data = mem_dup_n(step->data, step->len);
        changed.data = data;
        while ((at = memmem(data, step->len, lacked, strlen(lacked) + 1)) != NULL)
            *at = 'x';
    }
    return add_step(batch, &changed, e);
}

static int lack(const char *word)
{
    (void)snprintf(lacked, sizeof lacked, "%s", word);
    if (add_step == NULL) {
        add_step = host_table()->add;
        host_table()->add = add_lacking;
    }
    return 0;
}

/* ---- commands --------------------------------------------------------------------------------------------------- */

static int apply(struct box *b, uint32_t flags, const char *const *cidrs, uint32_t n)
{
    struct runner_batch *batch = batch_new();
    struct runner_policy policy = {.size = sizeof policy, .flags = flags, .cidrs = cidrs};

    while (policy.n_cidrs < n && strpbrk(cidrs[policy.n_cidrs], "abcdefghijklmnopqrstuvwxyz*") == NULL)
        policy.n_cidrs++;
    policy.domains = cidrs + policy.n_cidrs;
    policy.n_domains = n - policy.n_cidrs;

    return batch_end(batch, ops->apply_policy(self, host_call(-1, -1), batch, b->id, &b->nic, &policy, &err));
}

static int set_rate(struct box *b, uint64_t tx, uint64_t rx)
{
    struct runner_batch *batch = batch_new();
    const struct runner_policy policy = {.size = sizeof policy, .tx_bytes_per_s = tx, .rx_bytes_per_s = rx};

    return batch_end(batch, ops->apply_policy(self, host_call(-1, -1), batch, b->id, &b->nic, &policy, &err));
}

/* Closed: without a policy. */
static int attach(struct box *b)
{
    struct runner_batch *batch = batch_new();

    return batch_end(batch, ops->attach(self, host_call(-1, -1), batch, b->id, &b->nic, &err));
}

static int dial(const struct box *b)
{
    auto_free char *address = mem_printf("tap:%s", b->nic.name);
    int fd;

    error_clear(&err);
    if (host_table()->dial(host_call(-1, -1), address, &fd, &err) < 0)
        return -1;
    printf("ok %d\n", fd);
    return 1;
}

static int detach(struct box *b)
{
    struct runner_batch *batch = batch_new();

    if (batch_end(batch, ops->detach(self, host_call(-1, -1), batch, b->id, &b->nic, &err)) < 0)
        return -1;
    return ops->release(self, b->id, &err);
}

/* What is wrong, as words; none: all is well. */
static int check(const struct runner_plugin *network)
{
    error_clear(&err);
    if (network->check(self, host_call(-1, -1), &err) == 0)
        printf("ok\n");
    else
        printf("ok %s\n", err.message);
    return 1;
}

static int sweep(char **ids, size_t n)
{
    const struct runner_nic *owned[BOXES_MAX];
    size_t n_owned = 0;

    for (size_t i = 0; n == 1 && strcmp(ids[0], "all") == 0 && i < n_boxes; i++)
        owned[n_owned++] = &boxes[i].nic;
    for (size_t i = 0; i < n; i++)
        if (find(ids[i]) != NULL)
            owned[n_owned++] = &find(ids[i])->nic;
    error_clear(&err);
    return ops->sweep(self, host_call(-1, -1), owned, n_owned, &err);
}

static int tell_counters(const struct box *b)
{
    const struct runner_nic *nic = &b->nic;
    struct runner_nic_counters c = {.size = sizeof c};

    error_clear(&err);
    if (ops->counters(self, host_call(-1, -1), &nic, 1, &c, &err) < 0)
        return -1;
    printf("ok %llu %llu %llu %llu %llu\n", (unsigned long long)c.rx_packets, (unsigned long long)c.rx_bytes,
           (unsigned long long)c.tx_packets, (unsigned long long)c.tx_bytes, (unsigned long long)c.refused_packets);
    return 1;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static int tell_times(int64_t *us, size_t n)
{
    qsort(us, n, sizeof *us, compare);
    printf("ok %lld %lld %lld\n", (long long)us[n / 2], (long long)us[n * 99 / 100], (long long)us[n - 1]);
    return 1;
}

static int change(size_t n, struct box *b, const char *one, const char *other)
{
    int64_t *us = mem_array(n, sizeof *us);
    int r = 0;

    for (size_t i = 0; i < n && r >= 0; i++) {
        int64_t start = num_now_us();

        r = apply(b, RUNNER_POLICY_LISTED, i % 2 == 0 ? &one : &other, 1);
        us[i] = num_now_us() - start;
    }
    r = r < 0 ? r : tell_times(us, n);
    free(us);
    return r;
}

static int block(size_t n, struct box *b, const char *cidr)
{
    int64_t *us = mem_array(2 * n, sizeof *us);
    int r = apply(b, RUNNER_POLICY_LISTED, &cidr, 1);

    for (size_t i = 0; i < 2 * n && r >= 0; i++) {
        int64_t start = num_now_us();

        r = i % 2 == 0 ? apply(b, RUNNER_POLICY_BLOCK, NULL, 0) : apply(b, RUNNER_POLICY_LISTED, &cidr, 1);
        us[i] = num_now_us() - start;
    }
    r = r < 0 ? r : tell_times(us, 2 * n);
    free(us);
    return r;
}

static struct box *numbered(size_t i)
{
    auto_free char *id = mem_printf("n%zu", i), *mac = mem_printf("02:00:00:01:%02zx:%02zx", i / 256, i % 256);
    auto_free char *address = mem_printf("10.0.%zu.%zu", 100 + i / 250, i % 250 + 1);

    return add_box(id, mac, address, "");
}

static int come_and_go(size_t n)
{
    int64_t *us = mem_array(n, sizeof *us);
    int r = 0;

    for (size_t i = 0; i < n && r >= 0; i++) {
        struct box *b = numbered(0);
        int64_t start = num_now_us();

        if (b == NULL || attach(b) < 0 || apply(b, 0, NULL, 0) < 0 || detach(b) < 0)
            r = -1;
        us[i] = num_now_us() - start;
    }
    r = r < 0 ? r : tell_times(us, n);
    free(us);
    return r;
}

static int first(size_t n, const char *cidr)
{
    int64_t *us = mem_array(n, sizeof *us);
    int r = 0;

    for (size_t i = 0; i < n && r >= 0; i++) {
        struct box *b = numbered(0);
        int64_t start;

        r = b == NULL ? -1 : attach(b);
        start = num_now_us();
        r = r < 0 ? r : apply(b, RUNNER_POLICY_LISTED, &cidr, 1);
        us[i] = num_now_us() - start;
        r = r < 0 ? r : detach(b);
    }
    r = r < 0 ? r : tell_times(us, n);
    free(us);
    return r;
}

static int fill(size_t n)
{
    static const char *const cidrs[] = {"192.0.2.0/28", "198.51.100.0/24", "203.0.113.0/25"};
    static size_t n_filled;
    int64_t *us = mem_array(n, sizeof *us);
    int r = 0;

    for (size_t i = 0; i < n && r >= 0; i++) {
        struct box *b = numbered(++n_filled);
        int64_t start = num_now_us();

        if (b == NULL || attach(b) < 0 || apply(b, RUNNER_POLICY_LISTED, cidrs, ARRAY_LEN(cidrs)) < 0)
            r = -1;
        us[i] = num_now_us() - start;
    }
    r = r < 0 ? r : tell_times(us, n);
    free(us);
    return r;
}

/* 0: done; 1: it has answered; -1: err says why not. */
static int command(const struct runner_plugin *network, char **word, size_t n)
{
    struct box *b = n > 1 ? find(word[1]) : NULL;
    int64_t number = 0;

    if (n > 1)
        (void)num_int(word[1], 1, 1000000, &number);
    if (strcmp(word[0], "setup") == 0)
        return ops->setup(self, host_call(-1, -1), &err);
    if (strcmp(word[0], "check") == 0)
        return check(network);
    if (strcmp(word[0], "attach") == 0 && n >= 4 &&
        (b = add_box(word[1], word[2], word[3], n > 4 ? word[4] : "")) != NULL) {
        if (attach(b) < 0)
            return -1;
        printf("ok %s\n", b->nic.name);
        return 1;
    }
    if (strcmp(word[0], "adopt") == 0 && n == 5 && (b = add_box(word[1], word[3], word[4], word[2])) != NULL) {
        b->nic.kind = RUNNER_NIC_TAP;
        if (is_dialling) {
            (void)snprintf(b->nic.guest_mac, sizeof b->nic.guest_mac, "02:00:c0:00:00:02");
            (void)snprintf(b->nic.guest_address, sizeof b->nic.guest_address, "192.0.0.2");
            (void)snprintf(b->nic.guest_gateway, sizeof b->nic.guest_gateway, "192.0.0.1");
        }
        return ops->adopt(self, host_call(-1, -1), b->id, &b->nic, &err);
    }
    if (strcmp(word[0], "sweep") == 0)
        return sweep(word + 1, n - 1);
    if (strcmp(word[0], "detach") == 0 && b != NULL)
        return detach(b);
    if (strcmp(word[0], "dial") == 0 && b != NULL)
        return dial(b);
    if (strcmp(word[0], "policy") == 0 && n >= 3 && b != NULL)
        return apply(b, (uint32_t)strtoul(word[2], NULL, 10), (const char *const *)word + 3, (uint32_t)n - 3);
    if (strcmp(word[0], "rate") == 0 && n == 4 && b != NULL)
        return set_rate(b, strtoull(word[2], NULL, 10), strtoull(word[3], NULL, 10));
    if (strcmp(word[0], "lack") == 0 && n == 2)
        return lack(word[1]);
    if (strcmp(word[0], "counters") == 0 && b != NULL)
        return tell_counters(b);
    if (strcmp(word[0], "change") == 0 && n == 5 && number > 0 && find(word[2]) != NULL)
        return change((size_t)number, find(word[2]), word[3], word[4]);
    if (strcmp(word[0], "block") == 0 && n == 4 && number > 0 && find(word[2]) != NULL)
        return block((size_t)number, find(word[2]), word[3]);
    if (strcmp(word[0], "first") == 0 && n == 3 && number > 0)
        return first((size_t)number, word[2]);
    if (strcmp(word[0], "come-and-go") == 0 && number > 0)
        return come_and_go((size_t)number);
    if (strcmp(word[0], "fill") == 0 && number > 0)
        return fill((size_t)number);
    return fail(&err, RUNNER_E_INVALID, 0, "no such command: %s", word[0]);
}

int main(int argc, char **argv)
{
    const struct runner_plugin *local = host_load("transport/local"), *network = host_load("network/bridge");
    void *transport = host_create(local, NULL);
    const char *root = getenv("NETWORK_DRIVER_ROOT");
    char *key[4] = {NULL}, *value[4] = {NULL}, line[4096];

    for (int i = 1; i < argc && i <= 4; i++) {
        key[i - 1] = mem_dup_n(argv[i], strcspn(argv[i], "="));
        value[i - 1] = argv[i] + strcspn(argv[i], "=") + 1;
        is_dialling |= strcmp(argv[i], "netns=true") == 0;
    }
    if (root != NULL)
        fake_host_root(root);
    host_transport(local, transport);
    ops = network->ops;
    self = host_create(network, "address", "10.0.0.1/16", "pool", "64", key[0], value[0], key[1], value[1], key[2],
                       value[2], key[3], value[3], NULL);
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *words[WORDS_MAX], *rest = NULL;
        size_t n = 0;
        int r;

        for (char *w = strtok_r(line, " \n", &rest); w != NULL && n < WORDS_MAX; w = strtok_r(NULL, " \n", &rest))
            words[n++] = w;
        r = n > 0 ? command(network, words, n) : 0;
        if (r < 0)
            printf("error %s %s\n", error_name(err.code), err.message);
        else if (r == 0)
            printf("ok\n");
        fflush(stdout);
    }
    network->destroy(self);
    local->destroy(transport);
    for (int i = 0; i < 4; i++)
        free(key[i]);
    return 0;
}
