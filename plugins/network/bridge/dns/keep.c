#include "plugins/network/bridge/dns/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/util/cleanup.h"
#include "core/util/str.h"

#define STEADY_MS 5000 /* who served so long is followed at once */
#define FIRST_MS  50   /* then it is waited for so long, and twice as long each time */
#define MOST_MS   10000
#define LOOK_MS   2000 /* at resolv.conf */

struct keeper {
    struct options *options;
    int signals;
    pid_t child;      /* 0: none */
    int ready;        /* becomes readable when the child serves, or has ended; -1: that is known */
    int64_t begun_ms; /* when it was started */
    int64_t next_ms;  /* when the next one is */
    unsigned quick;   /* how many in a row ended soon */
    unsigned long ended;
    bool is_replaced; /* the child was told to end, for another */
    struct stat seen; /* resolv.conf */
};

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

/* One line: "serving" or "down", how many have ended, and of the last one how. */
static void tell(const struct keeper *k, const char *state, const char *why)
{
    auto_free char *path = mem_printf("%s.new", k->options->state);
    FILE *file = fopen(path, "we");
    bool is_whole;

    if (file == NULL)
        return;
    is_whole = fprintf(file, "%s %lu %s\n", state, k->ended, why) > 0;
    if (fclose(file) == 0 && is_whole)
        (void)rename(path, k->options->state);
}

/* ---- resolv.conf ---- */

static bool has_changed(struct keeper *k)
{
    struct stat now = {.st_ino = 0};
    bool is_same;

    if (!k->options->is_following)
        return false;
    (void)stat(k->options->resolv_conf, &now);
    is_same = now.st_ino == k->seen.st_ino && now.st_size == k->seen.st_size &&
              now.st_mtim.tv_sec == k->seen.st_mtim.tv_sec && now.st_mtim.tv_nsec == k->seen.st_mtim.tv_nsec;
    k->seen = now;
    return !is_same;
}

/* ---- the child ---- */

static void be_child(const struct keeper *k, pid_t parent, int ready,
                     int (*serve)(const struct options *, int ready_fd))
{
    sigset_t none;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    /* What the parent was given, a lock above all, is its own. */
    if (dup2(ready, STDERR_FILENO + 1) < 0)
        _exit(1);
    (void)close_range(STDERR_FILENO + 2, ~0U, 0);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    exit(serve(k->options, STDERR_FILENO + 1));
}

static void start(struct keeper *k, int (*serve)(const struct options *, int ready_fd))
{
    pid_t parent = getpid();
    int ends[2];

    (void)has_changed(k);
    options_follow(k->options);
    k->begun_ms = now_ms();
    k->is_replaced = false;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        k->next_ms = k->begun_ms + MOST_MS;
        return;
    }
    k->child = fork();
    if (k->child == 0)
        be_child(k, parent, ends[1], serve);
    close(ends[1]);
    k->ready = ends[0];
    if (k->child > 0)
        return;
    fprintf(stderr, "runner-dns: fork: %s\n", strerror(errno));
    k->child = 0;
    k->next_ms = k->begun_ms + MOST_MS;
}

static void on_ready(struct keeper *k)
{
    char byte;

    if (read(k->ready, &byte, 1) == 1)
        tell(k, "serving", "");
    close(k->ready);
    k->ready = -1;
}

static void on_end(struct keeper *k, int status)
{
    char why[64];
    int64_t lived_ms = now_ms() - k->begun_ms, wait_ms = 0;

    k->child = 0;
    if (k->is_replaced) {
        k->next_ms = 0;
        return;
    }
    (void)snprintf(why, sizeof why, WIFSIGNALED(status) ? "killed by signal %d" : "it ended with status %d",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    k->ended++;
    k->quick = lived_ms >= STEADY_MS ? 0 : k->quick + 1;
    if (k->quick > 0)
        wait_ms = k->quick > 8 ? MOST_MS : FIRST_MS << (k->quick - 1);
    k->next_ms = now_ms() + (wait_ms < MOST_MS ? wait_ms : MOST_MS);
    fprintf(stderr, "runner-dns: %s; another in %lld ms\n", why, (long long)(wait_ms < MOST_MS ? wait_ms : MOST_MS));
    tell(k, "down", why);
}

static void replace(struct keeper *k)
{
    fprintf(stderr, "runner-dns: %s has changed\n", k->options->resolv_conf);
    k->is_replaced = true;
    (void)kill(k->child, SIGTERM);
}

/* ---- waiting ---- */

/* True: SIGTERM. */
static bool take_signals(struct keeper *k)
{
    struct signalfd_siginfo info;
    bool is_term = false;
    int status;

    while (read(k->signals, &info, sizeof info) == (ssize_t)sizeof info)
        is_term |= info.ssi_signo == SIGTERM;
    if (k->child > 0 && waitpid(k->child, &status, WNOHANG) == k->child)
        on_end(k, status);
    return is_term;
}

static bool wait_for_more(struct keeper *k)
{
    struct pollfd fds[] = {{.fd = k->signals, .events = POLLIN}, {.fd = k->ready, .events = POLLIN}};
    int64_t left_ms = k->child > 0 ? LOOK_MS : k->next_ms - now_ms();

    if (left_ms > 0)
        (void)poll(fds, ARRAY_LEN(fds), (int)left_ms);
    if (k->ready >= 0 && (fds[1].revents & (POLLIN | POLLHUP)))
        on_ready(k);
    if (take_signals(k))
        return false;
    if (k->child > 0 && !k->is_replaced && has_changed(k))
        replace(k);
    return true;
}

int keep_serving(struct options *options, int (*serve)(const struct options *, int ready_fd))
{
    struct keeper k = {.options = options, .ready = -1};
    sigset_t wanted;

    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &wanted, NULL);
    k.signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    if (k.signals < 0) {
        fprintf(stderr, "runner-dns: signals: %s\n", strerror(errno));
        return 1;
    }
    tell(&k, "down", "not started yet");
    do {
        if (k.child == 0 && now_ms() >= k.next_ms)
            start(&k, serve);
    } while (wait_for_more(&k));
    if (k.child > 0 && kill(k.child, SIGTERM) == 0)
        (void)waitpid(k.child, NULL, 0);
    close(k.signals);
    return 0;
}
