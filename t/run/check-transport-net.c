/* Of check-transport: what can be dialled. */
#include "t/run/check-transport.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void check_dial(void)
{
    static const char *const bad[] = {
        "",        "tcp:",          "tcp:127.0.0.1",       "tcp:127.0.0.1:0", "tcp:host:80",
        "udp:1:2", "unix:relative", "tcp:127.0.0.1:70000", "bind:",           "bind:127.0.0.1:0"};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd = -1;
    char *address, *long_dir = keep(mem_dup(dir));
    struct runner_call *call = host_call(PATIENCE_MS, -1);

    if (bind(listener, (struct sockaddr *)&in, sizeof in) < 0 ||
        getsockname(listener, (struct sockaddr *)&in, &len) < 0)
        tap_note("no port");
    address = keep(mem_printf("tcp:127.0.0.1:%d", ntohs(in.sin_port)));
    tap_ok(ops->dial(self, call, address, &fd, &err) < 0 && says(RUNNER_E_UNREACHABLE, address) && err.retry == 1,
           "dial: refused, as nobody listens");
    tap_ok(listen(listener, 1) == 0 && ops->dial(self, call, address, &fd, &err) == 0 && fd >= 0, "dial: %s", address);
    cleanup_close(&fd);
    address = keep(mem_printf("bind:127.0.0.1:%d", ntohs(in.sin_port)));
    tap_ok(ops->dial(self, call, address, &fd, &err) < 0 && says(RUNNER_E_BUSY, address),
           "dial: %s is refused, as somebody listens", address);
    close(listener);
    tap_ok(ops->dial(self, call, address, &fd, &err) == 0 && getsockname(fd, (struct sockaddr *)&in, &len) == 0 &&
               strtol(strrchr(address, ':') + 1, NULL, 10) == ntohs(in.sin_port),
           "dial: %s, when nobody does", address);
    cleanup_close(&fd);
    address = keep(mem_printf("unix:%s", at("none.sock")));
    tap_ok(ops->dial(self, call, address, &fd, &err) < 0 && says(RUNNER_E_UNREACHABLE, address),
           "dial: no such socket");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        tap_ok(ops->dial(self, call, bad[i], &fd, &err) < 0 && err.code == RUNNER_E_INVALID,
               "dial: '%s' is refused: %s", bad[i], err.message);
    while (strlen(long_dir) < 150)
        long_dir = keep(mem_printf("%s/a-long-directory-name", long_dir));
    (void)RUN(.kind = RUNNER_MKDIR, .path = long_dir, .number = 0700, .flags = RUNNER_S_PARENTS);
    {
        struct runner_fd listen_fd = {RUNNER_FD_LISTEN, 3, keep(mem_printf("%s/s", long_dir))};
        struct runner_spawn how = {.size = sizeof how, .pid_path = at("l.pid"), .n_fds = 1, .fds = &listen_fd};

        tap_ok(RUN(.kind = RUNNER_SPAWN, ARGV("sleep", "60"), .spawn = &how) == 0 &&
                   ops->dial(self, host_call(PATIENCE_MS, -1), keep(mem_printf("unix:%s", listen_fd.path)), &fd,
                             &err) == 0,
               "listen and dial at a path of %zu bytes", strlen(listen_fd.path));
        cleanup_close(&fd);
        (void)RUN(.kind = RUNNER_KILL, .path = at("l.pid"), .number = SIGKILL);
    }
}

/* ---- FIFOs ------------------------------------------------------------------------------------------------------- */

static int dial(const char *scheme, const char *rest)
{
    int fd = -1;

    error_clear(&err);
    (void)ops->dial(self, host_call(5000, -1), keep(mem_printf("%s:%s", scheme, rest)), &fd, &err);
    return fd;
}

/* Reads until the text has come. */
static bool comes(int fd, const char *text)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char buffer[256] = "";
    size_t len = 0;

    while (len < sizeof buffer - 1 && strstr(buffer, text) == NULL && poll(&p, 1, 5000) == 1) {
        ssize_t n = read(fd, buffer + len, sizeof buffer - 1 - len);

        if (n <= 0)
            break;
        len += (size_t)n;
        buffer[len] = '\0';
    }
    if (strstr(buffer, text) == NULL)
        tap_note("no '%s' came, but '%s'", text, buffer);
    return strstr(buffer, text) != NULL;
}

