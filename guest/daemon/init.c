#include "guest/daemon/init.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/util/num.h"
#include "guest/daemon/disk.h"
#include "guest/daemon/hotplug.h"
#include "guest/daemon/module.h"
#include "guest/daemon/net.h"
#include "guest/daemon/power.h"
#include "guest/daemon/serve.h"
#include "guest/daemon/unit.h"

#define ROOT_DEVICE   "/dev/vda"
#define MODULE_LIST   "/lib/modules/load"
#define AWAIT_DISK_MS 10000
#define SEED_DEVICE   "/dev/vdb"
#define AWAIT_SEED_MS 1000
#define TERM_MS       5000 /* between TERM and KILL at the end */
#define KILL_MS       2000
#define RESPAWN_MS    1000 /* the server is started at most this often */

struct init {
    const struct options *options;
    struct seed seed;
    int signals; /* signalfd */
    int buttons[POWER_BUTTONS_MAX];
    size_t n_buttons;
    int hotplug; /* or -1 */
    pid_t server;
    int64_t server_started_ms;
    unsigned n_starts; /* of the server */
    bool is_refused;   /* by the first one: no other start would help */
};

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fputs("runner-guestd: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
}

static _Noreturn void give_up(const struct runner_error *err)
{
    say("boot failed: %s", err->message);
    disk_detach();
    power_off();
}

static void open_console(void)
{
    int fd = open("/dev/console", O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (fd < 0)
        return;
    for (int i = 0; i < 3; i++)
        (void)dup2(fd, i);
    if (fd > 2)
        close(fd);
}

/* What the kernel's command line asks of us. */
struct request {
    bool wants_probe;    /* runner.probe: say that the machine runs, and end */
    bool wants_unit;     /* runner.unit: it is a systemd that has no unit for us */
    char init[PATH_MAX]; /* runner.init=PATH: who is process 1 once the disk is there; empty: we are */
};

static void read_request(struct request *ret)
{
    auto_close int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    char text[4096];
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    char *at = text, *word;

    memset(ret, 0, sizeof *ret);
    if (n < 0)
        return;
    text[n] = '\0';
    while ((word = strsep(&at, " \n")) != NULL)
        if (strcmp(word, "runner.probe") == 0)
            ret->wants_probe = true;
        else if (strcmp(word, "runner.unit") == 0)
            ret->wants_unit = true;
        else if (strncmp(word, "runner.init=", 12) == 0)
            (void)snprintf(ret->init, sizeof ret->init, "%s", word + 12);
}

/* ---- the boot ---- */

static void load_seed(struct seed *s)
{
    struct runner_error err = ERROR_INIT;

    seed_default(s);
    (void)disk_await(SEED_DEVICE, AWAIT_SEED_MS,
                     NULL); /* it comes with the root disk, if at all; any other disk will do too */
    if (seed_load_disk(s, &err) < 0)
        say("seed: %s; going on without", err.message);
}

static void set_up_network(const struct seed *s)
{
    struct runner_error err = ERROR_INIT;

    if (net_loopback(&err) < 0)
        say("network: %s", err.message);
    error_clear(&err);
    if (s->network.is_set && net_configure(&s->network, &err) < 0)
        say("network: %s", err.message);
    error_clear(&err);
    if (net_name(s, &err) < 0)
        say("name: %s", err.message);
}

/* Growing takes a while on a large disk and is done online, so the server need not wait for it. */
static void grow_in_background(void)
{
    struct runner_error err = ERROR_INIT;
    pid_t pid = fork();

    if (pid != 0)
        return;
    if (disk_grow_root(ROOT_DEVICE, &err) < 0)
        say("disk: %s", err.message);
    _exit(0);
}

/* The image's own init goes on; its daemon is a service of it, and reachable from its start. */
static _Noreturn void hand_over(const struct request *request)
{
    struct runner_error err = ERROR_INIT;
    const char *init = request->init;
    char *argv[] = {(char *)init, NULL};
    sigset_t none;

    if (request->wants_unit) {
        disk_mount_run();
        if (unit_install(&err) < 0)
            give_up(&err);
    }

    if (disk_grow_root(ROOT_DEVICE, &err) < 0)
        say("disk: %s", err.message);
    error_clear(&err);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)execv(init, argv);
    (void)fail_errno(&err, errno, "run '%s'", init);
    give_up(&err);
}

/* A daemon that the seed brings is the server in place of ours. */
static void fetch_daemon(struct seed *s)
{
    struct runner_error err = ERROR_INIT;

    if (!s->has_daemon || seed_fetch_daemon(&err) == 0)
        return;
    say("daemon of the seed: %s; the image's own serves", err.message);
    s->has_daemon = false;
}

