/*
 * The guest: says a line on the serial console, has a daemon, obeys the power button, gives up what is taken away, and
 * does what the wish "guest" says. Two kernels are known by what stands in them, and played: the one that a probe of
 * the host boots, which says "runner-probe-ok" and powers off, and the toy kernel (t/guest/toy.c) with the words of
 * its command line.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "t/fake/fake-ch.h"
#include "t/fake/loopback.h"

static struct {
    bool is_probe, is_toy, has_halted;
    bool has_acted;                                                                 /* the wish "guest" is done once */
    bool is_button_due;                                                             /* pressed while paused */
    bool is_device_due, is_event_due;                                               /* plugged meanwhile */
    int64_t up_at_ms, end_at_ms, act_at_ms, vcpus_at_ms, balloon_at_ms, tick_at_ms; /* 0: never */
    int64_t balloon;                                                                /* what it is asked for */
    int vcpus, ticks, restored_ticks;
} guest;

void fguest_know(const char *kernel, size_t len)
{
    guest.is_probe = memmem(kernel, len, "runner-probe-ok", 15) != NULL;
    guest.is_toy = memmem(kernel, len, "toy: up", 7) != NULL;
}

/* What a snapshot keeps of it. */
void fguest_save(struct str *out)
{
    str_addf(out, "%s %d", guest.is_toy ? "toy" : "plain", guest.ticks);
}

void fguest_load(const char *text)
{
    guest.is_probe = false;
    guest.is_toy = strncmp(text, "toy ", 4) == 0;
    guest.restored_ticks = guest.is_toy ? (int)strtol(text + 4, NULL, 10) : 0;
}

static void power_off(void)
{
    guest.end_at_ms = 0;
    if (!ch.is_kept)
        ch_stop();
    vm_stop();
    event_say("vm", "shutdown", NULL, NULL);
}

/* By the guest itself: where it fails the process ends, and not cleanly. */
static void reboot(void)
{
    struct cause c = {.json = STR_INIT};

    if (vm_reboot(&c) == 0)
        return;
    (void)fprintf(stderr, "Error: Cloud Hypervisor exited with the following chain of errors:\n  0: %s\n", c.json.ptr);
    exit(1);
}

/* As often as is wished. */
static void panic(void)
{
    int64_t times = fake_wish_ms("panics");

    if (json_bool(vm.config, "pvpanic", false))
        do
            event_say("guest", "panic", "event", "panic");
        while (--times > 0);
}

/* ---- the toy kernel ---------------------------------------------------------------------------------------------- */

/* The number behind a word of the command line, 0 without one; -1: the word is not there. */
static int64_t word(const char *name)
{
    size_t len = strlen(name);

    for (const char *p = json_text(tree_member(vm.config, "payload"), "cmdline", ""); *p != '\0';
         p += strcspn(p, " "), p += strspn(p, " "))
        if (strncmp(p, name, len) == 0 && (p[len] == '\0' || p[len] == ' ' || p[len] == '='))
            return p[len] == '=' ? strtol(p + len + 1, NULL, 10) : 0;
    return -1;
}

static void toy_up(void)
{
    vm_serial("toy: up\n");
    vm_serial(json_text(tree_member(vm.config, "payload"), "cmdline", ""));
    vm_serial("\n");
    if (word("touch") > 0)
        vm_serial("toy: touched\n");
    guest.has_halted = word("idle") >= 0;
    if (!guest.has_halted)
        guest.tick_at_ms = fake_now_ms();
}

static void toy_tick(void)
{
    int64_t period_ms = word("tick"), n = guest.ticks++;
    char text[32];

    guest.tick_at_ms = fake_now_ms() + (period_ms >= 1 && period_ms <= 1000 ? period_ms : 10);
    (void)snprintf(text, sizeof text, "tick %lld\n", (long long)n);
    if (word("quiet") < 0)
        vm_serial(text);
    if (n == word("panic")) {
        vm_serial(json_bool(vm.config, "pvpanic", false) ? "toy: panic\n" : "toy: no pvpanic\n");
        guest.tick_at_ms = 0;
        guest.has_halted = true;
        panic();
    } else if (n == word("poweroff")) {
        vm_serial("toy: power off\n");
        power_off();
    } else if (n == word("reboot")) {
        vm_serial("toy: reboot\n");
        reboot();
    }
}

static void toy_event(bool is_device)
{
    if (guest.has_halted)
        return;
    if (is_device) {
        vm_serial("toy: device\n");
    } else if (word("nobutton") >= 0) {
        vm_serial("toy: event\n");
    } else {
        vm_serial("toy: button\ntoy: power off\n");
        guest.end_at_ms = fake_now_ms();
    }
}

/* ---- what it is asked -------------------------------------------------------------------------------------------- */

int64_t fguest_delay_ms(void)
{
    const char *wish = fake_wish("eject-ms");

    if (guest.is_toy || (wish != NULL && strcmp(wish, "never") == 0))
        return -1;
    return wish == NULL ? 5 : strtol(wish, NULL, 10);
}

void fguest_power_button(void)
{
    if (vm.state != VM_RUNNING)
        guest.is_button_due = true;
    else if (guest.is_toy)
        toy_event(false);
    else if (fake_wish("ignore-powerdown") == NULL)
        guest.end_at_ms = fake_now_ms() + fake_wish_ms("powerdown-ms");
}

