/* ipam/static-pool: what it leases, refuses and takes back. No host is touched. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "core/util/error.h"
#include "include/runner-plugin.h"

const struct runner_plugin *runner_plugin_1(void);

static const struct runner_ipam_ops *ops(void)
{
    return runner_plugin_1()->ops;
}

/* "range=..", "gateway=.." ... up to a NULL. */
static int make(const char *const *settings, void **ret, struct runner_error *err)
{
    static const char *const names[] = {"range", "gateway", "exclude", "dns"};
    struct runner_value values[200];
    size_t n = 0;

    for (; settings[n] != NULL; n++) {
        const char *equals = strchr(settings[n], '=');
        cr_assert_not_null(equals);
        cr_assert_lt(n, ARRAY_LEN(values));
        values[n] = (struct runner_value){.text = equals + 1};
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            if (strncmp(settings[n], names[i], (size_t)(equals - settings[n])) == 0)
                values[n].name = names[i];
        cr_assert_not_null(values[n].name);
    }
    return runner_plugin_1()->create(values, n, ret, err);
}

static void *pool_of(const char *const *settings)
{
    struct runner_error err = ERROR_INIT;
    void *self = NULL;

    cr_assert_eq(make(settings, &self, &err), 0, "%s", err.message);
    return self;
}
#define POOL(...) pool_of((const char *const[]){__VA_ARGS__, NULL})

static void expect_lease(void *self, const char *owner, const char *address)
{
    struct runner_lease lease = {.size = sizeof lease};
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(ops()->lease(self, NULL, owner, &lease, &err), 0, "%s", err.message);
    cr_assert_str_eq(lease.address, address);
}

static void release(void *self, const char *owner)
{
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(ops()->release(self, owner, &err), 0);
}

static void expect_usage(void *self, uint64_t n_free, uint64_t total)
{
    uint64_t found_free, found_total;

    ops()->usage(self, &found_free, &found_total);
    cr_assert_eq(found_free, n_free, "%llu free", (unsigned long long)found_free);
    cr_assert_eq(found_total, total, "%llu in all", (unsigned long long)found_total);
}

static void expect_adopt(void *self, const char *owner, const char *address, int code, const char *words)
{
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(ops()->adopt(self, owner, address, &err), code == 0 ? 0 : -1);
    cr_assert_eq(err.code, code);
    cr_assert_not_null(strstr(err.message, words), "%s", err.message);
}

Test(static_pool, lease_says_it_all)
{
    void *self = POOL("range=10.0.0.2-10.0.0.254", "gateway=10.0.0.1/24");
    struct runner_lease lease = {.size = sizeof lease};
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(ops()->lease(self, NULL, "a", &lease, &err), 0);
    cr_assert_str_eq(lease.address, "10.0.0.2");
    cr_assert_str_eq(lease.gateway, "10.0.0.1");
    cr_assert_str_eq(lease.dns, "10.0.0.1");
    cr_assert_eq(lease.prefix_len, 24);
    expect_usage(self, 252, 253);
    runner_plugin_1()->destroy(self);
}

Test(static_pool, name_servers)
{
    void *two = POOL("range=10.0.0.2", "gateway=10.0.0.1/24", "dns=192.0.2.1", "dns=192.0.2.2");
    void *none = POOL("range=10.0.0.2", "gateway=10.0.0.1/24", "dns=none");
    struct runner_lease lease = {.size = sizeof lease};
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(ops()->lease(two, NULL, "a", &lease, &err), 0);
    cr_assert_str_eq(lease.dns, "192.0.2.1 192.0.2.2");
    cr_assert_eq(ops()->lease(none, NULL, "a", &lease, &err), 0);
    cr_assert_str_eq(lease.dns, "");
    runner_plugin_1()->destroy(two);
    runner_plugin_1()->destroy(none);
}

Test(static_pool, never_leases_gateway_network_broadcast_or_excluded)
{
    void *self = POOL("range=10.0.0.0-10.0.0.15", "gateway=10.0.0.1/28", "exclude=10.0.0.3-10.0.0.12",
                      "exclude=10.0.0.4", "exclude=10.9.9.9");

    expect_usage(self, 3, 3);
    expect_lease(self, "a", "10.0.0.2");
    expect_lease(self, "b", "10.0.0.13");
    expect_lease(self, "c", "10.0.0.14");
    expect_usage(self, 0, 3);
    runner_plugin_1()->destroy(self);
}

