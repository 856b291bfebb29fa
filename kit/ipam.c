/* Addresses: what lease, adopt, release and usage promise. */
#include <arpa/inet.h>
#include <string.h>

#include "kit/general.h"
#include "kit/guard.h"
#include "kit/plan.h"

enum { LEASES_MAX = 4096, AT_ONCE_LEASES = 40 };

static const struct runner_ipam_ops *ops_of(const struct subject *s)
{
    return s->plugin->desc.ops;
}

/* ---- operations ---- */

static void op_lease(struct subject *s, struct trial *t)
{
    struct runner_lease none = {.prefix_len = 0}, lease = {.size = 0};
    struct runner_lease *ret;

    guard_reset();
    ret = guard_put(t->layout, &none, sizeof none, sizeof none);
    TRY(t, ops_of(s)->lease(s->self, fake_call(), "sb1", ret, &t->err));
    if (!guard_take(ret, &lease, sizeof lease))
        flaw("lease writes beyond what it knows");
    if (t->status == 0 && ops_of(s)->release(s->self, "sb1", &t->err) != 0)
        flaw("release: %s", t->err.message);
}

static int lease_for(struct subject *s, void *self, struct runner_call *call, const char *owner,
                     struct runner_lease *ret, struct runner_error *err)
{
    *ret = (struct runner_lease){.size = sizeof *ret};
    *err = (struct runner_error)ERROR_INIT;
    return ops_of(s)->lease(self, call, owner, ret, err);
}

/* An address that the plugin gives, free again. Ends the process when there is none. */
static void some_address(struct subject *s, struct runner_lease *ret)
{
    struct runner_error err;

    if (lease_for(s, s->self, fake_call(), "first", ret, &err) != 0)
        stop_point("lease: %s", err.message);
    if (ops_of(s)->release(s->self, "first", &err) != 0)
        stop_point("release: %s", err.message);
}

/* One that a new instance does not give first, unless there is no other. */
static void second_address(struct subject *s, struct runner_lease *ret)
{
    struct runner_error err;

    if (lease_for(s, s->self, fake_call(), "first", ret, &err) != 0)
        stop_point("lease: %s", err.message);
    (void)lease_for(s, s->self, fake_call(), "second", ret, &err);
    if (ret->address[0] == '\0')
        (void)lease_for(s, s->self, fake_call(), "first", ret, &err);
}

static void op_adopt(struct subject *s, struct trial *t)
{
    struct runner_lease lease;

    some_address(s, &lease);
    TRY(t, ops_of(s)->adopt(s->self, "sb1", lease.address, &t->err));
}

static void op_adopt_other(struct subject *s, struct trial *t)
{
    struct runner_lease lease;
    struct runner_error err;

    if (lease_for(s, s->self, fake_call(), "other", &lease, &err) != 0)
        stop_point("lease: %s", err.message);
    TRY(t, ops_of(s)->adopt(s->self, "sb1", lease.address, &t->err));
}

static void op_adopt_nonsense(struct subject *s, struct trial *t)
{
    TRY(t, ops_of(s)->adopt(s->self, "sb1", "not-an-address", &t->err));
}

static void op_release(struct subject *s, struct trial *t)
{
    TRY(t, ops_of(s)->release(s->self, "nobody", &t->err));
}

/* ---- leases ---- */

static bool is_text(const char *text, size_t size, bool may_be_empty)
{
    return memchr(text, '\0', size) != NULL && (may_be_empty || text[0] != '\0');
}

