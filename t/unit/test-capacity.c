/* The sums by which sandboxes are admitted (D26): the arithmetic, and that they are those of the sandboxes in the index. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "core/sandbox.h"
#include "core/util/error.h"

#define MIB (INT64_C(1) << 20)
#define GIB (INT64_C(1) << 30)

static const struct amounts small_host = {{[RESOURCE_CPUS] = 2, [RESOURCE_MEMORY] = 4 * GIB, [RESOURCE_DISK] = 20 * GIB}};

static struct config_capacity settings;
static struct config_host host_config;
static struct host host;
static struct index *sandboxes;

static void setup(void)
{
    settings = (struct config_capacity){.cpu_overcommit = 8000,
                                        .memory_overcommit = 1000,
                                        .memory_reserve = 512 * MIB,
                                        .disk_overcommit = 5000,
                                        .disk_reserve = GIB};
    host = (struct host){.config = &host_config, .capacity = {.host = "h", .settings = &settings}};
    capacity_learn(&host.capacity, &small_host);
    sandboxes = index_new();
}

static void teardown(void)
{
    index_free(sandboxes);
}

TestSuite(d26_capacity, .init = setup, .fini = teardown);

static struct amounts wants(int64_t cpus, int64_t memory, int64_t disk)
{
    return (struct amounts){
        {[RESOURCE_SANDBOXES] = 1, [RESOURCE_CPUS] = cpus, [RESOURCE_MEMORY] = memory, [RESOURCE_DISK] = disk}};
}

static int take(int64_t cpus, int64_t memory, int64_t disk, struct runner_error *err)
{
    const struct amounts wanted = wants(cpus, memory, disk);

    return capacity_take(&host.capacity, &wanted, err);
}

Test(d26_capacity, limits_of_a_small_host_by_default)
{
    cr_expect_eq(capacity_limit(&host.capacity, RESOURCE_SANDBOXES), CAPACITY_UNLIMITED);
    cr_expect_eq(capacity_limit(&host.capacity, RESOURCE_CPUS), 16);
    cr_expect_eq(capacity_limit(&host.capacity, RESOURCE_MEMORY), 3584 * MIB);
    cr_expect_eq(capacity_limit(&host.capacity, RESOURCE_DISK), 95 * GIB);
    for (int i = 0; i < 3; i++) /* what quickstart asks for */
        cr_expect_eq(take(1, GIB, 10 * GIB, NULL), 0);
    cr_expect_eq(take(1, GIB, 10 * GIB, NULL), -1);
}

/* Exactly what there is can be had, and not one more of it; what is short of anything takes nothing. */
Test(d26_capacity, edges)
{
    struct amounts before;

    cr_expect_eq(take(16, 3584 * MIB, 95 * GIB, NULL), 0);
    before = host.capacity.allocated;
    cr_expect_eq(take(1, 0, 0, NULL), -1);
    cr_expect_eq(take(0, 1, 0, NULL), -1);
    cr_expect_eq(take(0, 0, 1, NULL), -1);
    cr_expect_eq(memcmp(&before, &host.capacity.allocated, sizeof before), 0);
    cr_expect_eq(take(0, 0, 0, NULL), 0, "what wants nothing of what is used up");
    capacity_give_back(&host.capacity, &before);
    cr_expect_eq(capacity_free(&host.capacity, RESOURCE_CPUS), 16);
    cr_expect_eq(take(16, 3584 * MIB, 95 * GIB, NULL), 0);
}

Test(d26_capacity, factors)
{
    static const struct {
        int64_t has, reserve, factor, limit;
    } cases[] = {
        {3, 0, 1500, 4}, /* rounded down */
        {1, 0, 999, 0},
        {1000, 999, 1000, 1},
        {1000, 1000, 1000, 0},
        {1000, 1001, 1000000, 0},
        {1999, 0, 1, 1},
        {1000, 0, 0, CAPACITY_UNLIMITED},
        {0, 0, 1000, CAPACITY_UNLIMITED}, /* not known */
        {INT64_MAX, 0, 1000000, CAPACITY_UNLIMITED - 1},
        {INT64_MAX, 0, 1000, CAPACITY_UNLIMITED - 1},
        {INT64_MAX - 1, 0, 1000, INT64_MAX - 1},
        {INT64_C(1) << 50, 0, 1000000, (INT64_C(1) << 50) * 1000},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        host.capacity.has.of[RESOURCE_MEMORY] = cases[i].has;
        settings.memory_reserve = cases[i].reserve;
        settings.memory_overcommit = cases[i].factor;
        cr_expect_eq(capacity_limit(&host.capacity, RESOURCE_MEMORY), cases[i].limit, "case %zu: %" PRId64, i,
                     capacity_limit(&host.capacity, RESOURCE_MEMORY));
    }
}

