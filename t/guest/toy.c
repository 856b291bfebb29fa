/*
 * The toy guest: a kernel of a few KiB for tests of real VMMs (PVH, x86), where a Linux would be slow or does not run.
 *
 * On ttyS0 (port 0x3f8) it writes "toy: up", its command line, and then "tick 0", "tick 1", ... every 10 ms; a machine
 * that is paused does not tick. It obeys the ACPI power button of Cloud Hypervisor ("toy: button", then it powers off).
 * What else interrupts like that: a new PCI device is told apart ("toy: device"), other hot-plugging and unplugging is
 * not, so use `nobutton` with it. It never gives up a device. It never waits with hlt, so it keeps one CPU busy.
 *
 * Words of the command line, N counts ticks and is 0 when left out; others are ignored:
 *   tick=MS      another period, 1 to 1000
 *   quiet        no lines for ticks
 *   poweroff=N   ACPI S5 after tick N ("toy: power off")
 *   reboot=N     reset by the keyboard controller ("toy: reboot")
 *   panic=N      tells the pvpanic device and halts ("toy: panic", or "toy: no pvpanic")
 *   nobutton     takes no notice of the button ("toy: event")
 *   idle         halts after the first lines and does nothing more: costs no CPU, and has no power button
 *   touch=MIB    first writes to so many MiB of memory from 16 MiB on ("toy: touched")
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct start_info { /* hvm_start_info of the PVH boot protocol */
    uint32_t magic, version, flags, n_modules;
    uint64_t modules, cmdline, rsdp;
};

#define COM1         0x3f8
#define KEYBOARD     0x64
#define SLEEP        0x600 /* ACPI sleep register of Cloud Hypervisor; PM1a control of QEMU's q35 is 4 further */
#define LAPIC        0xfee00000u
#define IOAPIC       0xfec00000u
#define PCI_ADDRESS  0xcf8
#define PCI_DATA     0xcfc
#define PM_TIMER     0x608 /* of ACPI, 24 bits that count time, both in Cloud Hypervisor and in QEMU's q35 */
#define PM_STEPS_MS  3580
#define FIRST_VECTOR 33

void toy_main(const struct start_info *info);

/* ---- ports, memory, words ---------------------------------------------------------------------------------------- */

