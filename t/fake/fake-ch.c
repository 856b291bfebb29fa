#include "t/fake/fake-ch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/util/num.h"
#include "t/fake/fake-ch-direct.h"

struct ch ch = {.version = "53.0", .api = -1, .events = -1};
static volatile sig_atomic_t got_signal;

/* ---- ends -------------------------------------------------------------------------------------------------------- */

_Noreturn void ch_exit(int status)
{
    http_flush();
    if (ch.api_path != NULL)
        (void)unlink(ch.api_path);
    exit(status);
}

_Noreturn void ch_stop(void)
{
    bool has_vm = vm.exists, has_config = vm.config != NULL;

    vm_stop();
    if (fake_wish("no-shutdown-event") == NULL) {
        if (has_vm)
            event_say("vm", "shutdown", NULL, NULL);
        if (has_config)
            event_say("vm", "deleted", NULL, NULL);
        event_say("vmm", "shutdown", NULL, NULL);
    }
    ch_exit(0);
}

_Noreturn void ch_panic(const char *text)
{
    (void)fprintf(stderr, "thread 'vmm' panicked: %s\n", text);
    exit(1);
}

_Noreturn void ch_signal_self(int number)
{
    (void)signal(number, SIG_DFL);
    (void)raise(number);
    (void)raise(SIGKILL);
    abort();
}

/* The way the real one ends when it cannot do what its command line says. */
static _Noreturn void fail_chain(const char *text, const char *cause)
{
    if (cause == NULL)
        (void)fprintf(stderr, "Error: Cloud Hypervisor exited with the following error:\n  %s\n", text);
    else
        (void)fprintf(stderr, "Error: Cloud Hypervisor exited with the following chain of errors:\n  0: %s\n  1: %s\n",
                      text, cause);
    exit(1);
}

void ch_fault(const char *format, ...)
{
    auto_free char *path = mem_printf("%s.faults", ch.program);
    auto_fclose FILE *file = fopen(path, "ae");
    va_list args;

    if (file == NULL)
        return;
    va_start(args, format);
    (void)vfprintf(file, format, args);
    va_end(args);
    (void)fputc('\n', file);
}

/* ---- wishes ------------------------------------------------------------------------------------------------------ */

static bool wishes_of(const char *word, size_t len)
{
    auto_free char *path = mem_printf("%s.conf.%.*s", ch.program, (int)len, word);

    return len > 0 && fake_wishes_read(path);
}

static void wishes_find(const char *api)
{
    const char *path = getenv("FAKE_CH");
    auto_free char *common = mem_printf("%s.conf", ch.program);

    if (path != NULL) {
        (void)fake_wishes_read(path);
        return;
    }
    for (const char *word = api; word != NULL && *word != '\0'; word += strcspn(word, "/")) {
        size_t len;

        word += strspn(word, "/");
        len = strcspn(word, "/");
        if (wishes_of(word, len))
            return;
        if (len > 5 && strncmp(word + len - 5, ".sock", 5) == 0 && wishes_of(word, len - 5))
            return;
    }
    (void)fake_wishes_read(common);
}

/* ---- the API socket ---------------------------------------------------------------------------------------------- */

static void lock_path(const char *path)
{
    auto_free char *name = mem_printf("%s.lock", path);
    auto_free char *text = mem_printf("API socket \"%s\" is already in use by another running instance", path);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* held until the process ends */

    if (fd < 0)
        fail_chain("Error creating API server's socket", strerror(errno));
    if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
        fail_chain("Failed to start the VMM thread", text);
}

static void api_bind(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof address.sun_path)
        fail_chain("Error creating API server's socket", "path must be shorter than SUN_LEN");
    memcpy(address.sun_path, path, strlen(path));
    lock_path(path);
    (void)unlink(path);
    ch.api = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(ch.api, (struct sockaddr *)&address, sizeof address) < 0 || listen(ch.api, 128) < 0)
        fail_chain("Error creating API server's socket", strerror(errno));
    ch.api_path = path;
}

/* The path of an inherited socket too, for the wishes. */
static const char *api_name(const char *value)
{
    static struct sockaddr_un address;
    socklen_t len = sizeof address - 1;
    int64_t fd;

    if (value == NULL)
        return "";
    if (strncmp(value, "path=", 5) == 0)
        return value + 5;
    if (strncmp(value, "fd=", 3) != 0)
        return value;
    if (!num_int(value + 3, 3, 1 << 20, &fd) || getsockname((int)fd, (struct sockaddr *)&address, &len) < 0)
        fail_chain("Error creating API server's socket", "Bad file descriptor (os error 9)");
    ch.api = (int)fd;
    return address.sun_path;
}

static void api_open(const char *value)
{
    int64_t late_ms = fake_wish_ms("start-ms");
    struct timespec pause = {.tv_sec = late_ms / 1000, .tv_nsec = late_ms % 1000 * 1000000};

    if (late_ms > 0)
        (void)nanosleep(&pause, NULL); /* the wish is for a late start: nothing to wait for but the time */
    if (value == NULL)
        return;
    if (ch.api < 0)
        api_bind(api_name(value));
    (void)fcntl(ch.api, F_SETFL, O_NONBLOCK);
}

/* ---- the command line -------------------------------------------------------------------------------------------- */

