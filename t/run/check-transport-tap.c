/* Of check-transport: TAPs. */
#include "t/run/check-transport.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* The process has another user, who may not open /dev/net/tun or that TAP. */
static void check_given_tap(void)
{
    struct runner_fd fd = {RUNNER_FD_TAP, 5, "ct-0"};
    struct runner_spawn how = {
        .size = sizeof how, .pid_path = at("tap.pid"), .n_fds = 1, .fds = &fd, .uid = 54322, .gid = 54322};
    struct runner_step step = {.kind = RUNNER_SPAWN, ARGV("sleep", "60"), .spawn = &how};
    int again;

    tap_ok(run(step) == 0 && dial("tap", "ct-0") < 0 && says(RUNNER_E_BUSY, "ct-0"), "SPAWN with a TAP: it has it");
    (void)RUN(.kind = RUNNER_KILL, .path = how.pid_path, .number = SIGKILL);
    again = dial("tap", "ct-0");
    tap_ok(again >= 0, "SPAWN with a TAP: free with the end of the process");
    cleanup_close(&again);
    fd.path = "ct-none";
    tap_ok(run(step) < 0 && says(RUNNER_E_NOTFOUND, "'ct-none'") && if_nametoindex("ct-none") == 0,
           "SPAWN with a TAP that is not there");
}

/* ---- idle TAPs --------------------------------------------------------------------------------------------------- */

#define TAKERS 4
#define TRIES  50
#define IDLE   "ct-idle"

struct taker {
    pthread_t thread;
    pthread_barrier_t *start;
    struct runner_call *call;
    int n_got, n_refused;
};

static bool tap_step(struct runner_call *call, struct runner_step step, struct runner_error *ret)
{
    const struct runner_step *one = &step;
    struct runner_result r = {.size = sizeof r};
    bool is_done;

    step.size = sizeof step;
    *ret = (struct runner_error)ERROR_INIT;
    is_done = ops->run(self, call, &one, 1, &r, ret) == 0;
    host_table()->release(r.out);
    return is_done;
}

static void *take_main(void *arg)
{
    const struct runner_step add = {
        .kind = RUNNER_TAP_ADD, .path = IDLE, .flags = RUNNER_S_IDLE | RUNNER_S_HELD, .number = 54321};
    const struct runner_step del = {.kind = RUNNER_TAP_DEL, .path = IDLE, .data = IDLE, .len = sizeof IDLE};
    struct taker *t = arg;
    struct runner_error e;

    for (int i = 0; i < TRIES; i++) {
        bool is_mine;

        (void)pthread_barrier_wait(t->start);
        is_mine = tap_step(t->call, add, &e);
        t->n_got += is_mine;
        t->n_refused += !is_mine && e.code == RUNNER_E_EXISTS;
        (void)pthread_barrier_wait(t->start);
        if (is_mine && !tap_step(t->call, del, &e))
            t->n_got = -TRIES * TAKERS;
    }
    return NULL;
}

static void check_idle_race(void)
{
    struct taker takers[TAKERS] = {0};
    struct runner_call *call = host_call(-1, -1);
    pthread_barrier_t start;
    int n_got = 0, n_refused = 0, n_threads = 0;

    (void)pthread_barrier_init(&start, NULL, TAKERS);
    for (int i = 0; i < TAKERS; i++) {
        takers[i] = (struct taker){.start = &start, .call = call};
        n_threads += pthread_create(&takers[i].thread, NULL, take_main, &takers[i]) == 0;
    }
    if (n_threads < TAKERS)
        abort(); /* the others wait for ever */
    for (int i = 0; i < TAKERS; i++) {
        pthread_join(takers[i].thread, NULL);
        n_got += takers[i].n_got;
        n_refused += takers[i].n_refused;
    }
    (void)pthread_barrier_destroy(&start);
    tap_ok(n_got == TRIES && n_refused == TRIES * (TAKERS - 1),
           "an idle TAP is one's, whoever else asks (%d times of %d)", n_got, TRIES);
    tap_ok(if_nametoindex(IDLE) != 0 && RUN(.kind = RUNNER_TAP_DEL, .path = IDLE) == 0 && if_nametoindex(IDLE) == 0,
           "it stayed, and TAP_DEL without a name takes it away");
}

