/* A machine that gets more of it while it runs, against scripted connections: its size, and its cgroup's limit. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "plugins/vmm/cloud-hypervisor/resize.h"
#include "t/unit/ch-script.h"

TestSuite(ch_resize, .init = script_open, .fini = script_close, .timeout = 60);

#define GIB 1073741824LL

static const char *info(int cpus, int64_t memory_bytes)
{
    auto_free char *body = mem_printf("{\"config\":{\"cpus\":{\"boot_vcpus\":%d,\"max_vcpus\":2},\"memory\":{\"size\":"
                                      "%lld,\"hotplug_size\":2147483648}},\"state\":\"Running\"}",
                                      cpus, (long long)memory_bytes);

    return with_body(200, body);
}

/* To as many processors and twice the memory, from one and one GiB. */
static int grow(int cpus)
{
    struct runner_vm more = vm;

    more.cgroup = "sb-1";
    more.cpus = (uint32_t)cpus;
    more.memory_bytes = 2 * GIB;
    return resize_machine(&ch, fake_call(), &more, &err);
}

static int limits_set(void)
{
    int n = 0;

    for (const char *p = fake_host_ran(); (p = strstr(p, "CGROUP_SET")) != NULL; p++)
        n++;
    return n;
}

static struct script *asked_for_memory(bool is_closed)
{
    struct script *script = script_add(is_closed);

    script->pieces[0] = info(1, GIB);
    return script;
}

Test(ch_resize, both)
{
    struct script *script = asked_for_memory(false);

    script->pieces[1] = EMPTY;
    script->pieces[2] = EMPTY;
    cr_expect_eq(grow(2), 0, "%s", err.message);
    cr_expect_eq(limits_set(), 1);
}

Test(ch_resize, d06_memory_whose_answer_is_late)
{
    (void)asked_for_memory(false);
    expect_text(info(1, 2 * GIB));
    cr_expect_eq(grow(1), 0, "%s", err.message);
    cr_expect_eq(limits_set(), 1);
}

Test(ch_resize, d06_memory_whose_answer_is_lost)
{
    (void)asked_for_memory(true);
    (void)script_add(true); /* the one kept was closed, the new one is closed by the request */
    expect_text(info(1, 2 * GIB));
    cr_expect_eq(grow(1), 0, "%s", err.message);
    cr_expect_eq(limits_set(), 1);
}

Test(ch_resize, memory_that_is_refused)
{
    struct script *script = asked_for_memory(false);

    script->pieces[1] = with_body(500, "[\"Error from API\",\"No ACPI slot available\"]");
    cr_expect_eq(grow(1), -1);
    cr_expect_eq(err.code, RUNNER_E_NOTSUP, "%s", err.message);
    cr_expect_eq(limits_set(), 2, "back to what it has");
}

Test(ch_resize, d06_memory_that_was_not_plugged_in)
{
    (void)asked_for_memory(false);
    expect_text(info(1, GIB));
    cr_expect_eq(grow(1), -1);
    cr_expect_eq(err.code, RUNNER_E_TIMEOUT, "%s", err.message);
    cr_expect_eq(limits_set(), 2, "back to what it has");
}

/* The guest may use it from some moment on, and would be killed of the old limit. */
Test(ch_resize, d06_memory_that_may_come_yet)
{
    (void)asked_for_memory(false);
    (void)script_add(false);
    cr_expect_eq(grow(1), -1);
    cr_expect_eq(err.code, RUNNER_E_TIMEOUT, "%s", err.message);
    cr_expect_eq(limits_set(), 1);
}

Test(ch_resize, d06_processors_whose_answer_is_lost)
{
    struct script *script = asked_for_memory(true);

    script->pieces[1] = EMPTY;
    (void)script_add(true);
    expect_text(info(2, 2 * GIB));
    cr_expect_eq(grow(2), 0, "%s", err.message);
}

Test(ch_resize, processors_that_are_not_given_up_yet)
{
    struct script *script = asked_for_memory(false);

    script->pieces[1] = EMPTY;
    script->pieces[2] = with_body(429, "[\"Too Many Requests\"]");
    cr_expect_eq(grow(2), -1);
    cr_expect_eq(err.code, RUNNER_E_BUSY, "%s", err.message);
}