Test(static_pool, d15_same_owner_same_address)
{
    void *self = POOL("range=10.0.0.2-10.0.0.9", "gateway=10.0.0.1/24");

    expect_lease(self, "a", "10.0.0.2");
    expect_lease(self, "b", "10.0.0.3");
    expect_lease(self, "a", "10.0.0.2");
    expect_usage(self, 6, 8);
    runner_plugin_1()->destroy(self);
}

Test(static_pool, released_once_and_reused_last)
{
    void *self = POOL("range=10.0.0.2-10.0.0.3", "range=10.0.0.8", "gateway=10.0.0.1/24");

    expect_lease(self, "a", "10.0.0.2");
    release(self, "a");
    release(self, "a");
    release(self, "nobody");
    expect_usage(self, 3, 3);
    expect_lease(self, "b", "10.0.0.3");
    expect_lease(self, "c", "10.0.0.8");
    expect_lease(self, "d", "10.0.0.2");
    expect_usage(self, 0, 3);
    runner_plugin_1()->destroy(self);
}

Test(static_pool, d15_exhaustion_tells_the_numbers)
{
    void *self = POOL("range=10.0.0.1-10.0.0.3", "gateway=10.0.0.1/24");
    struct runner_lease lease = {.size = sizeof lease};
    struct runner_error err = ERROR_INIT;

    expect_lease(self, "a", "10.0.0.2");
    expect_lease(self, "b", "10.0.0.3");
    cr_assert_eq(ops()->lease(self, NULL, "c", &lease, &err), -1);
    cr_assert_eq(err.code, RUNNER_E_NOSPACE);
    cr_assert_eq(err.retry, 1);
    cr_assert_str_eq(err.message, "address pool exhausted: 2 of 2 addresses in use, 1 more excluded");
    release(self, "a");
    expect_lease(self, "c", "10.0.0.2");
    runner_plugin_1()->destroy(self);
}

Test(static_pool, adopt)
{
    void *self = POOL("range=10.0.0.2-10.0.0.9", "gateway=10.0.0.1/24", "exclude=10.0.0.9");

    expect_adopt(self, "a", "10.0.0.3", 0, "");
    expect_adopt(self, "a", "10.0.0.3", 0, "");
    expect_adopt(self, "b", "10.0.0.3", RUNNER_E_EXISTS, "held by 'a'");
    expect_adopt(self, "a", "10.0.0.4", RUNNER_E_EXISTS, "holds 10.0.0.3");
    expect_adopt(self, "c", "10.0.0.9", RUNNER_E_INVALID, "excluded");
    expect_adopt(self, "c", "10.0.0.10", RUNNER_E_INVALID, "outside");
    expect_adopt(self, "c", "10.0.0", RUNNER_E_INVALID, "not an IPv4 address");
    expect_adopt(self, "c", "", RUNNER_E_INVALID, "not an IPv4 address");
    expect_usage(self, 6, 7);
    expect_lease(self, "a", "10.0.0.3");
    expect_lease(self, "d", "10.0.0.2");
    expect_lease(self, "e", "10.0.0.4"); /* 10.0.0.3 left the queue */
    release(self, "a");
    expect_usage(self, 5, 7);
    runner_plugin_1()->destroy(self);
}