Test(d26_capacity, absurd_amounts_are_refused_and_counted)
{
    struct runner_error err = ERROR_INIT;

    cr_expect_eq(take(INT64_MAX, INT64_MAX, INT64_MAX, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_NOSPACE);
    for (int i = 0; i < REFUSALS; i++)
        cr_expect_eq(host.capacity.refused[i], i == RESOURCE_CPUS || i == RESOURCE_MEMORY || i == RESOURCE_DISK);
    cr_expect_eq(take(1, INT64_MAX, 0, &err), -1);
    cr_expect_eq(host.capacity.refused[RESOURCE_MEMORY], 2);
    cr_expect_eq(host.capacity.allocated.of[RESOURCE_CPUS], 0);
}

/* Sums that records brought beyond all limits still go back to where they were. */
Test(d26_capacity, found_beyond_the_limit)
{
    const struct amounts huge = wants(1024, INT64_MAX, INT64_MAX), one = wants(1, GIB, GIB);

    for (int i = 0; i < 3; i++)
        capacity_add(&host.capacity, &huge);
    cr_expect_eq(capacity_free(&host.capacity, RESOURCE_CPUS), 0);
    for (int i = 0; i < 3; i++)
        capacity_give_back(&host.capacity, &huge);
    cr_expect_eq(capacity_take(&host.capacity, &one, NULL), 0);
    cr_expect_eq(host.capacity.allocated.of[RESOURCE_MEMORY], GIB);
}

Test(d26_capacity, lower_limits_leave_what_runs)
{
    cr_assert_eq(take(8, 2 * GIB, 0, NULL), 0);
    settings.memory_reserve = 3 * GIB;
    cr_expect_eq(capacity_free(&host.capacity, RESOURCE_MEMORY), 0);
    cr_expect_eq(take(1, 1, 0, NULL), -1);
    cr_expect_eq(host.capacity.allocated.of[RESOURCE_MEMORY], 2 * GIB);
}

Test(d26_capacity, what_was_not_found_out_stays)
{
    static const struct amounts nothing = {{0}}, more = {{[RESOURCE_CPUS] = 4}};

    capacity_learn(&host.capacity, &nothing);
    cr_expect_eq(capacity_limit(&host.capacity, RESOURCE_CPUS), 16);
    capacity_learn(&host.capacity, &more);
    cr_expect_eq(capacity_limit(&host.capacity, RESOURCE_CPUS), 32);
    cr_expect_eq(capacity_limit(&host.capacity, RESOURCE_MEMORY), 3584 * MIB);
}

Test(d26_capacity, the_text_has_the_numbers)
{
    struct runner_error err = ERROR_INIT;

    cr_assert_eq(take(1, 3 * GIB, 10 * GIB, NULL), 0);
    cr_assert_eq(take(1, GIB, 10 * GIB, &err), -1);
    cr_expect_str_eq(err.message, "no room on host 'h': not enough memory: 1024 MiB asked for, 512 MiB free of 3584 MiB "
                                  "(4096 MiB less capacity.memory_reserve 512M, times capacity.memory_overcommit 1)");
    cr_assert_eq(take(16, 0, 86 * GIB, &err), -1);
    cr_expect_str_eq(err.message,
                     "no room on host 'h': not enough vCPUs: 16 asked for, 15 free of 16 (2 CPUs times "
                     "capacity.cpu_overcommit 8); not enough disk: 86.0 GiB asked for, 85.0 GiB free of 95.0 GiB (20.0 GiB "
                     "less capacity.disk_reserve 1G, times capacity.disk_overcommit 5)");
    settings.sandboxes = 1;
    cr_assert_eq(take(0, 0, 0, &err), -1);
    cr_expect_str_eq(err.message, "no room on host 'h': the limit of 1 sandboxes is reached (limits.sandboxes)");
}

Test(d26_capacity, space_that_is_really_free)
{
    struct runner_error err = ERROR_INIT;

    cr_expect_eq(capacity_check_space(&host.capacity, GIB + CAPACITY_EMPTY_SANDBOX, NULL), 0);
    cr_expect_eq(capacity_check_space(&host.capacity, GIB + CAPACITY_EMPTY_SANDBOX - 1, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_NOSPACE);
    cr_expect_str_eq(err.message, "no room on host 'h': 1027 MiB are free in its file system, 1028 MiB needed: "
                                  "capacity.disk_reserve 1G and 4 MiB for an empty sandbox");
    cr_expect_eq(host.capacity.refused[REFUSED_SPACE], 1);
    settings.disk_overcommit = 0;
    cr_expect_eq(capacity_check_space(&host.capacity, 0, NULL), 0);
}

/* ---- the index ---- */

static struct record *record(const char *id, enum sandbox_state state)
{
    struct record *record = record_new(id);

    record->state = state;
    record->cpus = 1;
    record->memory_bytes = GIB;
    record->disk_bytes = 10 * GIB;
    return record;
}

static void has(int64_t n, int64_t cpus, int64_t memory_gib, int64_t disk_gib)
{
    const int64_t *sums = host.capacity.allocated.of;

    cr_expect_eq(sums[RESOURCE_SANDBOXES], n, "%" PRId64 " sandboxes", sums[RESOURCE_SANDBOXES]);
    cr_expect_eq(sums[RESOURCE_CPUS], cpus, "%" PRId64 " vCPUs", sums[RESOURCE_CPUS]);
    cr_expect_eq(sums[RESOURCE_MEMORY], memory_gib * GIB, "%" PRId64 " bytes of memory", sums[RESOURCE_MEMORY]);
    cr_expect_eq(sums[RESOURCE_DISK], disk_gib * GIB, "%" PRId64 " bytes of disk", sums[RESOURCE_DISK]);
}

static void drop(struct sandbox *sandbox)
{
    index_remove(sandboxes, sandbox);
    index_put(sandboxes, sandbox);
}

static void release(struct sandbox *sandbox)
{
    index_lock(sandboxes);
    sandbox_release(sandbox);
    index_unlock(sandboxes);
}

/* After a restart: what each state that a record may be found in has. */
Test(d26_capacity, found_at_start_up)
{
    static const struct {
        enum sandbox_state state;
        int64_t machines;
    } cases[] = {{SANDBOX_CREATING, 1}, {SANDBOX_STARTED, 1},  {SANDBOX_PAUSED, 1},   {SANDBOX_STOPPED, 0},
                 {SANDBOX_ERROR, 0},    {SANDBOX_STARTING, 1}, {SANDBOX_STOPPING, 1}, {SANDBOX_DESTROYING, 1}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sandbox *sandbox = index_add(sandboxes, &host, record("a", cases[i].state));
        has(1, cases[i].machines, cases[i].machines, 10);
        drop(sandbox);
        has(0, 0, 0, 0);
    }
}

Test(d26_capacity, a_life)
{
    struct sandbox *sandbox = NULL;

    cr_assert_eq(index_admit(sandboxes, &host, record("a", SANDBOX_CREATING), &sandbox, NULL), 0);
    has(1, 1, 1, 10);
    cr_expect_eq(index_allocate(sandboxes, sandbox, NULL), 0, "it has it already");
    has(1, 1, 1, 10);
    release(sandbox);
    release(sandbox);
    has(1, 0, 0, 10);
    cr_expect_eq(index_allocate(sandboxes, sandbox, NULL), 0);
    has(1, 1, 1, 10);
    index_remove(sandboxes, sandbox);
    index_remove(sandboxes, sandbox);
    has(0, 0, 0, 0);
    index_put(sandboxes, sandbox);
}

Test(d26_capacity, one_that_is_not_to_be_started_needs_a_disk_only)
{
    static const char text[] = "{\"skipStart\":true}";
    struct record *stopped = record("b", SANDBOX_CREATING);
    struct sandbox *full = NULL, *sandbox = NULL;
    struct runner_error err = ERROR_INIT;

    settings.memory_reserve = 3 * GIB;
    cr_assert_eq(json_parse(text, strlen(text), &stopped->request, &err), 0);
    cr_assert_eq(index_admit(sandboxes, &host, record("a", SANDBOX_CREATING), &full, NULL), 0);
    cr_assert_eq(index_admit(sandboxes, &host, stopped, &sandbox, NULL), 0);
    has(2, 1, 1, 20);
    cr_expect_eq(index_allocate(sandboxes, sandbox, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_NOSPACE);
    has(2, 1, 1, 20);
    drop(full);
    cr_expect_eq(index_allocate(sandboxes, sandbox, NULL), 0);
    has(1, 1, 1, 10);
    drop(sandbox);
}

Test(d26_capacity, what_is_refused_stays_the_callers)
{
    auto_record struct record *second = record("b", SANDBOX_CREATING);
    struct sandbox *first = NULL, *none = NULL;

    settings.sandboxes = 1;
    cr_assert_eq(index_admit(sandboxes, &host, record("a", SANDBOX_CREATING), &first, NULL), 0);
    cr_expect_eq(index_admit(sandboxes, &host, second, &none, NULL), -1);
    cr_expect_null(none);
    cr_expect_eq(index_count(sandboxes), 1);
    cr_expect_null(index_get(sandboxes, "b"));
    drop(first);
}

Test(d26_capacity, of_each_host_its_own)
{
    struct config_capacity two = {.sandboxes = 1};
    struct host other = {.config = &host_config, .capacity = {.host = "o", .settings = &two}};
    struct sandbox *here = NULL, *there = NULL;

    settings.sandboxes = 1;
    cr_assert_eq(index_admit(sandboxes, &host, record("a", SANDBOX_CREATING), &here, NULL), 0);
    cr_assert_eq(index_admit(sandboxes, &other, record("b", SANDBOX_CREATING), &there, NULL), 0);
    has(1, 1, 1, 10);
    drop(there);
    has(1, 1, 1, 10);
    cr_expect_eq(other.capacity.allocated.of[RESOURCE_DISK], 0);
    drop(here);
}

/* ---- all at one moment ---- */

struct noted {
    char id[16];
    int untouched;
};

static bool note_stopped(const struct sandbox *sandbox, void *element, void *wanted)
{
    struct noted *noted = element;

    if (sandbox->host != wanted || sandbox->record->state != SANDBOX_STOPPED)
        return false;
    (void)snprintf(noted->id, sizeof noted->id, "%s", sandbox->record->id);
    return true;
}

Test(d23_index, a_map_has_those_that_are_wanted_and_none_twice, .init = setup, .fini = teardown)
{
    enum { EACH = 200 };
    bool seen[2 * EACH] = {false};
    struct noted *noted;
    size_t n;

    noted = index_map(sandboxes, sizeof *noted, note_stopped, &host, &n);
    cr_expect_eq(n, 0);
    free(noted);
    for (int i = 0; i < 2 * EACH; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "%d", i);
        index_put(sandboxes, index_add(sandboxes, &host, record(id, i % 2 != 0 ? SANDBOX_STOPPED : SANDBOX_STARTED)));
    }
    noted = index_map(sandboxes, sizeof *noted, note_stopped, &host, &n);
    cr_assert_eq(n, EACH);
    for (size_t i = 0; i < n; i++) {
        int number = atoi(noted[i].id);
        cr_assert(number % 2 != 0 && !seen[number] && noted[i].untouched == 0);
        seen[number] = true;
    }
    free(noted);
}

/* ---- many at once ---- */

#define THREADS 50

struct racer {
    pthread_t thread;
    pthread_barrier_t *start;
    char id[8];
    bool is_in;
};

static void *race(void *ctx)
{
    struct racer *racer = ctx;
    struct record *plan = record(racer->id, SANDBOX_CREATING);
    struct sandbox *sandbox = NULL;

    (void)pthread_barrier_wait(racer->start);
    racer->is_in = index_admit(sandboxes, &host, plan, &sandbox, NULL) == 0;
    if (racer->is_in)
        index_put(sandboxes, sandbox);
    else
        record_free(plan);
    return NULL;
}

Test(d26_capacity, at_the_edge_exactly_as_many_as_fit)
{
    pthread_barrier_t start;
    struct racer racers[THREADS];
    int n = 0;

    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        racers[i] = (struct racer){.start = &start};
        (void)snprintf(racers[i].id, sizeof racers[i].id, "r%d", i);
        cr_assert_eq(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(racers[i].thread, NULL);
        n += racers[i].is_in;
    }
    pthread_barrier_destroy(&start);
    cr_expect_eq(n, 3);
    has(3, 3, 3, 30);
    cr_expect_eq(host.capacity.refused[RESOURCE_MEMORY], THREADS - 3);
}
