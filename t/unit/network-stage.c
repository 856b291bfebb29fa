#include "t/unit/network-stage.h"

#include <criterion/criterion.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "core/util/str.h"
#include "core/util/text.h"
#include "plugins/network/bridge/names.h"

struct runner_error err = ERROR_INIT;
const struct runner_network_ops *ops;

void stage_open(void)
{
    fake_host_reset();
    cr_assert_eq(runner_plugin_1()->load(fake_host(), &err), 0);
    ops = runner_plugin_1()->ops;
}

int create(const char *name, const char *text, int64_t number, void **ret_self)
{
    struct runner_value values[] = {
        {.name = "bridge", .text = "br0"},
        {.name = "address", .text = "10.0.0.1/24"},
        {.name = "uplink", .text = "auto"},
        {.name = "nat", .text = "true", .number = 1},
        {.name = "isolate", .text = "true", .number = 1},
        {.name = "pool", .text = "2", .number = 2},
        {.name = "owner", .text = "64055", .number = 64055},
        {.name = "mtu", .text = "0"},
        {.name = "netns", .text = "false"},
        {.name = "netns_address", .text = "192.0.0.1/29"},
        {.name = "dns", .text = "false"},
        {.name = "dns_program", .text = "/usr/libexec/runner-dns"},
        {.name = "dns_upstream", .text = "192.0.2.53:5353"},
        {.name = "allow_private", .text = "192.168.0.0/16"},
    };

    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        if (name != NULL && strcmp(values[i].name, name) == 0) {
            values[i].text = text;
            values[i].number = number;
        }
    return runner_plugin_1()->create(values, ARRAY_LEN(values), ret_self, &err);
}

void *make(void)
{
    void *self = NULL;

    cr_assert_eq(create(NULL, NULL, 0, &self), 0, "%s", err.message);
    names_swept(((struct bridge *)self)->names);
    return self;
}

struct runner_nic make_nic(void)
{
    return (struct runner_nic){.size = sizeof(struct runner_nic),
                               .mac = "02:00:00:00:00:07",
                               .address = "10.0.0.7",
                               .gateway = "10.0.0.1",
                               .prefix_len = 24};
}

char *plan(void *self, bool is_attach, const char *id, struct runner_nic *nic)
{
    struct runner_batch *batch = fake_host()->batch_new(fake_call());
    char *text;
    int r = is_attach ? ops->attach(self, fake_call(), batch, id, nic, &err)
                      : ops->detach(self, fake_call(), batch, id, nic, &err);

    cr_assert_eq(r, 0, "%s", err.message);
    text = fake_batch_text(batch);
    fake_host()->batch_free(batch);
    return text;
}

void expect_plan(void *self, bool is_attach, const char *id, struct runner_nic *nic, const char *want)
{
    auto_free char *text = plan(self, is_attach, id, nic);
    auto_str struct str taps = STR_INIT;

    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1)
        if (text_starts(line, "TAP_", NULL))
            str_add_mem(&taps, line, strcspn(line, "\n") + 1);
    cr_expect_str_eq(str_text(&taps), want);
}

void release(void *self, const char *id)
{
    cr_expect_eq(ops->release(self, id, &err), 0);
}

char *plan_policy_of(void *self, const struct runner_policy *policy)
{
    struct runner_nic nic = make_nic();
    struct runner_batch *batch = fake_host()->batch_new(fake_call());
    char *text = NULL;

    nic.kind = RUNNER_NIC_TAP;
    SET(nic.name, "tap-a");
    if (ops->apply_policy(self, fake_call(), batch, "a", &nic, policy, &err) == 0)
        text = fake_batch_text(batch);
    fake_host()->batch_free(batch);
    return text;
}