Test(static_pool, refuses_settings)
{
    static const struct {
        const char *settings[4];
        const char *words;
    } cases[] = {
        {{"range=10.0.0.2"}, "gateway: missing"},
        {{"gateway=10.0.0.1/24"}, "no address is left"},
        {{"gateway=10.0.0.1/24", "range=10.0.0.1"}, "no address is left"},
        {{"gateway=10.0.0.1", "range=10.0.0.2"}, "gateway: '10.0.0.1'"},
        {{"gateway=10.0.0.1/7", "range=10.0.0.2"}, "/8 to /30"},
        {{"gateway=10.0.0.1/31", "range=10.0.0.2"}, "/8 to /30"},
        {{"gateway=10.0.0.1/024x", "range=10.0.0.2"}, "gateway: '10.0.0.1/024x'"},
        {{"gateway=10.0.0.0/24", "range=10.0.0.2"}, "network's own"},
        {{"gateway=10.0.0.255/24", "range=10.0.0.2"}, "broadcast"},
        {{"gateway=10.0.0.1/24", "range=10.0.1.2"}, "not within the gateway's network 10.0.0.0-10.0.0.255"},
        {{"gateway=10.0.0.1/24", "range=10.0.0.9-10.0.0.2"}, "ends before it starts"},
        {{"gateway=10.0.0.1/24", "range=10.0.0.2-"}, "range: '10.0.0.2-' is neither"},
        {{"gateway=10.0.0.1/24", "range=10.0.0.2-10.0.0.3-10.0.0.4"}, "neither"},
        {{"gateway=10.0.0.1/24", "range=10.0.0.2-10.0.0.5", "range=10.0.0.5-10.0.0.9"},
         "range: '10.0.0.5-10.0.0.9': overlaps the range 10.0.0.2-10.0.0.5"},
        {{"gateway=10.0.0.1/8", "range=10.0.0.2-10.200.0.0"}, "more than 65536 addresses"},
        {{"gateway=10.0.0.1/24", "range=10.0.0.2", "exclude=x"}, "exclude: 'x'"},
        {{"gateway=10.0.0.1/24", "range=10.0.0.2", "dns=example.org"}, "dns: 'example.org'"},
        {{"gateway=10.0.0.1/24", "range=10.0.0.2", "range="}, "range: ''"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *settings[5] = {NULL};
        struct runner_error err = ERROR_INIT;
        void *self = NULL;
        memcpy(settings, cases[i].settings, sizeof cases[i].settings);
        cr_assert_eq(make(settings, &self, &err), -1, "case %zu", i);
        cr_assert_eq(err.code, RUNNER_E_INVALID);
        cr_assert_not_null(strstr(err.message, cases[i].words), "case %zu: %s", i, err.message);
        cr_assert_null(self);
    }
}

Test(static_pool, d15_a_whole_16_network)
{
    void *self = POOL("range=10.1.0.0-10.1.255.255", "gateway=10.1.0.1/16");
    struct runner_lease lease = {.size = sizeof lease};
    struct runner_error err = ERROR_INIT;
    char owner[16];

    expect_usage(self, 65533, 65533);
    for (int i = 0; i < 65533; i++) {
        (void)snprintf(owner, sizeof owner, "o%d", i);
        cr_assert_eq(ops()->lease(self, NULL, owner, &lease, &err), 0);
    }
    cr_assert_str_eq(lease.address, "10.1.255.254");
    cr_assert_eq(ops()->lease(self, NULL, "late", &lease, &err), -1);
    release(self, "o40000");
    expect_usage(self, 1, 65533);
    expect_lease(self, "late", "10.1.156.66"); /* 2 + 40000 */
    runner_plugin_1()->destroy(self);
}

/* ---- many threads: no address is ever held twice ---- */

enum { THREADS = 4, ROUNDS = 20000, ADDRESSES = 16 };

struct crowd {
    void *self;
    int id;
    atomic_int *holders; /* per address */
    atomic_int *clashes;
};

static void *crowd_run(void *arg)
{
    struct crowd *crowd = arg;
    struct runner_error err = ERROR_INIT;
    char owner[32];

    for (int i = 0; i < ROUNDS; i++) {
        struct runner_lease lease = {.size = sizeof lease};
        int last;
        (void)snprintf(owner, sizeof owner, "t%d-%d", crowd->id, i % 3);
        if (ops()->lease(crowd->self, NULL, owner, &lease, &err) < 0) {
            (*crowd->clashes)++;
            break;
        }
        last = atoi(strrchr(lease.address, '.') + 1);
        if (atomic_fetch_add(&crowd->holders[last], 1) != 0)
            (*crowd->clashes)++;
        atomic_fetch_sub(&crowd->holders[last], 1);
        (void)ops()->release(crowd->self, owner, &err);
    }
    return NULL;
}

Test(static_pool, threads)
{
    void *self = POOL("range=10.0.0.2-10.0.0.17", "gateway=10.0.0.1/24");
    atomic_int holders[256] = {0}, clashes = 0;
    struct crowd crowds[THREADS];
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++) {
        crowds[i] = (struct crowd){self, i, holders, &clashes};
        cr_assert_eq(pthread_create(&threads[i], NULL, crowd_run, &crowds[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(clashes, 0);
    expect_usage(self, ADDRESSES, ADDRESSES);
    runner_plugin_1()->destroy(self);
}
