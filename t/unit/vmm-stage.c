#include "t/unit/vmm-stage.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/util/cleanup.h"

#define END_MS 60000

struct runner_error err = ERROR_INIT;
const struct runner_transport_ops *transport;
void *transport_self, *self;
const struct runner_vmm_ops *ops;
char dir[] = "/tmp/test-vmm.XXXXXX";
struct runner_vm vm;

char *at(const char *name)
{
    return mem_printf("%s/%s", dir, name);
}

bool exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    cr_assert_not_null(file);
    cr_assert_geq(fputs(text, file), 0);
    cr_assert_eq(fclose(file), 0);
}

/* ---- the transport ---- */

static void transport_load(void)
{
    const char *top = getenv("top_builddir");
    auto_free char *path = mem_printf("%s/plugins/transport/local.so", top != NULL ? top : ".");
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct runner_plugin *(*get)(void);

    cr_assert_not_null(object, "%s", dlerror());
    *(void **)&get = dlsym(object, "runner_plugin_1");
    transport = get()->ops;
    cr_assert_eq(get()->load(fake_host(), &err), 0);
    cr_assert_eq(get()->create(NULL, 0, &transport_self, &err), 0, "%s", err.message);
}

int run_step(const struct runner_step *step, struct runner_result *result)
{
    return transport->run(transport_self, fake_call(), &step, 1, result, &err);
}

void run_program(const char *const argv[])
{
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_RUN, .argv = argv};
    struct runner_result result = {.size = sizeof result};

    cr_assert_eq(run_step(&step, &result), 0, "%s", err.message);
    fake_host()->release(result.out);
}

/* ---- the machine ---- */

int spawn(void)
{
    struct runner_batch *batch = fake_host()->batch_new(fake_call());
    int status = ops->spawn(self, fake_call(), batch, &vm, &err);

    if (status == 0)
        status = fake_host()->run(fake_call(), batch, &err);
    fake_host()->batch_free(batch);
    return status;
}

void start(void)
{
    cr_assert_eq(spawn(), 0, "%s", err.message);
    cr_assert_eq(ops->boot(self, fake_call(), &vm, &err), 0, "%s", err.message);
}

uint32_t state(void)
{
    struct runner_vm_status status = {.size = sizeof status};

    cr_assert_eq(ops->status(self, fake_call(), &vm, &status, &err), 0, "%s", err.message);
    return status.state;
}

void cleanup(void)
{
    struct runner_batch *batch = fake_host()->batch_new(fake_call());

    cr_assert_eq(ops->cleanup(self, fake_call(), batch, &vm, &err), 0);
    cr_assert_eq(fake_host()->run(fake_call(), batch, &err), 0, "%s", err.message);
    fake_host()->batch_free(batch);
}

void kill_vm(int number)
{
    struct runner_step step = {.size = RUNNER_STEP_INIT, .kind = RUNNER_KILL, .path = vm.pid_path, .number = number};
    struct runner_result result = {.size = sizeof result};

    cr_expect_eq(run_step(&step, &result), 0, "%s", err.message);
}

void await_end(void)
{
    int fd;

    if (transport->watch(transport_self, fake_call(), vm.pid_path, &fd, &err) < 0)
        return;
    cr_assert_gt(fake_host()->wait(fake_call(), fd, POLLIN, END_MS), 0);
    close(fd);
}

/* ---- from nothing to nothing ---- */

void stage_open(const struct runner_value *values, size_t n)
{
    cr_assert_not_null(mkdtemp(dir));
    fake_host_reset();
    fake_host_root(dir);
    transport_load();
    cr_assert_eq(runner_plugin_1()->load(fake_host(), &err), 0);
    cr_assert_eq(runner_plugin_1()->create(values, n, &self, &err), 0);
    ops = runner_plugin_1()->ops;
    vm = (struct runner_vm){.size = sizeof vm,
                            .id = "sb-1",
                            .dir = dir,
                            .socket_path = at("vm.sock"),
                            .pid_path = at("vm.pid"),
                            .log_path = at("vm.log"),
                            .serial_path = at("serial.log"),
                            .cpus = 1,
                            .max_cpus = 1,
                            .memory_bytes = 256 << 20,
                            .max_memory_bytes = 256 << 20};
}

void stage_close(void)
{
    const struct runner_step step = {
        .size = RUNNER_STEP_INIT, .kind = RUNNER_REMOVE, .flags = RUNNER_S_TREE, .path = dir};
    struct runner_result result = {.size = sizeof result};
    const char *const texts[] = {vm.socket_path, vm.pid_path, vm.log_path, vm.serial_path, vm.vmm_dir, vm.kernel};

    kill_vm(SIGKILL);
    cr_expect_eq(run_step(&step, &result), 0, "%s", err.message);
    runner_plugin_1()->destroy(self);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        free((void *)(uintptr_t)texts[i]);
    cr_expect_eq(fake_host_live(), 0);
}