/* What a VMM that was taken over can do to its TAP by the descriptor that it has. */
static bool spoil(int fd)
{
    static struct sock_filter drop_all[] = {{.code = BPF_RET | BPF_K, .k = 0}};
    const struct sock_fprog program = {.len = 1, .filter = drop_all};
    struct ifreq mac = {.ifr_hwaddr = {.sa_family = ARPHRD_ETHER, .sa_data = {0x02, 0, 0, 0, 0, 0x09}}};
    const int small = 1, yes = 1;

    return ioctl(fd, SIOCSIFHWADDR, &mac) == 0 && ioctl(fd, TUNATTACHFILTER, &program) == 0 &&
           ioctl(fd, TUNSETSNDBUF, &small) == 0 && ioctl(fd, TUNSETVNETLE, &yes) == 0 &&
           ioctl(fd, TUNSETOFFLOAD, 0) == 0;
}

/* A frame that the host sends out there arrives, with a header of 12 bytes. */
static bool brings_frames(int fd)
{
    const struct sockaddr_ll out = {
        .sll_family = AF_PACKET, .sll_protocol = htons(0x88b5), .sll_ifindex = (int)if_nametoindex(IDLE)};
    const char text[64] = "\x02\0\0\0\0\x07\x02\0\0\0\0\x01\x88\xb5"
                          "frame";
    auto_close int host = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char got[2048];

    if (sendto(host, text, sizeof text, 0, (const struct sockaddr *)&out, sizeof out) < 0)
        return false;
    while (poll(&p, 1, PATIENCE_MS) == 1) {
        ssize_t n = read(fd, got, sizeof got);

        if (n == 12 + (ssize_t)sizeof text && memcmp(got + 12, text, sizeof text) == 0)
            return true;
    }
    return false;
}

/* What is deleted a moment later, by a socket that counts as one of ours. */
static bool is_burying(void)
{
    struct if_nameindex *links = if_nameindex();
    bool is_there = false;

    for (size_t i = 0; links != NULL && links[i].if_index != 0; i++)
        is_there |= strncmp(links[i].if_name, "tapd-", 5) == 0;
    if_freenameindex(links);
    return is_there;
}

static int change_bridge(unsigned long request, const char *name)
{
    auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    return ioctl(fd, request, name);
}

static bool prints(const char *const *argv, const char *has, const char *has_not)
{
    bool is_right = RUN(.kind = RUNNER_RUN, .argv = argv) == 0 && (has == NULL || strstr(result.out, has) != NULL) &&
                    (has_not == NULL || strstr(result.out, has_not) == NULL);

    if (!is_right)
        tap_note("%s is to have '%s', and not '%s':\n%s", argv[0], has, has_not, result.out);
    return is_right;
}

#define PRINTS(has, has_not, ...) prints((const char *const[]){__VA_ARGS__, NULL}, has, has_not)