static void boot(struct init *self)
{
    struct runner_error err = ERROR_INIT;
    struct request request;

    if (disk_mount_kernel(&err) < 0)
        give_up(&err);
    open_console();
    read_request(&request);
    if (request.wants_probe) {
        (void)!write(1, "runner-probe-ok\n", 16);
        power_off();
    }
    (void)clearenv(); /* the kernel puts unknown words of its command line there */
    (void)umask(022);
    (void)reboot(RB_DISABLE_CAD);
    module_load_list(MODULE_LIST);
    if (disk_await(ROOT_DEVICE, AWAIT_DISK_MS, &err) < 0)
        give_up(&err);
    if (mkdir("/tmp", 0700) < 0 && errno != EEXIST)
        say("make /tmp: %s", strerror(errno));
    load_seed(&self->seed);
    if (disk_switch_root(ROOT_DEVICE, &err) < 0)
        give_up(&err);
    if (request.init[0] == '\0')
        disk_mount_system();
    set_up_network(&self->seed);
    if (request.init[0] != '\0')
        hand_over(&request);
    fetch_daemon(&self->seed);
}

/* ---- the server ---- */

static void start_server(struct init *self)
{
    struct runner_error err = ERROR_INIT;
    sigset_t none;

    self->server_started_ms = num_now_ms();
    self->n_starts++;
    self->server = fork();
    if (self->server != 0)
        return;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setsid();
    close(self->signals);
    for (size_t i = 0; i < self->n_buttons; i++)
        close(self->buttons[i]);
    if (self->hotplug >= 0)
        close(self->hotplug);
    if (self->seed.has_daemon && serve_other(SEED_DAEMON_COPY, &self->seed, &err) < 0)
        say("daemon of the seed: %s; the image's own serves", err.message);
    _exit(serve(self->options, &self->seed));
}

/* Reaps everything; true while children are left. */
static bool reap(struct init *self)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == self->server) {
            self->server = 0;
            self->is_refused = self->n_starts == 1 && WIFEXITED(status) && WEXITSTATUS(status) == SERVE_REFUSED;
            say("the server ended with status 0x%x", (unsigned)status);
        }
    return pid == 0;
}

/* ---- the end ---- */

static void drain_signals(int fd, struct signalfd_siginfo *ret)
{
    while (read(fd, ret, sizeof *ret) == (ssize_t)sizeof *ret && ret->ssi_signo == SIGCHLD)
        ;
}

static void await_children(struct init *self, int timeout_ms)
{
    struct pollfd p = {.fd = self->signals, .events = POLLIN};
    struct signalfd_siginfo info;
    int64_t end = num_now_ms() + timeout_ms;

    while (reap(self) && num_now_ms() < end) {
        (void)poll(&p, 1, (int)(end - num_now_ms()));
        drain_signals(self->signals, &info);
    }
}

static _Noreturn void shut_down(struct init *self, bool is_reset)
{
    self->server = 0; /* its end is no news now */
    (void)kill(-1, SIGTERM);
    await_children(self, TERM_MS);
    (void)kill(-1, SIGKILL);
    await_children(self, KILL_MS);
    disk_detach();
    if (is_reset)
        power_reset();
    power_off();
}

static void take_signals(struct init *self)
{
    struct signalfd_siginfo info;

    while (read(self->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        /* What poweroff, halt and reboot of busybox send, and Ctrl-Alt-Del and a power failure. */
        if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT)
            shut_down(self, true);
        if (info.ssi_signo == SIGUSR1 || info.ssi_signo == SIGUSR2 || info.ssi_signo == SIGPWR)
            shut_down(self, false);
    }
    (void)reap(self);
    if (self->is_refused) /* who waits for it is told at once, with what it said */
        shut_down(self, false);
}

static int open_signals(void)
{
    static const int wanted[] = {SIGCHLD, SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGPWR};
    sigset_t set;

    (void)sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        (void)sigaddset(&set, wanted[i]);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static _Noreturn void supervise(struct init *self)
{
    struct pollfd fds[POWER_BUTTONS_MAX + 2] = {{.fd = self->signals, .events = POLLIN}};
    struct pollfd *hotplug = &fds[self->n_buttons + 1];

    for (size_t i = 0; i < self->n_buttons; i++)
        fds[i + 1] = (struct pollfd){.fd = self->buttons[i], .events = POLLIN};
    *hotplug = (struct pollfd){.fd = self->hotplug, .events = POLLIN};
    for (;;) {
        int64_t wait_ms = self->server > 0 ? -1 : self->server_started_ms + RESPAWN_MS - num_now_ms();
        if (self->server <= 0 && wait_ms <= 0) {
            start_server(self);
            continue;
        }
        if (poll(fds, self->n_buttons + 2, (int)wait_ms) < 0)
            continue;
        for (size_t i = 0; i < self->n_buttons; i++)
            if (fds[i + 1].revents != 0 && power_is_pressed(self->buttons[i]))
                shut_down(self, false);
        if (hotplug->revents != 0)
            hotplug_take(self->hotplug);
        take_signals(self);
    }
}

_Noreturn void init_main(const struct options *o)
{
    static struct init self;

    self.options = o;
    self.signals = open_signals();
    boot(&self);
    self.hotplug = hotplug_open();
    self.n_buttons = power_open_buttons(self.buttons);
    start_server(&self);
    grow_in_background();
    supervise(&self);
}
