/* What calls leave behind: memory, descriptors, threads, files. */
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/util/num.h"
#include "kit/general.h"
#include "kit/heap.h"

enum { ROUNDS_WARM = 2, ROUNDS = 2, WINDOWS = 4, THREAD_END_MS = 1000 };

/* ---- counting ---- */

static int64_t count_in(const char *path)
{
    auto_dir DIR *d = opendir(path);
    int64_t n = 0;

    if (d == NULL)
        stop_point("%s: %m", path);
    while (readdir(d) != NULL)
        n++;
    return n;
}

int64_t open_descriptors(void)
{
    return count_in("/proc/self/fd");
}

static int64_t threads(void)
{
    return count_in("/proc/self/task");
}

/* One that was joined is still listed for a moment. */
static int64_t threads_settled(int64_t wanted)
{
    int64_t end_ms = num_now_ms() + THREAD_END_MS;
    const struct timespec moment = {.tv_nsec = 1000000};

    while (threads() > wanted && num_now_ms() < end_ms)
        nanosleep(&moment, NULL);
    return threads();
}

/* ---- growth ---- */

static void look_at_nothing(const struct op *op, const struct trial *t, void *arg)
{
    (void)op, (void)t, (void)arg;
}

static void round_of(struct subject *s, const struct op *op)
{
    for (enum aspect aspect = AS_IS; aspect < op_aspects(op); aspect++)
        if (!point_is_fatal(op, aspect))
            op_sweep(s, op, aspect, look_at_nothing, NULL);
}

/* What grows in every window grows for ever; what grows once is a cache. */
static void find_growth(struct subject *s, const struct op *op, int64_t (*count)(void), const char *what)
{
    int64_t before, grown, least = INT64_MAX;

    for (int i = 0; i < ROUNDS_WARM; i++)
        round_of(s, op);
    for (int w = 0; w < WINDOWS && least > 0; w++) {
        before = count();
        for (int i = 0; i < ROUNDS; i++)
            round_of(s, op);
        grown = count() - before;
        least = grown < least ? grown : least;
    }
    if (least > 0)
        flaw("%s: %lld %s more after %d rounds, each time", op->name, (long long)least, what, ROUNDS);
}

static void each_op(struct subject *s, void (*fn)(struct subject *s, const struct op *op))
{
    const struct kind *kind = kind_of(s->plugin->desc.kind);

    for (size_t i = 0; i < kind->n_ops; i++)
        if (op_is_there(&kind->ops[i], s->plugin))
            fn(s, &kind->ops[i]);
}

static void find_memory(struct subject *s, const struct op *op)
{
    size_t live = fake_host_live();
    int64_t threads_before = threads();

    find_growth(s, op, heap_in_use, heap_unit());
    if (threads_settled(threads_before) > threads_before)
        skip_point("threads are left, and each has memory: see the point threads");
    if (fake_host_live() != live)
        flaw("%s: %zd blocks of host->alloc, or batches, are left", op->name, (ssize_t)(fake_host_live() - live));
}

static void value_round(struct subject *s)
{
    general_try_values(s, look_at_nothing, NULL);
}

void point_memory(struct subject *s, const struct point *point)
{
    int64_t before, first, second;

    (void)point;
    each_op(s, find_memory);
    if (flaws_so_far() > 0)
        return;
    value_round(s);
    value_round(s);
    before = heap_in_use();
    value_round(s);
    first = heap_in_use() - before;
    value_round(s);
    second = heap_in_use() - before - first;
    if (first > 0 && second > 0)
        flaw("values that create refuses leave %lld %s", (long long)second, heap_unit());
}

static void find_descriptors(struct subject *s, const struct op *op)
{
    find_growth(s, op, open_descriptors, "descriptors");
}

void point_descriptors(struct subject *s, const struct point *point)
{
    (void)point;
    each_op(s, find_descriptors);
}

static void find_threads(struct subject *s, const struct op *op)
{
    int64_t before = threads(), after;

    round_of(s, op);
    before = threads_settled(before); /* those of a first call may be there to stay */
    for (int i = 0; i < ROUNDS; i++)
        round_of(s, op);
    after = threads_settled(before);
    if (after > before)
        flaw("%s: %lld threads more after %d rounds", op->name, (long long)(after - before), ROUNDS);
}

void point_threads(struct subject *s, const struct point *point)
{
    (void)point;
    each_op(s, find_threads);
}

/* ---- hands off ---- */

/* All files below dir with their sizes and times, in no order that matters: one directory is read as it was before. */
static void list_tree(const char *dir, struct str *out)
{
    auto_dir DIR *d = opendir(dir);
    struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL) {
        auto_free char *path = mem_printf("%s/%s", dir, entry->d_name);
        struct stat st;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || lstat(path, &st) < 0)
            continue;
        str_addf(out, "%s %lld %lld\n", path, (long long)st.st_size, (long long)st.st_mtim.tv_nsec);
        if (S_ISDIR(st.st_mode))
            list_tree(path, out);
    }
}

struct hands {
    const struct subject *subject;
    struct str before;
};

static void look_at_hands(const struct op *op, const struct trial *t, void *arg)
{
    struct hands *hands = arg;
    auto_str struct str now = STR_INIT;

    (void)t;
    list_tree(hands->subject->dir, &now);
    if (strcmp(str_text(&now), str_text(&hands->before)) != 0)
        flaw("%s made or changed a file itself: now there is %s", op->name, str_text(&now));
}

void point_hands_off(struct subject *s, const struct point *point)
{
    const struct kind *kind = kind_of(s->plugin->desc.kind);
    struct hands hands = {.subject = s};

    (void)point;
    subject_renew(s);
    list_tree(s->dir, &hands.before);
    for (size_t i = 0; i < kind->n_ops; i++)
        if (op_is_there(&kind->ops[i], s->plugin) && !point_is_fatal(&kind->ops[i], AS_IS))
            op_sweep(s, &kind->ops[i], AS_IS, look_at_hands, &hands);
}
