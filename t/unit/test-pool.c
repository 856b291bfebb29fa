/* Order within a lane, parallel lanes, the limit, draining, tasks that hang. Plain C, so that it also runs under TSan. */
#include <dirent.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "core/pool.h"
#include "core/util/error.h"
#include "core/util/str.h"

#define LANES 50
#define TASKS 200

struct numbered {
    struct task task;
    int lane, number;
};

static int n_tests, n_failed;
static atomic_int next_of[LANES], running_in[LANES], out_of_order, overlaps, done;

static void ok(int is_true, const char *what)
{
    printf("%sok %d - %s\n", is_true ? "" : "not ", ++n_tests, what);
    n_failed += !is_true;
}

static void run(struct task *task)
{
    struct numbered *n = (struct numbered *)task;

    if (atomic_fetch_add(&running_in[n->lane], 1) != 0)
        atomic_fetch_add(&overlaps, 1);
    if (atomic_fetch_add(&next_of[n->lane], 1) != n->number)
        atomic_fetch_add(&out_of_order, 1);
    atomic_fetch_sub(&running_in[n->lane], 1);
    atomic_fetch_add(&done, 1);
    free(n);
}

static void test_lanes(void)
{
    struct pool *pool = pool_new(8, LANES * TASKS);
    int refused = 0;

    for (int i = 0; i < TASKS; i++)
        for (int lane = 0; lane < LANES; lane++) {
            struct numbered *n = mem_alloc(sizeof *n);
            char name[16];
            (void)snprintf(name, sizeof name, "lane-%d", lane);
            n->task.run = run;
            n->lane = lane;
            n->number = i;
            refused += pool_submit(pool, name, &n->task, POOL_ASKED, NULL) < 0;
        }
    ok(pool_wait_idle(pool, 30000) == 0, "all tasks end");
    ok(refused == 0 && atomic_load(&done) == LANES * TASKS, "each ran once");
    ok(atomic_load(&overlaps) == 0, "tasks of a lane never overlap");
    ok(atomic_load(&out_of_order) == 0, "tasks of a lane run in order");
    pool_free(pool);
}

struct blocker {
    struct task task;
    pthread_mutex_t *gate;
};

static void block(struct task *task)
{
    struct blocker *b = (struct blocker *)task;

    pthread_mutex_lock(b->gate);
    pthread_mutex_unlock(b->gate);
    free(b);
}

static struct blocker *blocker(pthread_mutex_t *gate)
{
    struct blocker *b = mem_alloc(sizeof *b);

    b->task.run = block;
    b->gate = gate;
    return b;
}

static void test_limit(void)
{
    struct pool *pool = pool_new(1, 2);
    struct runner_error err = ERROR_INIT;
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    struct blocker *third = blocker(&gate), *fourth = blocker(&gate);
    int status;

    pthread_mutex_lock(&gate);
    status = pool_submit(pool, "a", &blocker(&gate)->task, POOL_ASKED, &err);
    status |= pool_submit(pool, "b", &blocker(&gate)->task, POOL_ASKED, &err);
    ok(status == 0, "up to the limit tasks are taken");
    ok(pool_submit(pool, "c", &third->task, POOL_ASKED, &err) == -1 && err.code == RUNNER_E_BUSY && err.retry == 1,
       "over the limit: BUSY, to be tried again");
    ok(pool_submit(pool, "c", &third->task, POOL_INTERNAL, &err) == 0, "an internal task passes the limit");
    ok(pool_submit(pool, "d", &fourth->task, POOL_COUNTED, &err) == 0, "so does one that was counted before");
    ok(pool_wait_idle(pool, 1) == 4, "four are left while they block");
    pool_drain(pool);
    pthread_mutex_unlock(&gate);
    ok(pool_wait_idle(pool, 30000) == 0, "draining lets them end");
    third = blocker(&gate);
    ok(pool_submit(pool, "d", &third->task, POOL_ASKED, &err) == -1 &&
           pool_submit(pool, "d", &third->task, POOL_COUNTED, &err) == -1,
       "and takes no more");
    free(third);
    pool_free(pool);
}

struct meeting {
    struct task task;
    pthread_barrier_t *barrier;
};

static void meet(struct task *task)
{
    struct meeting *m = (struct meeting *)task;

    pthread_barrier_wait(m->barrier);
    free(m);
}

struct visit {
    struct task task;
    pthread_t *thread;
};

static void note_thread(struct task *task)
{
    struct visit *v = (struct visit *)task;

    *v->thread = pthread_self();
    free(v);
}

static size_t threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    size_t n = 0;

    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