void check_fifo(void)
{
    const char *path = at("events"), *pid_path = at("f.pid"), *more = at("more"), *script;
    struct runner_fd fd = {RUNNER_FD_FIFO, 3, path};
    struct runner_spawn how = {.size = sizeof how, .pid_path = pid_path, .n_fds = 1, .fds = &fd};
    struct runner_step step = {.kind = RUNNER_SPAWN, .spawn = &how};
    int first, second;

    /* It writes one line at once, and another whenever one comes through the second FIFO. */
    script = "echo one >&3; while read -r line; do echo \"$line\" >&3; done <\"$0\"";
    step.argv = (const char *const[]){"/bin/sh", "-c", script, more, NULL};
    tap_ok(mkfifo(more, 0600) == 0 && run(step) == 0 && mode_of(path) == 0600, "SPAWN with a FIFO");
    first = open(more, O_WRONLY);
    second = dial("fifo", path);
    tap_ok(second >= 0 && (fcntl(second, F_GETFL) & (O_NONBLOCK | O_ACCMODE)) == (O_NONBLOCK | O_RDONLY) &&
               (fcntl(second, F_GETFD) & FD_CLOEXEC) != 0 && comes(second, "one\n"),
           "dial fifo: what was written before is there");
    close(second);
    tap_ok(write(first, "two\n", 4) == 4 && (second = dial("fifo", path)) >= 0 && comes(second, "two\n") &&
               RUN(.kind = RUNNER_ALIVE, .path = pid_path) == 0 && result.status == 0,
           "fifo: a reader leaves, the process goes on, and the next one reads");
    (void)RUN(.kind = RUNNER_KILL, .path = pid_path, .number = SIGKILL);
    tap_ok(poll(&(struct pollfd){.fd = second, .events = POLLIN}, 1, 5000) == 1 && read(second, (char[4]){0}, 4) == 0,
           "fifo: the end of the process is the end of the stream");
    close(second);
    close(first);
    step.argv = (const char *const[]){"/no/such/program", NULL};
    tap_ok(run(step) < 0 && says(RUNNER_E_NOTFOUND, "/no/such/program") && !is_there(path),
           "SPAWN with a FIFO: a stale one is replaced, and goes when there will be no process");
    (void)RUN(.kind = RUNNER_WRITE, .path = path, .data = "x", .len = 1, .number = 0600);
    tap_ok(run(step) < 0 && says(RUNNER_E_EXISTS, path) && is_there(path), "SPAWN: a FIFO does not replace a file");
    tap_ok(dial("fifo", path) < 0 && says(RUNNER_E_INVALID, path), "dial fifo: a file is none");
    tap_ok(dial("fifo", at("none")) < 0 && says(RUNNER_E_NOTFOUND, at("none")) && dial("fifo", at("none/x")) < 0 &&
               says(RUNNER_E_NOTFOUND, at("none")),
           "dial fifo: absent");
    tap_ok(symlink(more, at("fifo-link")) == 0 && dial("fifo", at("fifo-link")) < 0 &&
               says(RUNNER_E_INVALID, "is a link"),
           "dial fifo: a link is not followed");
}