static void check_lease(const struct runner_lease *lease)
{
    unsigned char address[sizeof(struct in6_addr)];

    if (!is_text(lease->address, sizeof lease->address, false) ||
        !is_text(lease->gateway, sizeof lease->gateway, false) || !is_text(lease->dns, sizeof lease->dns, true)) {
        flaw("address, gateway or dns has no end, or is empty");
        return;
    }
    if (inet_pton(AF_INET, lease->address, address) != 1 && inet_pton(AF_INET6, lease->address, address) != 1)
        flaw("'%s' is no address", lease->address);
    if (inet_pton(AF_INET, lease->gateway, address) != 1 && inet_pton(AF_INET6, lease->gateway, address) != 1)
        flaw("'%s' is no gateway", lease->gateway);
    if (strcmp(lease->address, lease->gateway) == 0)
        flaw("'%s' is the gateway's own address", lease->address);
    if (lease->prefix_len < 1 || lease->prefix_len > 128)
        flaw("a prefix of %u bits", lease->prefix_len);
    if (lease->size != sizeof *lease)
        flaw("lease changes the size");
}

static void point_same(struct subject *s, const struct point *point)
{
    struct runner_lease first, again, other;
    struct runner_error err;

    (void)point;
    subject_renew(s);
    if (lease_for(s, s->self, fake_call(), "sb1", &first, &err) != 0)
        stop_point("lease: %s", err.message);
    check_lease(&first);
    if (lease_for(s, s->self, fake_call(), "sb1", &again, &err) != 0)
        stop_point("lease again: %s", err.message);
    if (strcmp(first.address, again.address) != 0)
        flaw("the same owner has %s first and then %s", first.address, again.address);
    if (lease_for(s, s->self, fake_call(), "sb2", &other, &err) == 0 && strcmp(first.address, other.address) == 0)
        flaw("two owners have %s", first.address);
}

static int64_t count_free(struct subject *s, uint64_t *ret_total)
{
    uint64_t n_free = UINT64_MAX;

    *ret_total = UINT64_MAX;
    ops_of(s)->usage(s->self, &n_free, ret_total);
    if (n_free == UINT64_MAX || *ret_total == UINT64_MAX || n_free > *ret_total)
        flaw("usage says %llu free of %llu", (unsigned long long)n_free, (unsigned long long)*ret_total);
    return (int64_t)n_free;
}

/* Leases all there are: the next is NOSPACE, and released ones can be had again. */
static void point_exhausted(struct subject *s, const struct point *point)
{
    struct runner_lease lease;
    struct runner_error err;
    uint64_t total;
    int64_t n;

    (void)point;
    subject_renew(s);
    n = count_free(s, &total);
    if (total > LEASES_MAX)
        skip_point("it has %llu addresses: give it at most %d by KEY=VALUE", (unsigned long long)total, LEASES_MAX);
    for (int64_t i = 0; i < n; i++) {
        auto_free char *owner = mem_printf("owner-%lld", (long long)i);
        if (lease_for(s, s->self, fake_call(), owner, &lease, &err) != 0)
            stop_point("lease number %lld of %lld: %s", (long long)i + 1, (long long)n, err.message);
    }
    if (count_free(s, &total) != 0)
        flaw("all is leased, and usage says that something is free");
    if (lease_for(s, s->self, fake_call(), "one-more", &lease, &err) == 0)
        flaw("one more than there are is leased: %s", lease.address);
    else if (err.code != RUNNER_E_NOSPACE || strpbrk(err.message, "0123456789") == NULL)
        flaw("exhausted it says code %s: '%s', not nospace with the numbers", error_name(err.code), err.message);
    if (ops_of(s)->release(s->self, "owner-0", &err) != 0 || count_free(s, &total) != 1 ||
        lease_for(s, s->self, fake_call(), "one-more", &lease, &err) != 0)
        flaw("what is released cannot be leased again");
}

static void point_adopt(struct subject *s, const struct point *point)
{
    struct runner_lease lease, again;
    struct runner_error err = ERROR_INIT;

    (void)point;
    subject_renew(s);
    second_address(s, &lease);
    subject_renew(s); /* the runner started again */
    if (ops_of(s)->adopt(s->self, "sb1", lease.address, &err) != 0 ||
        ops_of(s)->adopt(s->self, "sb1", lease.address, &err) != 0)
        flaw("adopt, or adopt again: %s", err.message);
    if (lease_for(s, s->self, fake_call(), "sb1", &again, &err) != 0 || strcmp(again.address, lease.address) != 0)
        flaw("who adopted %s leases %s", lease.address, again.address);
    if (ops_of(s)->adopt(s->self, "sb2", lease.address, &err) == 0)
        flaw("two owners have adopted %s", lease.address);
    if (ops_of(s)->release(s->self, "sb1", &err) != 0 || ops_of(s)->release(s->self, "sb1", &err) != 0)
        flaw("release, or release again: %s", err.message);
    if (ops_of(s)->adopt(s->self, "sb2", lease.address, &err) != 0)
        flaw("what was released cannot be adopted: %s", err.message);
}