static const struct option {
    const char *name;
    bool has_value;
} options[] = {
    {"--api-socket", true},
    {"--event-monitor", true},
    {"--log-file", true},
    {"--log-format", true},
    {"--seccomp", true},
    {"--no-shutdown", false},
    {"-v", false},
    {"-vv", false},
    {"-vvv", false},
    {"--restore", true},
    {"--kernel", true},
    {"--initramfs", true},
    {"--cmdline", true},
    {"--firmware", true},
    {"--memory", true},
    {"--cpus", true},
    {"--serial", true},
    {"--console", true},
    {"--pvpanic", false},
    {"--watchdog", false},
    {"--rng", true},
    {"--landlock", false},
    {"--landlock-rules", true},
};

static _Noreturn void usage(const char *argument)
{
    (void)fprintf(stderr,
                  "error: unexpected argument '%s' found\n\nUsage: cloud-hypervisor [OPTIONS]\n\nFor more "
                  "information, try '--help'.\n",
                  argument);
    exit(2);
}

/* The value of an option, NULL: not given; "" for one that has none. */
static const char *option(char **argv, const char *name)
{
    for (size_t i = 1; argv[i] != NULL; i++) {
        const struct option *known = NULL;

        for (size_t k = 0; k < ARRAY_LEN(options); k++)
            if (strcmp(argv[i], options[k].name) == 0)
                known = &options[k];
        if (known == NULL || (known->has_value && argv[i + 1] == NULL))
            usage(argv[i]);
        if (strcmp(argv[i], name) == 0)
            return known->has_value ? argv[i + 1] : "";
        i += known->has_value;
    }
    return NULL;
}

static void print_version(void)
{
    printf("cloud-hypervisor v%s\n", ch.version);
    if (strncmp(ch.version, "53", 2) == 0)
        puts("Migration Protocol Versions: 0");
    exit(0);
}

static void log_open(const char *path)
{
    int fd = path != NULL ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;

    if (path != NULL && fd < 0)
        fail_chain("Error creating log file", strerror(errno));
}

static void exit_as_wished(const char *how)
{
    char *text;
    long status = strtol(how, &text, 10);

    if (*text != '\0')
        (void)fprintf(stderr, "%s\n", text + 1);
    exit((int)status);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static void on_signal(int number)
{
    got_signal = number;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static _Noreturn void run(void)
{
    static struct pollfd set[FAKE_POLL_MAX];
    sigset_t open_mask;

    (void)sigprocmask(SIG_SETMASK, NULL, &open_mask);
    (void)sigdelset(&open_mask, SIGTERM);
    (void)sigdelset(&open_mask, SIGINT);
    for (;;) {
        int64_t wake_at = earlier(earlier(fguest_wake_at_ms(), device_wake_at_ms()), http_wake_at_ms()), wait_ms;
        struct timespec wait;
        int n_http, n_vsock, n_guest;

        wait_ms = wake_at > fake_now_ms() ? wake_at - fake_now_ms() : 0;
        wait = (struct timespec){.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000};
        n_http = http_poll_add(set);
        n_vsock = vsock_poll_add(set + n_http, 16);
        n_guest = guest_poll_add(set + n_http + n_vsock, FAKE_POLL_MAX - n_http - n_vsock);
        if (ppoll(set, (nfds_t)(n_http + n_vsock + n_guest), wake_at != 0 ? &wait : NULL, &open_mask) < 0)
            for (int i = 0; i < n_http + n_vsock + n_guest; i++)
                set[i].revents = 0;
        if (got_signal != 0)
            ch_stop();
        http_poll_done(set, n_http);
        vsock_poll_done(set + n_http, n_vsock);
        guest_poll_done(set + n_http + n_vsock, n_guest);
        device_tick();
        fguest_tick();
    }
}

static void signals_set(void)
{
    sigset_t mask;

    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_signal}, NULL);
    (void)sigaction(SIGINT, &(struct sigaction){.sa_handler = on_signal}, NULL);
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGTERM);
    (void)sigaddset(&mask, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &mask, NULL); /* taken in ppoll */
}

int main(int argc, char **argv)
{
    const char *api, *wish;
    struct timespec now;

    ch.program = argv[0];
    clock_gettime(CLOCK_REALTIME, &now);
    srandom((unsigned)(now.tv_nsec ^ getpid()));
    if (argc == 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0))
        argv[1] = NULL;
    api = option(argv, "--api-socket");
    wishes_find(api_name(api));
    if ((wish = fake_wish("version")) != NULL)
        ch.version = wish;
    if ((wish = fake_wish("exit")) != NULL)
        exit_as_wished(wish);
    if ((wish = fake_wish("signal")) != NULL)
        ch_signal_self((int)strtol(wish, NULL, 10));
    if (argc == 2 && argv[1] == NULL)
        print_version();
    if (argc == 1)
        usage("");
    signals_set();
    (void)umask(077);
    log_open(option(argv, "--log-file"));
    ch.is_kept = option(argv, "--no-shutdown") != NULL;
    event_open(option(argv, "--event-monitor"));
    api_open(api);
    event_say("vmm", "starting", NULL, NULL);
    direct_start(&(struct direct){.kernel = option(argv, "--kernel"),
                                  .firmware = option(argv, "--firmware"),
                                  .initramfs = option(argv, "--initramfs"),
                                  .cmdline = option(argv, "--cmdline"),
                                  .memory = option(argv, "--memory"),
                                  .cpus = option(argv, "--cpus"),
                                  .serial = option(argv, "--serial"),
                                  .console = option(argv, "--console"),
                                  .restore = option(argv, "--restore"),
                                  .has_pvpanic = option(argv, "--pvpanic") != NULL});
    run();
}