void fguest_plug(bool is_new)
{
    if (!guest.is_toy)
        return;
    if (vm.state == VM_RUNNING) {
        toy_event(is_new);
    } else { /* it is interrupted once, and looks for a new device first */
        guest.is_device_due = guest.is_device_due || is_new;
        guest.is_event_due = true;
    }
}

void fguest_remove_vcpus(int left)
{
    guest.vcpus = left;
    vm.removing_vcpus = true;
    guest.vcpus_at_ms = fguest_delay_ms() < 0 ? 0 : fake_now_ms() + fguest_delay_ms();
    fguest_plug(false);
}

void fguest_balloon(int64_t bytes)
{
    guest.balloon = bytes;
    guest.balloon_at_ms = fguest_delay_ms() < 0 ? 0 : fake_now_ms() + fguest_delay_ms();
}

void fguest_plug_memory(int64_t bytes)
{
    if (fguest_delay_ms() >= 0) /* the toy has no driver */
        vm.plugged = bytes;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static uint16_t daemon_port(void)
{
    auto_free char *path = mem_printf("%s.port", ch.program);
    auto_fclose FILE *file = fopen(path, "re");
    int port;

    return file != NULL && fscanf(file, "%d", &port) == 1 ? (uint16_t)port : LOOPBACK_PORT;
}

void fguest_start(bool is_restored)
{
    struct json *nets = tree_member(vm.config, "net");
    const char *mac = nets != NULL && nets->first != NULL ? json_text(nets->first, "mac", "") : "";
    const char *wish = fake_wish("guest"), *ms = wish != NULL ? strchr(wish, ' ') : NULL;
    uint32_t address = loopback_address(mac);

    guest.end_at_ms = guest.act_at_ms = guest.vcpus_at_ms = guest.balloon_at_ms = guest.tick_at_ms = 0;
    guest.ticks = is_restored ? guest.restored_ticks : 0;
    if (is_restored && guest.is_toy)
        guest.tick_at_ms = fake_now_ms();
    guest.is_button_due = guest.is_device_due = guest.is_event_due = guest.has_halted = false;
    guest.balloon = json_int(tree_member(vm.config, "balloon"), "size", 0);
    guest.up_at_ms = is_restored ? 0 : fake_now_ms() + fake_wish_ms("boot-ms");
    if (ms != NULL && !guest.has_acted)
        guest.act_at_ms = fake_now_ms() + strtol(ms, NULL, 10);
    if (guest_address() != 0) /* behind a TAP: met where a test makes its address one of the host's own */
        (void)guest_listen(guest_address(), LOOPBACK_PORT);
    else if (address != 0 && !guest_listen(address, daemon_port()))
        ch_fault("the guest cannot listen at the address of its MAC %s: %s", mac, strerror(errno));
}

void fguest_end(void)
{
    guest_close();
}

static void up(void)
{
    const char *text = fake_wish("serial");

    guest.up_at_ms = 0;
    if (guest.is_toy) {
        toy_up();
        return;
    }
    vm_serial(guest.is_probe ? "runner-probe-ok" : text != NULL ? text : "fake guest is up");
    vm_serial("\r\n");
    if (guest.is_probe)
        guest.end_at_ms = fake_now_ms();
}

static void act(void)
{
    const char *wish = fake_wish("guest");

    guest.has_acted = true;
    if (strncmp(wish, "poweroff", 8) == 0)
        power_off();
    else if (strncmp(wish, "reboot", 6) == 0)
        reboot();
    else if (strncmp(wish, "panic", 5) == 0)
        panic();
    else if (strncmp(wish, "crash", 5) == 0)
        ch_signal_self(SIGSYS);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

int64_t fguest_wake_at_ms(void)
{
    if (!vm.exists || vm.state != VM_RUNNING)
        return 0;
    if (guest.is_button_due || guest.is_event_due)
        return fake_now_ms();
    return earlier(earlier(earlier(guest.up_at_ms, guest.end_at_ms), guest.tick_at_ms),
                   earlier(guest.act_at_ms, earlier(guest.vcpus_at_ms, guest.balloon_at_ms)));
}

static bool is_due(int64_t *at_ms)
{
    bool due = *at_ms != 0 && fake_now_ms() >= *at_ms;

    if (due)
        *at_ms = 0;
    return due;
}

void fguest_tick(void)
{
    bool runs = vm.exists && vm.state == VM_RUNNING;

    if (runs && guest.is_button_due) {
        guest.is_button_due = false;
        fguest_power_button();
    }
    if (runs && guest.is_event_due) {
        bool is_new = guest.is_device_due;

        guest.is_event_due = guest.is_device_due = false;
        toy_event(is_new);
    }
    if (runs && is_due(&guest.up_at_ms))
        up();
    if (runs && is_due(&guest.vcpus_at_ms)) {
        vm.present_vcpus = guest.vcpus;
        vm.removing_vcpus = false;
    }
    if (runs && is_due(&guest.balloon_at_ms))
        vm.balloon = guest.balloon;
    if (runs && is_due(&guest.end_at_ms))
        power_off();
    else if (runs && is_due(&guest.act_at_ms))
        act();
    else if (runs && is_due(&guest.tick_at_ms))
        toy_tick();
    guest_is_stopped = !vm.exists || vm.state != VM_RUNNING || guest.up_at_ms != 0;
}