/* ---- at once ---- */

/* Leases of this thread's own owners, some released and leased again; the addresses that are held at the end. */
static char *lease_at_once(struct subject *s, void *self, struct runner_call *call, size_t thread)
{
    struct str text = STR_INIT;

    for (int i = 0; i < AT_ONCE_LEASES; i++) {
        auto_free char *owner = mem_printf("t%zu-%d", thread, i);
        struct runner_lease lease;
        struct runner_error err;

        if (lease_for(s, self, call, owner, &lease, &err) != 0)
            break; /* exhausted, it may be: that has a point of its own */
        if (i % 3 == 2 && ops_of(s)->release(self, owner, &err) != 0)
            flaw("release on thread %zu: %s", thread, err.message);
        if (i % 3 != 2)
            str_addf(&text, "%s\n", lease.address);
    }
    return str_steal(&text);
}

static bool has_line(const char *text, const char *line, size_t len)
{
    for (; *text != '\0'; text += strcspn(text, "\n") + 1)
        if (strncmp(text, line, len) == 0 && text[len] == '\n')
            return true;
    return false;
}

static void check_apart(const char *mine, char *const others[], size_t n)
{
    for (size_t other = 0; other < n; other++)
        for (const char *line = mine; *line != '\0'; line += strcspn(line, "\n") + 1)
            if (has_line(others[other], line, strcspn(line, "\n")))
                flaw("at once, two owners have %.*s", (int)strcspn(line, "\n"), line);
}

static void point_parallel(struct subject *s, const struct point *point)
{
    char *texts[AT_ONCE];
    int64_t before, held = 0;
    uint64_t total;

    (void)point;
    subject_renew(s);
    before = count_free(s, &total);
    plan_at_once(s, lease_at_once, texts);
    for (size_t i = 0; i < AT_ONCE; i++) {
        if (s->plugin->desc.threads == RUNNER_PARALLEL)
            check_apart(texts[i], texts, i);
        for (const char *p = texts[i]; (p = strchr(p, '\n')) != NULL; p++)
            held++;
    }
    if (s->plugin->desc.threads == RUNNER_PARALLEL && count_free(s, &total) != before - held)
        flaw("%lld addresses are held, and usage says %lld free of %lld before", (long long)held,
             (long long)count_free(s, &total), (long long)before);
    for (size_t i = 0; i < AT_ONCE; i++)
        free(texts[i]);
}

static void add_points(struct checklist *list, const struct plugin *plugin)
{
    (void)plugin;
    checklist_add(list, "lease.same", "an owner has one address, and no other owner has it", point_same);
    checklist_add(list, "lease.exhausted", "exhausted is NOSPACE with the numbers, and usage counts", point_exhausted);
    checklist_add(list, "adopt.kept", "adopted is as good as leased; released can be adopted", point_adopt);
    checklist_add(list, "parallel", "calls at once are what threads says", point_parallel);
}

static const struct op ops[] = {
    GENERAL_OPS,
    {.name = "lease", .flags = OP_ALONE, .call = op_lease},
    {.name = "adopt", .flags = OP_ALONE, .call = op_adopt},
    {.name = "adopt-others", .call = op_adopt_other, .refuses = RUNNER_E_EXISTS},
    {.name = "adopt-nonsense", .call = op_adopt_nonsense, .refuses = RUNNER_E_INVALID},
    {.name = "release", .flags = OP_ALONE, .call = op_release},
};
const struct kind kind_ipam = {ops, ARRAY_LEN(ops), add_points};