static void check_idle_again(void)
{
    struct runner_port first = {.size = sizeof first, .mac = "02:00:00:00:00:07", .address = "192.0.2.7", .group = 5},
                       next = {.size = sizeof next, .mac = "02:00:00:00:00:08", .address = "192.0.2.8", .group = 6};
    struct runner_step add = {.kind = RUNNER_TAP_ADD,
                              .flags = RUNNER_S_IDLE | RUNNER_S_HELD | RUNNER_S_ISOLATED,
                              .path = IDLE,
                              .to = "ct-idle-br",
                              .port = &first,
                              .number = 54321};
    struct runner_step del = {
        .kind = RUNNER_TAP_DEL, .path = IDLE, .to = "ct-idle-br", .port = &first, .data = IDLE, .len = sizeof IDLE};
    unsigned index;
    int fd = -1;

    if (change_bridge(SIOCBRADDBR, "ct-idle-br") < 0) {
        tap_ok(true, "an idle TAP # SKIP no bridges here");
        return;
    }
    tap_ok(run(add) == 0 && (fd = dial("tap", IDLE)) >= 0 && spoil(fd), "TAP_ADD: a VMM has it, and spoils it");
    index = if_nametoindex(IDLE);
    cleanup_close(&fd);
    tap_ok(run(del) == 0 && if_nametoindex(IDLE) == index &&
               PRINTS("state DOWN", ",UP", "ip", "link", "show", "dev", IDLE) &&
               PRINTS(NULL, "192.0.2.7", "ip", "neigh", "show", "dev", "ct-idle-br") &&
               PRINTS(NULL, "02:00:00:00:00:07", "bridge", "fdb", "show"),
           "TAP_DEL keeps it, down, and whose it was is forgotten");
    tap_ok(run(del) == 0 && if_nametoindex(IDLE) == index, "TAP_DEL again keeps it as well");
    add.port = del.port = &next;
    add.number = 54322;
    tap_ok(run(add) == 0 && (fd = dial("tap", IDLE)) >= 0 && if_nametoindex(IDLE) == index, "TAP_ADD takes it");
    tap_ok(PRINTS("master ct-idle-br", NULL, "ip", "-d", "link", "show", "dev", IDLE) &&
               PRINTS("link/ether fe:72:", NULL, "ip", "-d", "link", "show", "dev", IDLE) &&
               PRINTS("user 54322", "group default", "ip", "-d", "link", "show", "dev", IDLE) &&
               PRINTS("isolated on", NULL, "ip", "-d", "link", "show", "dev", IDLE) &&
               PRINTS("02:00:00:00:00:08 dev " IDLE " master ct-idle-br static", "02:00:00:00:00:07", "bridge", "fdb",
                      "show") &&
               PRINTS(NULL, "02:00:00:00:00:09", "bridge", "fdb", "show"),
           "of another guest's, and another user's now, with a MAC address of its own");
    tap_ok(brings_frames(fd), "nothing is filtered");
    tap_ok(run(add) < 0 && says(RUNNER_E_EXISTS, IDLE) && if_nametoindex(IDLE) == index,
           "TAP_ADD: one that somebody has is taken");
    tap_ok(ioctl(fd, TUNSETGROUP, 54399) == 0 && (cleanup_close(&fd), run(del) == 0) && if_nametoindex(IDLE) == 0,
           "one that a group may open is not kept");
    (void)change_bridge(SIOCBRDELBR, "ct-idle-br");
    while (is_burying())
        (void)poll(NULL, 0, 10);
}

/* ---- killed on the way ------------------------------------------------------------------------------------------- */

#define KILLS   150
#define KILL_US 4 /* later each time: somewhere on the way of the step */

/* A process that adds a TAP is killed so long after it began; whether what it left is nothing, or whole: up is set
 * last. */
static bool leaves_no_half(int us)
{
    struct ifreq request = {.ifr_name = "ct-killed"};
    auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int begun[2];
    pid_t pid;

    if (pipe2(begun, O_CLOEXEC) < 0 || (pid = fork()) < 0)
        abort();
    if (pid == 0) {
        (void)!write(begun[1], "", 1);
        (void)RUN(.kind = RUNNER_TAP_ADD, .path = "ct-killed", .to = "ct-bridge", .number = 54321);
        _exit(0);
    }
    (void)!read(begun[0], &(char){0}, 1);
    for (int64_t until = num_now_us() + us; num_now_us() < until;)
        ;
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    close(begun[0]);
    close(begun[1]);
    return ioctl(fd, SIOCGIFFLAGS, &request) < 0 || (request.ifr_flags & IFF_UP) != 0;
}

static void check_killed_add(void)
{
    auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int n_half = 0;

    if (ioctl(fd, SIOCBRADDBR, "ct-bridge") < 0) {
        tap_ok(true, "killed in TAP_ADD # SKIP no bridges here");
        return;
    }
    for (int i = 0; i < KILLS; i++) {
        n_half += !leaves_no_half(i * KILL_US);
        (void)RUN(.kind = RUNNER_TAP_DEL, .path = "ct-killed");
    }
    tap_ok(n_half == 0, "killed in TAP_ADD: a TAP is on its bridge, or not there (%d of %d are not)", n_half, KILLS);
}