/* Of threads that are not ours to join there is no event. */
static bool await_threads(size_t most)
{
    for (int i = 0; i < 600 && threads() > most; i++)
        usleep(100000);
    return threads() <= most;
}

static bool are_visits_of_one(struct pool *pool)
{
    enum { VISITS = 100 };
    pthread_t visited[VISITS];
    bool is_same = true;

    for (int i = 0; i < VISITS; i++) {
        struct visit *v = mem_alloc(sizeof *v);
        *v = (struct visit){{.run = note_thread}, &visited[i]};
        (void)pool_submit(pool, NULL, &v->task, POOL_ASKED, NULL);
        (void)pool_wait_idle(pool, 30000);
        is_same = is_same && pthread_equal(visited[i], visited[0]);
    }
    return is_same;
}

/* Once all of them have been at work, and are idle. */
static void test_one_after_the_other(void)
{
    enum { THREADS = 8 };
    size_t before = threads();
    struct pool *pool = pool_new(THREADS, 100);
    pthread_barrier_t barrier;
    bool is_same = false;

    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        struct meeting *m = mem_alloc(sizeof *m);
        *m = (struct meeting){{.run = meet}, &barrier};
        (void)pool_submit(pool, NULL, &m->task, POOL_ASKED, NULL);
    }
    ok(pool_wait_idle(pool, 30000) == 0, "as many tasks as threads run at once");
    for (int i = 0; i < 20 && !is_same; i++) /* a thread that was idle for a second, while the machine stood still, ends */
        is_same = are_visits_of_one(pool);
    ok(is_same, "tasks one after the other are one thread's");
    ok(await_threads(before + THREADS / 2), "d23: threads that were needed for a while end, with what they kept of the heap");
    pool_free(pool);
    pthread_barrier_destroy(&barrier);
}

struct signal {
    sem_t told;
    int turn; /* once told: which one of all it was */
};

struct signaller {
    struct task task;
    struct signal *signal;
};

static atomic_int turns;

static void signal_told(struct task *task)
{
    struct signaller *s = (struct signaller *)task;

    s->signal->turn = atomic_fetch_add(&turns, 1);
    sem_post(&s->signal->told);
    free(s);
}

static void submit_signaller(struct pool *pool, enum task_class class, struct signal *signal)
{
    struct signaller *s = mem_alloc(sizeof *s);

    *s = (struct signaller){{.run = signal_told, .class = class}, signal};
    (void)pool_submit(pool, NULL, &s->task, POOL_ASKED, NULL);
}

static int wait_told(struct signal *signal)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    return sem_timedwait(&signal->told, &until);
}

/* The last of the others may have told before it is off the books. */
static bool await_load(struct pool *pool, size_t n)
{
    size_t running, all;

    for (int i = 0; i < 600 && ((all = pool_load(pool, &running)) != n || running != n); i++)
        usleep(100000);
    return all == n && running == n;
}

/* Three times as many tasks as threads hang; others run all the same, light ones at once. */
static void test_hanging(enum task_class hanging, const char *what, const char *what_light)
{
    enum { THREADS = 2 };
    struct pool *pool = pool_new(THREADS, 100);
    size_t before = threads();
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    struct signal light = {.turn = -1}, same = {.turn = -1};
    bool are_told;

    sem_init(&light.told, 0, 0);
    sem_init(&same.told, 0, 0);
    pthread_mutex_lock(&gate);
    for (int i = 0; i < 3 * THREADS; i++) {
        struct blocker *b = blocker(&gate);
        b->task.class = hanging;
        (void)pool_submit(pool, NULL, &b->task, POOL_ASKED, NULL);
    }
    submit_signaller(pool, hanging, &same);
    submit_signaller(pool, TASK_LIGHT, &light);
    are_told = wait_told(&light) == 0 && wait_told(&same) == 0;
    ok(are_told && (hanging == TASK_LIGHT || light.turn < same.turn), what_light);
    ok(are_told, what);
    ok(await_load(pool, 3 * THREADS), "those that hang run on");
    pthread_mutex_unlock(&gate);
    ok(pool_wait_idle(pool, 30000) == 0, "and end");
    ok(await_threads(before), "the threads beyond the first ones end");
    pool_free(pool);
    sem_destroy(&light.told);
    sem_destroy(&same.told);
}

int main(void)
{
    test_lanes();
    test_one_after_the_other();
    test_limit();
    test_hanging(TASK_LIGHT, "d20: light tasks run beside more hanging ones than threads", "d20: so does the last one");
    test_hanging(TASK_HEAVY, "d20: so do heavy ones, once the hanging ones count no more",
                 "d20: light ones do not wait for that");
    printf("1..%d\n", n_tests);
    return n_failed > 0;
}
