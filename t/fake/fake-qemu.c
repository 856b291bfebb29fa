#include "t/fake/fake-qemu.h"
#include "t/fake/loopback.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct fake fake = {.name = "fake", .state = "running", .qmp_listen = -1, .serial = -1};
static volatile sig_atomic_t got_signal;

static void wishes_find(const char *program)
{
    const char *path = getenv("FAKE_QEMU");
    char name[4096];

    if (path != NULL) {
        (void)fake_wishes_read(path);
        return;
    }
    if (snprintf(name, sizeof name, "%s.conf.%s", program, fake.name) < (int)sizeof name && fake_wishes_read(name))
        return;
    if (snprintf(name, sizeof name, "%s.conf", program) < (int)sizeof name)
        (void)fake_wishes_read(name);
}

/* ---- ends ---- */

void fake_fail(const char *format, ...)
{
    va_list args;

    (void)fputs("qemu-system-x86_64: ", stderr);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    exit(1);
}

void fake_end(int status)
{
    struct sockaddr_un address;
    socklen_t len = sizeof address;

    if (fake.qmp_listen >= 0 && getsockname(fake.qmp_listen, (struct sockaddr *)&address, &len) == 0 &&
        len > sizeof address.sun_family && address.sun_path[0] == '/')
        (void)unlink(address.sun_path);
    exit(status);
}

static void exit_as_wished(const char *how)
{
    char *text;
    long status = strtol(how, &text, 10);

    if (*text != '\0')
        (void)fprintf(stderr, "qemu-system-x86_64:%s\n", text);
    exit((int)status);
}

/* ---- the command line ---- */

static int option_fd(const char *value)
{
    const char *fd = strstr(value, "fd=");
    int number = fd != NULL ? (int)strtol(fd + 3, NULL, 10) : -1;

    if (fcntl(number, F_GETFD) < 0)
        fake_fail("%s: Can't use file descriptor %d: Bad file descriptor", value, number);
    return number;
}

static void set_chardev(const char *value)
{
    if (strncmp(value, "socket,", 7) != 0)
        return;
    fake.qmp_listen = option_fd(value);
    if (fcntl(fake.qmp_listen, F_SETFL, O_NONBLOCK) < 0)
        fake_fail("File descriptor '%d' is not a socket", fake.qmp_listen);
}

static void set_serial(const char *value)
{
    fake.serial = option_fd(value);
    if ((fcntl(fake.serial, F_GETFL) & O_ACCMODE) != O_WRONLY)
        fake_fail("-chardev file,id=con,path=/dev/fdset/1: Could not open '/dev/fdset/1': Permission denied");
}

/* Each "filename" of a block device: opened, and locked when the guest may write to it. */
static void open_disk(char *json)
{
    static const char key[] = "\"filename\":\"";
    bool is_readonly = strstr(json, "\"read-only\":true,\"file\"") != NULL;
    bool is_first = true;

    for (char *path = strstr(json, key); path != NULL; path = strstr(path, key), is_first = false) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1};
        bool is_written = is_first && !is_readonly;
        char *end;
        int fd;

        path += sizeof key - 1;
        end = strchr(path, '"');
        if (end == NULL)
            fake_fail("-blockdev %s: JSON parse error", json);
        *end = '\0';
        fd = open(path, (is_written ? O_RDWR : O_RDONLY) | O_CLOEXEC);
        if (fd < 0)
            fake_fail("-blockdev: Could not open '%s': %s", path, strerror(errno));
        if (is_written && fcntl(fd, F_OFD_SETLK, &lock) < 0)
            fake_fail("-blockdev: Failed to get \"write\" lock\nIs another process using the image [%s]?", path);
        if (is_first && is_readonly)
            guest_read_seed(path);
        *end = '"'; /* others read the command line */
        path = end + 1;
    }
}

/* A guest behind a TAP is met where a test makes its address one of the host's own. */
static void guest_join(void)
{
    if (fake.has_tap && guest_address() != 0)
        (void)guest_listen(guest_address(), LOOPBACK_PORT);
}

static void set_netdev(const char *value)
{
    const char *rule = strstr(value, "hostfwd=tcp:127.0.0.1:");
    long port = rule != NULL ? strtol(rule + strlen("hostfwd=tcp:127.0.0.1:"), NULL, 10) : 0;

    fake.has_tap = strncmp(value, "tap,", 4) == 0;
    if (strstr(value, "hostfwd=") != NULL &&
        (port < 1 || port > 65535 || !guest_listen(INADDR_LOOPBACK, (uint16_t)port)))
        fake_fail("-netdev user: Could not set up host forwarding rule '%s'",
                  strstr(value, "hostfwd=") + strlen("hostfwd="));
}

static void set_name(const char *value)
{
    fake.name = strndup(value, strcspn(value, ","));
}

struct option {
    const char *name;
    bool has_value;
};