/* ---- TAPs -------------------------------------------------------------------------------------------------------- */

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
    while (poll(&p, 1, 5000) == 1) {
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

/* What a plugin says to the kernel goes there as it is, and what it answers comes back. */
static void check_netlink(void)
{
    struct {
        struct nlmsghdr head;
        struct ifinfomsg about;
    } ask = {{.nlmsg_len = sizeof ask, .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
             {.ifi_family = AF_UNSPEC}},
      two[2] = {ask, ask}, drop = ask;
    const struct nlmsghdr *first;
    size_t n = 0;

    tap_ok(RUN(.kind = RUNNER_NETLINK, .data = &ask, .len = sizeof ask) == 0 && result.len > sizeof *first &&
               (first = (const struct nlmsghdr *)result.out)->nlmsg_type == RTM_NEWLINK,
           "NETLINK: a list");
    for (size_t at = 0; at + sizeof *first <= result.len; n++)
        at += NLMSG_ALIGN(((const struct nlmsghdr *)(result.out + at))->nlmsg_len);
    two[1].about.ifi_index = 1;
    two[1].head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    tap_ok(RUN(.kind = RUNNER_NETLINK, .data = two, .len = sizeof two) == 0 && n > 0 && result.len > 0,
           "NETLINK: one message after another");
    drop.head.nlmsg_type = RTM_DELLINK;
    drop.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    drop.about.ifi_index = 999999;
    tap_ok(RUN(.kind = RUNNER_NETLINK, .data = &drop, .len = sizeof drop) < 0 &&
               says(RUNNER_E_NOTFOUND, "message 1 of 1"),
           "NETLINK: the error is the kernel's");
    drop.head.nlmsg_type = RTM_GETLINK;
    drop.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    drop.about.ifi_index = 0;
    tap_ok(RUN(.kind = RUNNER_NETLINK, .path = "lo", .data = &drop, .len = sizeof drop) == 0 &&
               result.len >= sizeof drop && ((const struct ifinfomsg *)NLMSG_DATA(result.out))->ifi_index == 1,
           "NETLINK: about an interface that is named");
    tap_ok(RUN(.kind = RUNNER_NETLINK, .path = "ct-absent", .data = &drop, .len = sizeof drop) < 0 &&
               says(RUNNER_E_NOTFOUND, "ct-absent") &&
               RUN(.kind = RUNNER_NETLINK, .flags = RUNNER_S_OPTIONAL, .path = "ct-absent", .data = &drop,
                   .len = sizeof drop) == 0 &&
               result.status == 1,
           "NETLINK: which may not be there");
    two[0].head.nlmsg_len = 8;
    tap_ok(RUN(.kind = RUNNER_NETLINK, .data = two, .len = sizeof two) < 0 && says(RUNNER_E_INVALID, "message 1") &&
               RUN(.kind = RUNNER_NETLINK, .data = &ask, .len = sizeof ask - 4) < 0 &&
               says(RUNNER_E_INVALID, "message 1") &&
               RUN(.kind = RUNNER_NETLINK, .number = 99, .data = &ask, .len = sizeof ask) < 0 &&
               says(RUNNER_E_INVALID, "protocol 99"),
           "NETLINK: what is no message is not sent");
    ask.head.nlmsg_type = NFNL_MSG_BATCH_BEGIN;
    tap_ok(RUN(.kind = RUNNER_NETLINK, .number = NETLINK_NETFILTER, .data = &ask, .len = sizeof ask) < 0 &&
               says(RUNNER_E_INVALID, "no end"),
           "NETLINK: a transaction has an end");
}

static void check_port(void)
{
    struct runner_port port = {.size = sizeof port, .mac = "01:00:00:00:00:07", .address = "192.0.2.7"};
    const char *argv[] = {"bridge", "-d", "link", "show", "dev", "ct-port", NULL};
    const char *of_fdb[] = {"bridge", "fdb", "show", "dev", "ct-port", NULL};
    const char *of_neighbours[] = {"ip", "neigh", "show", "dev", "ct-port-br", NULL};
    auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (ioctl(fd, SIOCBRADDBR, "ct-port-br") < 0) {
        tap_ok(true, "TAP_ADD with a port # SKIP no bridges here");
        return;
    }
    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .path = "ct-port", .to = "ct-port-br", .port = &port) < 0 &&
               says(RUNNER_E_INVALID, "'01:00:00:00:00:07' is no MAC"),
           "TAP_ADD: a MAC address of many is nobody's");
    port.mac = "02:00:00:00:00:07";
    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .flags = RUNNER_S_ISOLATED, .path = "ct-port", .to = "ct-port-br",
               .port = &port) == 0 &&
               RUN(.kind = RUNNER_RUN, .argv = argv) == 0 && strstr(result.out, "learning off") != NULL &&
               strstr(result.out, " flood off") != NULL && strstr(result.out, "bcast_flood off") != NULL &&
               strstr(result.out, "isolated on") != NULL && strstr(result.out, "locked on") != NULL,
           "TAP_ADD with a port: it learns nothing, floods nothing, and is locked");
    tap_ok(RUN(.kind = RUNNER_RUN, .argv = of_fdb) == 0 && strstr(result.out, "02:00:00:00:00:07") != NULL &&
               strstr(result.out, "static") != NULL && RUN(.kind = RUNNER_RUN, .argv = of_neighbours) == 0 &&
               strstr(result.out, "192.0.2.7 lladdr 02:00:00:00:00:07 PERMANENT") != NULL,
           "TAP_ADD with a port: whose it is is known to the bridge and to the host");
    tap_ok(RUN(.kind = RUNNER_TAP_DEL, .path = "ct-port", .to = "ct-port-br", .port = &port) == 0 &&
               RUN(.kind = RUNNER_RUN, .argv = of_neighbours) == 0 && strstr(result.out, "192.0.2.7") == NULL &&
               if_nametoindex("ct-port") == 0,
           "TAP_DEL: and forgotten, the name free at once");
    (void)ioctl(fd, SIOCBRDELBR, "ct-port-br");
}

