/* The order in which a batch runs, and whose result is whose. */
#include "core/batch.h"

#include <criterion/criterion.h>
#include <string.h>

#include "core/host.h"
#include "core/util/error.h"

static const void *first_data; /* of the batch that ran last */
static size_t first_len;

/* The transport: each result says in its number when the step ran. */
int host_run(struct host *host, struct runner_call *call, const struct runner_step *const *steps, size_t n,
             struct runner_result *results, struct runner_error *err)
{
    (void)host;
    (void)call;
    (void)err;
    first_data = steps[0]->data;
    first_len = steps[0]->len;
    for (size_t i = 0; i < n; i++)
        results[i] = (struct runner_result){.size = sizeof *results, .number = (int64_t)i};
    return 0;
}

static struct runner_call call;
static struct runner_error err = ERROR_INIT;

static int add(struct runner_batch *batch, const char *path)
{
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_STAT, .path = path};

    return batch_add(batch, &step, &err);
}

static void expect_order(const struct runner_batch *batch, const char *expected)
{
    auto_str struct str text = STR_INIT;

    batch_print(batch, &text);
    cr_expect_str_eq(str_text(&text), expected);
}

Test(batch, the_steps_of_a_process_run_early)
{
    auto_batch struct runner_batch *batch = batch_new(&call);
    static const int64_t expected[] = {0, 3, 4, 1, 2, 5};

    (void)add(batch, "/dir");
    (void)add(batch, "/disk");
    (void)add(batch, "/tap");
    (void)add(batch, "/log");
    cr_assert_eq(add(batch, "/process"), 4);
    batch_advance(batch, 3, 1);
    cr_assert_eq(add(batch, "/last"), 5);
    expect_order(batch, "STAT /dir\nSTAT /log\nSTAT /process\nSTAT /disk\nSTAT /tap\nSTAT /last\n");
    cr_assert_null(batch_result(batch, 1));
    cr_assert_eq(batch_run(&call, batch, &err), 0);
    for (int i = 0; i < 6; i++)
        cr_expect_eq(batch_result(batch, i)->number, expected[i], "step %d", i);
    cr_expect_null(batch_result(batch, 6));
}

Test(batch, nothing_to_advance)
{
    auto_batch struct runner_batch *batch = batch_new(&call);

    (void)add(batch, "/a");
    batch_advance(batch, 1, 0);
    batch_advance(batch, 0, 0);
    (void)add(batch, "/b");
    expect_order(batch, "STAT /a\nSTAT /b\n");
    cr_assert_eq(batch_run(&call, batch, &err), 0);
    cr_expect_eq(batch_result(batch, 1)->number, 1);
}

Test(batch, given_data_is_not_copied)
{
    auto_batch struct runner_batch *batch = batch_new(&call);
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_WRITE, .flags = RUNNER_S_SECRET};
    auto_str struct str data = STR_INIT;
    const char *given;

    str_add(&data, "secret");
    given = data.ptr;
    cr_assert_lt(batch_add_given(batch, &step, &data, &err), 0);
    cr_expect_eq(data.ptr, given, "a step without a path leaves it the caller's");
    step.path = "/file";
    cr_assert_eq(batch_add_given(batch, &step, &data, &err), 0);
    cr_expect_null(data.ptr);
    cr_assert_eq(batch_run(&call, batch, &err), 0);
    cr_expect_eq(first_data, given);
    cr_expect_eq(first_len, 6);
}
