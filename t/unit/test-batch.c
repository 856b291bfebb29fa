/* What of a batch the transport is given, in one part or in two, and whose result is whose. */
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

static int handle, n_abandoned;

int host_begin(struct host *host, struct runner_call *op, const struct runner_step *const *steps, size_t n,
               struct runner_result *results, void **ret_begun, struct runner_error *err)
{
    *ret_begun = &handle;
    return host_run(host, op, steps, n, results, err);
}

int host_end(struct host *host, struct runner_call *op, void *begun, const struct runner_step *const *steps, size_t n,
             struct runner_result *results, struct runner_error *err)
{
    (void)host;
    (void)op;
    (void)steps;
    (void)err;
    cr_assert_eq(begun, &handle);
    n_abandoned += results == NULL;
    for (size_t i = 0; i < n; i++)
        results[i] = (struct runner_result){.size = sizeof *results, .number = 100 + (int64_t)i};
    return 0;
}

static struct runner_call call;
static struct runner_error err = ERROR_INIT;

static int add(struct runner_batch *batch, const char *path)
{
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_STAT, .path = path};

    return batch_add(batch, &step, &err);
}

Test(batch, runs_once_in_order)
{
    auto_batch struct runner_batch *batch = batch_new(&call);

    (void)add(batch, "/a");
    cr_assert_eq(add(batch, "/b"), 1);
    cr_expect_null(batch_result(batch, 1));
    cr_assert_eq(batch_run(&call, batch, &err), 0);
    cr_expect_eq(batch_result(batch, 1)->number, 1);
    cr_expect_null(batch_result(batch, 2));
    cr_expect_lt(batch_run(&call, batch, &err), 0);
    cr_expect_lt(add(batch, "/c"), 0);
}

Test(batch, two_parts)
{
    auto_batch struct runner_batch *first = batch_new(&call), *rest = batch_new(&call);

    cr_expect_not(batch_is_begun(NULL));
    (void)add(first, "/a");
    cr_assert_eq(batch_begin(&call, first, &err), 0);
    cr_expect(batch_is_begun(first));
    cr_expect_eq(batch_result(first, 0)->number, 0);
    (void)add(rest, "/b");
    cr_assert_eq(batch_end(&call, first, rest, &err), 0);
    cr_expect_not(batch_is_begun(first));
    cr_expect_eq(batch_result(rest, 0)->number, 100);
    cr_expect_eq(n_abandoned, 0);
}

Test(batch, an_empty_second_part_is_one)
{
    auto_batch struct runner_batch *first = batch_new(&call), *rest = batch_new(&call);

    (void)add(first, "/a");
    cr_assert_eq(batch_begin(&call, first, &err), 0);
    cr_assert_eq(batch_end(&call, first, rest, &err), 0);
    cr_expect_eq(n_abandoned, 0);
}

Test(batch, no_second_part)
{
    auto_batch struct runner_batch *first = batch_new(&call);

    (void)add(first, "/a");
    cr_assert_eq(batch_begin(&call, first, &err), 0);
    cr_assert_eq(batch_end(&call, first, NULL, &err), 0);
    cr_expect_eq(n_abandoned, 1);
    cr_expect_not(batch_is_begun(first));
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