/* Queues and namespaces that are open here. Sockets are not looked at: one comes and goes with the reaper's work. */
static size_t n_held(void)
{
    auto_dir DIR *d = opendir("/proc/self/fd");
    const struct dirent *e;
    char to[64];
    size_t n = 0;

    while (d != NULL && (e = readdir(d)) != NULL) {
        ssize_t len = readlinkat(dirfd(d), e->d_name, to, sizeof to - 1);

        to[len < 0 ? 0 : len] = '\0';
        n += strcmp(to, "/dev/net/tun") == 0 || strncmp(to, "net:", 4) == 0;
    }
    return n;
}

/* Interfaces as numbers of the runner's own namespace know them: a veth has its other end elsewhere. */
static void check_netns(void)
{
    static const char nonsense[32] = "no message";
    struct runner_netns netns = {.size = sizeof netns};
    const char *show[] = {"ip", "-d", "link", "show", "dev", "ct-ns", NULL};
    size_t before = n_held();
    struct ifreq request = {0};
    int fd;

    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .path = "ct-ns", .netns = &netns) < 0 &&
               says(RUNNER_E_INVALID, "nobody can open it") &&
               RUN(.kind = RUNNER_TAP_ADD, .flags = RUNNER_S_HELD | RUNNER_S_IDLE, .path = "ct-ns", .netns = &netns) <
                   0 &&
               says(RUNNER_E_INVALID, "no idle one"),
           "TAP_ADD in a namespace: of a new TAP that is dialled");
    netns.routes = nonsense;
    netns.routes_len = sizeof nonsense;
    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .flags = RUNNER_S_HELD, .path = "ct-ns", .netns = &netns) < 0 &&
               says(RUNNER_E_INVALID, "tap 'ct-ns': routes in its namespace") && if_nametoindex("ct-ns") == 0 &&
               n_held() == before,
           "TAP_ADD in a namespace: a wrong message, and nothing is left");
    netns.routes = NULL;
    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .flags = RUNNER_S_HELD, .path = "ct-ns", .to = "ct-nobridge", .netns = &netns) <
                   0 &&
               says(RUNNER_E_NOTFOUND, "ct-nobridge") && if_nametoindex("ct-ns") == 0 && n_held() == before,
           "TAP_ADD in a namespace: no bridge, and nothing is left");
    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .flags = RUNNER_S_HELD, .path = "ct-ns", .number = 54321, .netns = &netns) ==
                   0 &&
               RUN(.kind = RUNNER_RUN, .argv = show) == 0 && strstr(result.out, "veth") != NULL &&
               strstr(result.out, "link-netnsid") != NULL && n_held() == before + 1,
           "TAP_ADD in a namespace: here there is a veth of its name, and its queue");
    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .flags = RUNNER_S_HELD, .path = "ct-ns", .netns = &netns) < 0 &&
               says(RUNNER_E_EXISTS, "ct-ns"),
           "TAP_ADD in a namespace: the name is taken");
    fd = dial("tap", "ct-ns");
    tap_ok(fd >= 0 && ioctl(fd, TUNGETIFF, &request) == 0 && strcmp(request.ifr_name, "ct-ns") == 0 &&
               (request.ifr_flags & IFF_TAP) != 0,
           "dial tap: in its namespace it has the same name");
    tap_ok(RUN(.kind = RUNNER_TAP_DEL, .path = "ct-ns", .data = "ct-idle", .len = sizeof "ct-idle") == 0 &&
               if_nametoindex("ct-ns") == 0 && if_nametoindex("ct-idle") == 0,
           "TAP_DEL: a veth is not kept");
    cleanup_close(&fd);
    (void)RUN(.kind = RUNNER_TAP_ADD, .flags = RUNNER_S_HELD, .path = "ct-ns", .netns = &netns);
    fd = dial("tap", "ct-ns");
    cleanup_close(&fd);
    for (int i = 0; i < 1000 && if_nametoindex("ct-ns") != 0; i++)
        poll(NULL, 0, 10);
    tap_ok(if_nametoindex("ct-ns") == 0, "a TAP in a namespace: with its last queue all is gone");
}

