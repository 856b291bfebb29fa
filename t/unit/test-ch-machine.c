/* The operations of vmm/cloud-hypervisor, against scripted connections: what is asked, what is read back. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "plugins/vmm/cloud-hypervisor/machine.h"
#include "t/unit/ch-script.h"

TestSuite(ch_machine, .init = script_open, .fini = script_close, .timeout = 60);

static const char *info(const char *state)
{
    auto_free char *body = mem_printf("{\"config\":{},\"state\":\"%s\"}", state);

    return with_body(200, body);
}

static const char *refusal(void)
{
    return with_body(500, "[\"Error from API\",\"The VM could not be paused\",\"Invalid transition\"]");
}

Test(ch_machine, pause_of_what_is_paused)
{
    struct script *script = script_add(false);

    script->pieces[0] = refusal();
    script->pieces[1] = info("Paused");
    cr_expect_eq(machine_pause(&ch, fake_call(), &vm, &err), 0, "%s", err.message);
    cr_expect_not_null(strstr(heard(0), "vm.pause"));
}

Test(ch_machine, pause_that_is_refused)
{
    struct script *script = script_add(false);

    script->pieces[0] = refusal();
    script->pieces[1] = info("Running");
    cr_expect_eq(machine_pause(&ch, fake_call(), &vm, &err), -1);
    cr_expect_str_eq(err.message, "Cloud Hypervisor refuses vm.pause: Error from API: The VM could not be paused: "
                                  "Invalid transition");
}

/* The answer is lost, the effect is there. */
Test(ch_machine, d06_pause_whose_answer_is_lost)
{
    (void)script_add(false);
    expect_text(info("Paused"));
    cr_expect_eq(machine_pause(&ch, fake_call(), &vm, &err), 0, "%s", err.message);
    cr_expect_eq(n_dialled, 2);
}

/* Its connection broke on the way, as one through ssh may. */
Test(ch_machine, d06_pause_whose_connection_is_lost)
{
    (void)script_add(true);
    expect_text(info("Paused"));
    cr_expect_eq(machine_pause(&ch, fake_call(), &vm, &err), 0, "%s", err.message);
    cr_expect_not_null(strstr(heard(0), "vm.pause"));
    cr_expect_not_null(strstr(heard(1), "vm.info"));
}