static void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static void out16(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static void out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static uint32_t in32(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static volatile uint32_t *at32(uint32_t address)
{
    return (volatile uint32_t *)address;
}

static volatile uint8_t *at8(uint32_t address)
{
    return (volatile uint8_t *)address;
}

static void say(const char *text)
{
    for (; *text != '\0'; text++)
        out8(COM1, (uint8_t)*text);
}

static void say_number(uint32_t n)
{
    char digits[11];
    char *p = digits + sizeof digits - 1;

    *p = '\0';
    do
        *--p = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    say(p);
}

/* The number behind a word of the command line, 0 without one; -1: the word is not there. */
static int32_t word(const char *line, const char *name)
{
    while (*line != '\0') {
        const char *w = name;
        int32_t n = 0;

        while (*line == ' ')
            line++;
        while (*w != '\0' && *line == *w)
            line++, w++;
        if (*w == '\0' && (*line == ' ' || *line == '\0'))
            return 0;
        if (*w == '\0' && *line == '=') {
            while (*++line >= '0' && *line <= '9' && n < 100000000)
                n = n * 10 + (*line - '0');
            return n;
        }
        while (*line != ' ' && *line != '\0')
            line++;
    }
    return -1;
}

/* ---- time and interrupts: looked at, never taken: not every KVM delivers one to such a guest --------------------- */

static void wait_ms(uint32_t ms)
{
    uint32_t start = in32(PM_TIMER), last = start, unchanged = 0;

    while (((last - start) & 0xffffff) < ms * PM_STEPS_MS && unchanged < 1000000) {
        uint32_t now = in32(PM_TIMER);

        unchanged = now == last ? unchanged + 1 : 0; /* no such timer: nearly no waiting */
        last = now;
    }
}

/*
 * The ACPI event device of Cloud Hypervisor says by registers what happened, at the top of the physical addresses,
 * which a guest without paging does not reach. Its interrupt does come through the I/O APIC, where nothing else
 * interrupts here. It stays pending in the local APIC, so the next one is given the next vector.
 */
static uint32_t event_vector;

static void events_await(void)
{
    event_vector = event_vector == 0 ? FIRST_VECTOR : event_vector + (event_vector < 250);
    *at32(LAPIC + 0xf0) = 0x1ff;              /* on; spurious vector 255 */
    for (uint32_t pin = 5; pin < 24; pin++) { /* below are timer and serial ports */
        *at32(IOAPIC) = 0x10 + 2 * pin + 1;
        *at32(IOAPIC + 0x10) = 0; /* to the first processor */
        *at32(IOAPIC) = 0x10 + 2 * pin;
        *at32(IOAPIC + 0x10) = event_vector; /* an edge */
    }
}

static bool event_came(void)
{
    return (*at32(LAPIC + 0x200 + event_vector / 32 * 16) >> event_vector % 32 & 1) != 0;
}

/* The PCI devices there are, a bit a slot. */
static uint32_t slots(void)
{
    uint32_t mask = 0;

    for (uint32_t slot = 0; slot < 32; slot++) {
        out32(PCI_ADDRESS, 0x80000000u | slot << 11);
        if (in32(PCI_DATA) != 0xffffffff)
            mask |= 1u << slot;
    }
    return mask;
}

/* ---- ends -------------------------------------------------------------------------------------------------------- */

static _Noreturn void halt(void)
{
    for (;;)
        __asm__ volatile("cli; hlt");
}

static _Noreturn void power_off(void)
{
    say("toy: power off\n");
    out8(SLEEP, 5 << 2 | 1 << 5);        /* Cloud Hypervisor: sleep type 5, enable */
    out16(SLEEP + 4, 0 << 10 | 1 << 13); /* QEMU: sleep type 0, enable */
    halt();
}

static _Noreturn void reboot(void)
{
    say("toy: reboot\n");
    out8(KEYBOARD, 0xfe);
    halt();
}

static _Noreturn void panic(void)
{
    for (uint32_t slot = 0; slot < 32; slot++) {
        uint32_t bar;

        out32(PCI_ADDRESS, 0x80000000u | slot << 11);
        if (in32(PCI_DATA) != 0x00111b36)
            continue;
        out32(PCI_ADDRESS, 0x80000000u | slot << 11 | 0x10);
        bar = in32(PCI_DATA) & ~15u;
        say("toy: panic\n");
        *at8(bar) = 1;
        halt();
    }
    say("toy: no pvpanic\n");
    halt();
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void obey(bool ignores_button)
{
    static uint32_t known;
    uint32_t before = known;

    if (known != 0 && !event_came())
        return;
    events_await();
    known = slots();
    if (before == 0) /* the first time: nothing has happened yet */
        return;
    if ((known & ~before) != 0) {
        say("toy: device\n");
    } else if (ignores_button) {
        say("toy: event\n");
    } else {
        say("toy: button\n");
        power_off();
    }
}

static void touch(int32_t mib)
{
    for (uint32_t page = 16 << 20; page < (uint32_t)(16 + mib) << 20; page += 4096)
        *at32(page) = page;
    say("toy: touched\n");
}

void toy_main(const struct start_info *info)
{
    const char *line = info->cmdline != 0 ? (const char *)(uint32_t)info->cmdline : "";
    int32_t period_ms = word(line, "tick"), off = word(line, "poweroff"), again = word(line, "reboot"),
            bad = word(line, "panic"), mib = word(line, "touch");

    say("toy: up\n");
    say(line);
    say("\n");
    if (mib > 0 && mib < 2048)
        touch(mib);
    if (word(line, "idle") >= 0)
        halt();
    obey(true);
    for (int32_t n = 0;; n++) {
        if (word(line, "quiet") < 0) {
            say("tick ");
            say_number((uint32_t)n);
            say("\n");
        }
        if (n == bad)
            panic();
        if (n == off)
            power_off();
        if (n == again)
            reboot();
        obey(word(line, "nobutton") >= 0);
        wait_ms(period_ms >= 1 && period_ms <= 1000 ? (uint32_t)period_ms : 10);
    }
}