static void set_up(int fd, const char *name, bool is_up)
{
    struct ifreq request = {.ifr_flags = is_up ? IFF_UP : 0};

    (void)snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    (void)ioctl(fd, SIOCSIFFLAGS, &request);
}

/* The kernel's own limit. */
static void check_full_bridge(void)
{
    auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct runner_port port = {
        .size = sizeof port, .mac = "02:00:00:00:00:07", .address = "192.0.2.7", .also = "ct-also", .is_routed = 1};
    const char *of_port[] = {"ip", "link", "show", "master", "ct-also", NULL};
    const char *of_host[] = {"sh", "-c", "ip neigh show 192.0.2.7 nud permanent; ip route show proto 114", NULL};
    char name[IFNAMSIZ];
    int n = 0;

    if (ioctl(fd, SIOCBRADDBR, "ct-full") < 0) {
        tap_ok(true, "TAP_ADD: a full bridge # SKIP no bridges here");
        return;
    }
    do
        (void)snprintf(name, sizeof name, "ct-full-%d", n++);
    while (n < 1100 && RUN(.kind = RUNNER_TAP_ADD, .path = name, .to = "ct-full") == 0);
    tap_ok(n == 1024 && says(RUNNER_E_NOSPACE, "bridge 'ct-full' is full: it has 1023 ports") &&
               if_nametoindex(name) == 0,
           "TAP_ADD: a full bridge: the %dth is refused, which says why, and is not there", n);
    tap_ok(RUN(.kind = RUNNER_TAP_DEL, .path = "ct-full-7") == 0 &&
               RUN(.kind = RUNNER_TAP_ADD, .path = name, .to = "ct-full") == 0,
           "TAP_ADD: there is room as soon as one has gone");
    (void)ioctl(fd, SIOCBRADDBR, "ct-also");
    set_up(fd, "ct-full", true);
    set_up(fd, "ct-also", true);
    tap_ok(RUN(.kind = RUNNER_TAP_ADD, .path = "ct-second", .to = "ct-full", .port = &port) == 0 &&
               RUN(.kind = RUNNER_RUN, .argv = of_port) == 0 && strstr(result.out, "ct-second") != NULL &&
               RUN(.kind = RUNNER_RUN, .argv = of_host) == 0 &&
               strncmp(result.out, "192.0.2.7 dev ct-also lladdr", 28) == 0 &&
               strstr(result.out, "192.0.2.7 dev ct-also scope link") != NULL &&
               strstr(result.out, "dev ct-full") == NULL,
           "TAP_ADD: a full bridge: the other one, and the host sends what is for its guest there");
    tap_ok(RUN(.kind = RUNNER_TAP_DEL, .path = "ct-second", .to = "ct-full", .port = &port) == 0 &&
               RUN(.kind = RUNNER_RUN, .argv = of_host) == 0 && result.len == 0 && if_nametoindex("ct-second") == 0,
           "TAP_DEL: and no more, whichever bridge it was put on");
    set_up(fd, "ct-also", false);
    set_up(fd, "ct-full", false);
    (void)ioctl(fd, SIOCBRDELBR, "ct-also");
    while (n-- > 0) {
        (void)snprintf(name, sizeof name, "ct-full-%d", n);
        (void)RUN(.kind = RUNNER_TAP_DEL, .path = name);
    }
    (void)ioctl(fd, SIOCBRDELBR, "ct-full");
}

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