/* It is done, and what is said of it is no answer. */
Test(ch_machine, d06_pause_that_is_answered_with_garbage)
{
    expect_text("\x16\x03 no HTTP\r\n\r\n");
    expect_text(info("Paused"));
    cr_expect_eq(machine_pause(&ch, fake_call(), &vm, &err), 0, "%s", err.message);
    script_renew();
    expect_text("\x16\x03 no HTTP\r\n\r\n");
    expect_text(info("Running"));
    cr_expect_eq(machine_pause(&ch, fake_call(), &vm, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_INVALID, "%s", err.message);
}

Test(ch_machine, pause_that_hangs)
{
    (void)script_add(false);
    expect_text(info("Running"));
    cr_expect_eq(machine_pause(&ch, fake_call(), &vm, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_TIMEOUT, "%s", err.message);
}

Test(ch_machine, d06_boot_whose_answer_is_lost)
{
    struct script *script = script_add(false);

    script->pieces[0] = EMPTY;
    expect_text(info("Running"));
    cr_expect_eq(machine_boot(&ch, fake_call(), &vm, &err), 0, "%s", err.message);
}

/* A configuration that it would boot without confinement must go before the machine is made without. */
Test(ch_machine, no_landlock_after_all)
{
    struct script *script = script_add(false);
    const char *text, *at;

    script->pieces[0] = with_body(500, "[\"Error from API\",\"Failed to apply landlock config during vm_create\"]");
    for (int i = 1; i <= 3; i++)
        script->pieces[i] = EMPTY;
    cr_expect_eq(machine_boot(&ch, fake_call(), &vm, &err), 0, "%s", err.message);
    text = heard(0);
    cr_assert_not_null(at = strstr(text, "\"landlock_enable\":true"));
    cr_assert_not_null(at = strstr(at, "PUT /api/v1/vm.delete"), "%s", text);
    cr_assert_not_null(at = strstr(at, "PUT /api/v1/vm.create"));
    cr_expect_null(strstr(at, "landlock"));
    cr_expect_not_null(strstr(at, "PUT /api/v1/vm.boot"));
    cr_expect_not_null(strstr(fake_host_log(), "warn vmm.no_landlock vmm=cloud-hypervisor reason="));
    cr_expect_not(ch.facts.has_landlock);
}

Test(ch_machine, landlock_is_insisted_on)
{
    ch.landlock = "on";
    expect_text(with_body(500, "[\"Error from API\",\"Failed to apply landlock config during vm_create\"]"));
    cr_expect_eq(machine_boot(&ch, fake_call(), &vm, &err), -1);
    cr_expect_null(strstr(heard(0), "vm.boot"));
}

/* ---- boot with a TAP: all but vm.boot in one go ---- */

static const struct runner_vm *vm_with_tap(void)
{
    static const struct runner_nic nic = {
        .size = sizeof nic, .kind = RUNNER_NIC_TAP, .name = "tap-1", .mac = "02:00:00:00:00:01"};
    static const struct runner_nic *const nics[] = {&nic};
    static struct runner_vm with;

    with = vm;
    with.nics = nics;
    with.n_nics = 1;
    return &with;
}

static const char *info_with_nics(int n)
{
    auto_free char *body =
        mem_printf("{\"config\":{\"net\":[%s]},\"state\":\"Created\"}", n > 0 ? "{\"id\":\"net0\"}" : "");

    return with_body(200, body);
}

/* Each behind a blank. */
static const char *calls_in(const char *text)
{
    static char names[256];
    size_t len = 0;

    for (const char *at = text; (at = strstr(at, "/api/v1/")) != NULL;) {
        at += strlen("/api/v1/");
        len += (size_t)snprintf(names + len, sizeof names - len, " %.*s", (int)strcspn(at, " "), at);
    }
    names[len] = '\0';
    return names;
}

/* That connection i was sent. */
static const char *calls_of(int i)
{
    return calls_in(heard(i));
}

Test(ch_machine, boot_with_a_tap)
{
    struct script *script = script_add(false);

    for (int i = 0; i < 3; i++)
        script->pieces[i] = EMPTY;
    cr_expect_eq(machine_boot(&ch, fake_call(), vm_with_tap(), &err), 0, "%s", err.message);
    cr_expect_str_eq(calls_of(0), " vm.create vm.add-net vm.boot");
}

/* A machine that is not all there does not run for a moment. */
Test(ch_machine, no_boot_without_its_network)
{
    struct script *script = script_add(false);

    script->pieces[0] = EMPTY;
    script->pieces[1] =
        with_body(500, "[\"Error from API\",\"The network device could not be added to the VM\",\"x\"]");
    cr_expect_eq(machine_boot(&ch, fake_call(), vm_with_tap(), &err), -1);
    cr_expect_str_eq(err.message,
                     "Cloud Hypervisor refuses vm.add-net: Error from API: The network device could not be "
                     "added to the VM: x");
    cr_expect_str_eq(calls_of(0), " vm.create vm.add-net");
    cr_expect_eq(n_dialled, 1);
}

Test(ch_machine, no_boot_of_what_was_refused)
{
    ch.landlock = "on";
    expect_text(with_body(500, "[\"Error from API\",\"Failed to apply landlock config during vm_create\"]"));
    cr_expect_eq(machine_boot(&ch, fake_call(), vm_with_tap(), &err), -1);
    cr_expect_str_eq(calls_of(0), " vm.create vm.add-net");
}

/* What was asked at once with the refused is dropped with its connection. */
Test(ch_machine, no_landlock_after_all_with_a_tap)
{
    struct script *script;

    expect_text(with_body(500, "[\"Error from API\",\"Failed to apply landlock config during vm_create\"]"));
    script = script_add(false);
    for (int i = 0; i < 4; i++)
        script->pieces[i] = EMPTY;
    cr_expect_eq(machine_boot(&ch, fake_call(), vm_with_tap(), &err), 0, "%s", err.message);
    cr_expect_str_eq(calls_of(1), " vm.delete vm.create vm.add-net vm.boot");
}

Test(ch_machine, d06_create_whose_answer_is_lost)
{
    struct script *script;

    ch.facts.has_landlock = false;
    (void)script_add(false);
    script = script_add(false);
    script->pieces[0] = info_with_nics(0);
    script->pieces[1] = script->pieces[2] = EMPTY;
    cr_expect_eq(machine_boot(&ch, fake_call(), vm_with_tap(), &err), 0, "%s", err.message);
    cr_expect_str_eq(calls_of(1), " vm.info vm.add-net vm.boot", "what is missing");
}

/* The answer would have told whether it is confined. */
static struct script *lose_create(void)
{
    struct script *script;

    (void)script_add(false);
    script = script_add(false);
    script->pieces[0] = info_with_nics(1);
    script->pieces[1] = EMPTY; /* vm.delete's */
    return script;
}

Test(ch_machine, d06_s05_create_whose_answer_is_lost)
{
    struct script *script = lose_create();
    const char *text;

    script->pieces[2] = script->pieces[3] = script->pieces[4] = EMPTY;
    cr_expect_eq(machine_boot(&ch, fake_call(), vm_with_tap(), &err), 0, "%s", err.message);
    text = heard(1);
    cr_expect_not_null(strstr(text, "\"landlock_enable\":true"));
    cr_expect_str_eq(calls_in(text), " vm.info vm.delete vm.create vm.add-net vm.boot");
}

Test(ch_machine, d06_s05_create_whose_answers_are_lost)
{
    (void)lose_create();
    cr_expect_eq(machine_boot(&ch, fake_call(), vm_with_tap(), &err), -1);
    cr_expect_str_eq(err.message, "Cloud Hypervisor does not answer vm.create in time");
    cr_expect_str_eq(calls_of(1), " vm.info vm.delete vm.create vm.add-net");
    cr_expect_eq(n_dialled, 2);
}

/* Where the rules were refused, that is heard the second time. */
Test(ch_machine, s05_no_landlock_and_the_answer_is_lost)
{
    struct script *script = lose_create();
    const char *text, *at;

    script->pieces[2] = with_body(500, "[\"Error from API\",\"Failed to apply landlock config during vm_create\"]");
    script = script_add(false);
    for (int i = 0; i < 4; i++)
        script->pieces[i] = EMPTY;
    cr_expect_eq(machine_boot(&ch, fake_call(), vm_with_tap(), &err), 0, "%s", err.message);
    cr_expect_str_eq(calls_of(1), " vm.info vm.delete vm.create vm.add-net");
    text = heard(2);
    cr_expect_null(strstr(text, "landlock"));
    cr_expect_str_eq(calls_in(text), " vm.delete vm.create vm.add-net vm.boot");
    cr_assert_not_null(at = strstr(fake_host_log(), "warn vmm.no_landlock "));
    cr_expect_null(strstr(at + 1, "warn vmm.no_landlock"));
}

Test(ch_machine, s05_landlock_is_insisted_on_and_the_answer_is_lost)
{
    struct script *script = lose_create();

    ch.landlock = "on";
    script->pieces[2] = with_body(500, "[\"Error from API\",\"Failed to apply landlock config during vm_create\"]");
    cr_expect_eq(machine_boot(&ch, fake_call(), vm_with_tap(), &err), -1);
    cr_expect_str_eq(err.message, "Cloud Hypervisor refuses vm.create: Error from API: Failed to apply landlock config "
                                  "during vm_create");
    cr_expect_str_eq(calls_of(1), " vm.info vm.delete vm.create vm.add-net");
}

/* What may be unconfined and cannot be removed does not run. */
Test(ch_machine, s05_what_is_not_removed_is_not_booted)
{
    struct script *script = lose_create();

    script->pieces[1] = with_body(500, "[\"Error from API\",\"The VM could not be deleted\"]");
    script->pieces[2] = info_with_nics(1);
    cr_expect_eq(machine_boot(&ch, fake_call(), vm_with_tap(), &err), -1);
    cr_expect_str_eq(err.message, "Cloud Hypervisor does not answer vm.create in time");
    cr_expect_str_eq(calls_of(1), " vm.info vm.delete vm.info");
}

Test(ch_machine, d06_add_net_whose_answer_is_lost)
{
    struct script *script;

    expect_text(EMPTY);
    script = script_add(false);
    script->pieces[0] = info_with_nics(1);
    script->pieces[1] = EMPTY;
    cr_expect_eq(machine_boot(&ch, fake_call(), vm_with_tap(), &err), 0, "%s", err.message);
    cr_expect_str_eq(calls_of(1), " vm.info vm.boot");
}

Test(ch_machine, d06_add_net_that_hangs)
{
    expect_text(EMPTY);
    expect_text(info_with_nics(0));
    cr_expect_eq(machine_boot(&ch, fake_call(), vm_with_tap(), &err), -1);
    cr_expect_eq(err.code, RUNNER_E_TIMEOUT);
    cr_expect_str_eq(err.message, "Cloud Hypervisor does not answer vm.add-net in time");
}

Test(ch_machine, d06_create_that_hangs)
{
    (void)script_add(false);
    expect_text("HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n");
    cr_expect_eq(machine_boot(&ch, fake_call(), vm_with_tap(), &err), -1);
    cr_expect_str_eq(err.message, "Cloud Hypervisor does not answer vm.create in time");
}

/* ---- state ---- */

Test(ch_machine, status)
{
    static const struct {
        const char *word;
        uint32_t state;
    } cases[] = {{"Running", RUNNER_VM_RUNNING},
                 {"Paused", RUNNER_VM_PAUSED},
                 {"Created", RUNNER_VM_ENDED},
                 {"BreakPoint", RUNNER_VM_FAILED}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct runner_vm_status status = {.size = sizeof status};

        expect_text(info(cases[i].word));
        cr_expect_eq(machine_status(&ch, fake_call(), &vm, &status, &err), 0, "%s", err.message);
        cr_expect_eq(status.state, cases[i].state);
        cr_expect_str_eq(status.text, cases[i].word);
        script_renew();
    }
}

Test(ch_machine, status_of_none)
{
    struct runner_vm_status status = {.size = sizeof status};

    cr_expect_eq(machine_status(&ch, fake_call(), &vm, &status, &err), 0);
    cr_expect_eq(status.state, RUNNER_VM_ABSENT);
    expect_text("HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n");
    cr_expect_eq(machine_status(&ch, fake_call(), &vm, &status, &err), 0);
    cr_expect_eq(status.state, RUNNER_VM_ENDED);
    cr_expect_str_eq(status.text, "no machine");
}

/* Who refuses is there: no word of a refusal makes a machine absent. */
Test(ch_machine, d05_status_that_is_refused)
{
    struct runner_vm_status status = {.size = sizeof status};

    expect_text(with_body(500, "[\"Error from API\",\"No such file or directory (os error 2)\"]"));
    cr_expect_eq(machine_status(&ch, fake_call(), &vm, &status, &err), -1);
    cr_expect_not_null(strstr(err.message, "refuses vm.info"), "%s", err.message);
}

/* The VMM thread panicked: its HTTP thread says so, for a moment, and the process ends. */
Test(ch_machine, boot_of_which_the_vmm_dies)
{
    struct script *script = script_add(false);
    const char *dying =
        with_body(500, "[\"Error from API\",\"API request send error\",\"sending on a closed channel\"]");

    script->pieces[0] = EMPTY;
    script->pieces[1] =
        with_body(500, "[\"Error from API\",\"API response receive error\",\"receiving on a closed channel\"]");
    script->pieces[2] = dying;
    fake_host_answer(RUNNER_ALIVE, "", 1, 0, NULL);
    fake_host_answer(RUNNER_READ, "", 0, 0, "thread 'vmm' panicked");
    cr_expect_eq(machine_boot(&ch, fake_call(), &vm, &err), -1);
    cr_expect_not_null(strstr(err.message, "Cloud Hypervisor ended with status 0: thread 'vmm' panicked"), "%s",
                       err.message);
}

/* Silence is no death. */
Test(ch_machine, d06_status_in_silence)
{
    struct runner_vm_status status = {.size = sizeof status};

    (void)script_add(false);
    cr_expect_eq(machine_status(&ch, fake_call(), &vm, &status, &err), -1);
    cr_expect_eq(err.code, RUNNER_E_TIMEOUT);
}

static int counters_of(const char *body, struct runner_vm_counters *ret)
{
    expect_text(with_body(200, body));
    return machine_counters(&ch, fake_call(), &vm, ret, &err);
}

Test(ch_machine, counters)
{
    struct runner_vm_counters counters = {.size = sizeof counters};

    cr_assert_eq(counters_of("{\"disk0\":{\"read_bytes\":512,\"write_bytes\":1024,\"read_ops\":1,\"write_ops\":2,"
                             "\"read_latency_min\":18446744073709551615,\"x\":\"18446744073709551615\"},"
                             "\"disk1\":{\"read_bytes\":1,\"read_ops\":1},"
                             "\"net0\":{\"rx_bytes\":10,\"rx_frames\":3,\"tx_bytes\":20,\"tx_frames\":4}}",
                             &counters),
                 0, "%s", err.message);
    cr_expect_eq(counters.disk_read_bytes, 513);
    cr_expect_eq(counters.disk_write_bytes, 1024);
    cr_expect_eq(counters.disk_reads, 2);
    cr_expect_eq(counters.disk_writes, 2);
    cr_expect_eq(counters.net_rx_bytes, 10);
    cr_expect_eq(counters.net_tx_bytes, 20);
    cr_expect_eq(counters.net_rx_packets, 3);
    cr_expect_eq(counters.net_tx_packets, 4);
}

Test(ch_machine, counters_of_nonsense)
{
    struct runner_vm_counters counters = {.size = sizeof counters, .disk_reads = 7};

    cr_expect_eq(counters_of("[1]", &counters), -1);
    cr_expect_eq(err.code, RUNNER_E_INVALID);
    cr_expect_eq(counters.disk_reads, 7, "untouched on failure");
}