/* ---- all of them ------------------------------------------------------------------------------------------------ */

static void check_taps_here(void)
{
    size_t before = count_in("/proc/self/fd");
    struct ifreq request = {0};
    int fd, second;

    tap_ok(dial("tap", "ct-absent") < 0 && says(RUNNER_E_NOTFOUND, "ct-absent") && if_nametoindex("ct-absent") == 0,
           "dial tap: absent, and not made");
    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .path = "ct-0", .number = 54321) == 0, "TAP_ADD");
    fd = dial("tap", "ct-0");
    tap_ok(fd >= 0 && ioctl(fd, TUNGETIFF, &request) == 0 && strcmp(request.ifr_name, "ct-0") == 0 &&
               (request.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) == (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR) &&
               (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0,
           "dial tap: a queue of it");
    second = dial("tap", "ct-0");
    tap_ok(second < 0 && says(RUNNER_E_BUSY, "ct-0"), "dial tap: held by another");
    cleanup_close(&fd);
    fd = dial("tap", "ct-0");
    tap_ok(fd >= 0, "dial tap: again, once it was let go");
    cleanup_close(&fd);
    check_given_tap();
    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .flags = RUNNER_S_HELD, .path = "ct-1") == 0 &&
               count_in("/proc/self/fd") == before + 1,
           "TAP_ADD: a queue stays open");
    fd = dial("tap", "ct-1");
    tap_ok(fd >= 0 && count_in("/proc/self/fd") == before + 1 && ioctl(fd, TUNGETIFF, &request) == 0 &&
               strcmp(request.ifr_name, "ct-1") == 0 && (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0 &&
               (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0,
           "dial tap: which is the one that is dialled");
    tap_ok(dial("tap", "ct-1") < 0 && says(RUNNER_E_BUSY, "ct-1"), "dial tap: once");
    cleanup_close(&fd);
    tap_ok(RUN(.kind = RUNNER_TAP_DEL, .path = "ct-1") == 0 &&
               RUN(.kind = RUNNER_TAP_ADD, .flags = RUNNER_S_HELD, .path = "ct-1") == 0 &&
               RUN(.kind = RUNNER_TAP_DEL, .path = "ct-1") == 0 && if_nametoindex("ct-1") == 0 &&
               await_count("/proc/self/fd", before),
           "TAP_DEL: lets go of it");
    tap_ok(if_nametoindex("ct-0") != 0 && RUN(.kind = RUNNER_TAP_DEL, .path = "ct-0") == 0 &&
               if_nametoindex("ct-0") == 0,
           "the TAP outlasts it, and TAP_DEL takes it away");
    tap_ok(dial("tap", "lo") < 0 && says(RUNNER_E_INVALID, "'lo' is no TAP"), "dial tap: another driver's interface");
    tap_ok(dial("tap", "") < 0 && says(RUNNER_E_INVALID, "no interface name") && dial("tap", "a/b") < 0 &&
               says(RUNNER_E_INVALID, "'a/b'") && dial("tap", "sixteen-bytes-16") < 0 &&
               says(RUNNER_E_INVALID, "'sixteen-bytes-16'") && dial("tap", "ct%d") < 0 &&
               says(RUNNER_E_INVALID, "ct%d"),
           "dial tap: bad names");
    check_idle_race();
    check_idle_again();
    check_killed_add();
    check_netns();
    tap_ok(await_count("/proc/self/fd", before), "dial tap: no descriptor is left");
}

/* In a network namespace of its own, to which the calling thread does not come back: it is the last test. */
void check_taps(void)
{
    const char *reason = NULL;

    if (geteuid() != 0)
        reason = "needs root";
    else if (access("/dev/net/tun", R_OK | W_OK) < 0)
        reason = "needs /dev/net/tun";
    else if (unshare(CLONE_NEWNET) < 0)
        reason = "no network namespaces here";
    if (reason != NULL)
        tap_ok(true, "dial tap # SKIP %s", reason);
    else
        check_taps_here();
    if (reason == NULL) {
        check_full_bridge();
        check_port();
        check_netlink();
    }
}