/* Those whose value does not matter here are checked for being there. */
static const struct option options[] = {
    {"-name", true},       {"-nodefaults", false}, {"-no-user-config", false},
    {"-display", true},    {"-machine", true},     {"-accel", true},
    {"-bios", true},       {"-cpu", true},         {"-smp", true},
    {"-m", true},          {"-kernel", true},      {"-initrd", true},
    {"-append", true},     {"-chardev", true},     {"-mon", true},
    {"-add-fd", true},     {"-serial", true},      {"-blockdev", true},
    {"-device", true},     {"-netdev", true},      {"-object", true},
    {"-no-reboot", false}, {"-action", true},      {"-sandbox", true},
    {"-S", false},
};

static void apply(const char *name, char *value)
{
    if (strcmp(name, "-chardev") == 0)
        set_chardev(value);
    else if (strcmp(name, "-add-fd") == 0)
        set_serial(value);
    else if (strcmp(name, "-blockdev") == 0)
        open_disk(value);
    else if (strcmp(name, "-netdev") == 0)
        set_netdev(value);
    else if (strcmp(name, "-kernel") == 0)
        fake.kernel = value;
    else if (strcmp(name, "-accel") == 0)
        fake.has_kvm = strncmp(value, "kvm", 3) == 0;
    else if (strcmp(name, "-S") == 0)
        fake.is_paused_at_start = true;
}

static void each_option(char **argv, void (*fn)(const char *, char *))
{
    for (size_t i = 1; argv[i] != NULL; i++) {
        const struct option *option = NULL;

        for (size_t k = 0; k < sizeof options / sizeof options[0]; k++)
            if (strcmp(argv[i], options[k].name) == 0)
                option = &options[k];
        if (option == NULL)
            fake_fail("%s: invalid option", argv[i]);
        if (option->has_value && argv[i + 1] == NULL)
            fake_fail("%s: requires an argument", argv[i]);
        fn(option->name, option->has_value ? argv[i + 1] : NULL);
        i += option->has_value;
    }
}

static void apply_name(const char *name, char *value)
{
    if (strcmp(name, "-name") == 0)
        set_name(value);
}

/* ---- running ---- */

/* A machine without a monitor is a probe of the accelerator: its console is standard output. */
static _Noreturn void run_probe(void)
{
    const char *kvm = fake_wish("kvm");

    if (!fake.has_kvm || (kvm != NULL && strcmp(kvm, "work") == 0)) {
        (void)puts("runner-probe-ok");
        exit(0);
    }
    if (kvm != NULL && strcmp(kvm, "hang") == 0)
        for (;;)
            (void)pause();
    fake_fail("failed to initialize kvm: Permission denied");
}

static void say_on_serial(void)
{
    const char *text = fake_wish("serial");

    if (fake.serial >= 0)
        (void)dprintf(fake.serial, "%s\r\n", text != NULL ? text : "fake guest is up");
}

static void on_signal(int number)
{
    got_signal = number;
}

static void check_end(void)
{
    if (got_signal != 0) {
        (void)fprintf(stderr, "qemu-system-x86_64: terminating on signal %d\n", (int)got_signal);
        qmp_event("SHUTDOWN", "{\"guest\": false, \"reason\": \"host-signal\"}");
        fake_end(0);
    }
    if (fake.end_at_ms != 0 && fake_now_ms() >= fake.end_at_ms) {
        qmp_event("SHUTDOWN", "{\"guest\": true, \"reason\": \"guest-shutdown\"}");
        fake_end(0);
    }
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static _Noreturn void run(void)
{
    static struct pollfd set[FAKE_POLL_MAX];

    for (;;) {
        int64_t wake_at = earlier(fake.end_at_ms, qmp_wake_at_ms()), wait_ms = -1;
        int n_qmp, n_guest;

        if (wake_at != 0)
            wait_ms = wake_at > fake_now_ms() ? wake_at - fake_now_ms() : 0;
        n_qmp = qmp_poll_add(set);
        guest_is_stopped = strcmp(fake.state, "running") != 0;
        n_guest = guest_poll_add(set + n_qmp, FAKE_POLL_MAX - n_qmp);
        if (poll(set, (nfds_t)(n_qmp + n_guest), (int)wait_ms) < 0)
            for (int i = 0; i < n_qmp + n_guest; i++)
                set[i].revents = 0;
        check_end();
        qmp_poll_done(set, n_qmp);
        guest_poll_done(set + n_qmp, n_guest);
    }
}

int main(int argc, char **argv)
{
    const char *wish;

    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return puts("QEMU emulator version 7.2.22 (fake)") < 0;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_signal}, NULL);
    each_option(argv, apply_name);
    wishes_find(argv[0]);
    if ((wish = fake_wish("exit")) != NULL)
        exit_as_wished(wish);
    if ((wish = fake_wish("signal")) != NULL)
        (void)raise((int)strtol(wish, NULL, 10));
    each_option(argv, apply);
    guest_join();
    if (fake.kernel != NULL && access(fake.kernel, R_OK) < 0)
        fake_fail("could not open kernel file '%s': %s", fake.kernel, strerror(errno));
    if (fake.qmp_listen < 0)
        run_probe();
    if (fake.is_paused_at_start)
        fake.state = "prelaunch";
    if ((wish = fake_wish("state")) != NULL)
        fake.state = wish;
    say_on_serial();
    run();
}
