/* Peers at the control socket that are no VMM: they say nothing, hang up, or say what nobody understands, for ever. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/util/num.h"
#include "kit/general.h"
#include "kit/heap.h"
#include "kit/vmm.h"

enum { CONNECTIONS_MAX = 16, DEADLINE_MS = 250, GRACE_MS = 10000, GROWTH_MAX_MIB = 256, AGAIN = 2, CLOSE_MS = 1000 };

static const struct {
    const char *name, *text; /* text: said, and with is_endless again and again */
    bool closes, is_endless;
} peers[PEERS] = {
    [PEER_SILENT] = {"says nothing", "", false, false},
    [PEER_CLOSES] = {"hangs up", "", true, false},
    [PEER_GARBAGE] = {"says garbage", "\x80\xff\x01garbage\n\n{]}\r\n\r\n", true, false},
    [PEER_ENDLESS] = {"never ends a line", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", false, true},
    [PEER_LINES] = {"says lines for ever", "{\"event\": \"X\", \"data\": {}}\r\n", false, true},
    [PEER_HTTP] = {"promises a body beyond all bounds",
                   "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{", false, false},
    [PEER_JSON] = {"stops in the middle", "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 2", true, false},
};

const char *peer_name(enum peer peer)
{
    return peers[peer].name;
}

/* ---- the peer ---- */

struct post {
    enum peer peer;
    int listening;
};

/* False: it is done with this connection. */
static bool speak(enum peer peer, int fd)
{
    char buffer[4096];
    const char *text = peers[peer].text;
    size_t len = strlen(text);

    if (peer == PEER_ENDLESS) { /* more at once than who takes it byte by byte has taken before there is more again */
        memset(buffer, text[0], sizeof buffer);
        text = buffer;
        len = sizeof buffer;
    }
    while (peers[peer].is_endless && send(fd, text, len, MSG_NOSIGNAL) > 0)
        ;
    if (errno == EPIPE || errno == ECONNRESET)
        return false;
    return recv(fd, buffer, sizeof buffer, 0) != 0; /* what it hears is not heeded */
}

static void take(const struct post *post, struct pollfd *fds, size_t *n)
{
    const char *text = peers[post->peer].text;
    int fd = accept4(post->listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    if (text[0] != '\0')
        (void)send(fd, text, strlen(text), MSG_NOSIGNAL);
    if (peers[post->peer].closes || *n > CONNECTIONS_MAX) {
        close(fd);
        return;
    }
    fds[(*n)++] = (struct pollfd){.fd = fd, .events = (short)(POLLIN | (peers[post->peer].is_endless ? POLLOUT : 0))};
}

static void *serve(void *arg)
{
    auto_free struct post *post = arg; /* the thread's: the next peer is another's */
    struct pollfd fds[CONNECTIONS_MAX + 2] = {{.fd = post->listening, .events = POLLIN}};
    size_t n = 1;

    while (poll(fds, n, -1) >= 0 || errno == EINTR) {
        for (size_t i = n; i-- > 1;) {
            errno = 0;
            if (fds[i].revents != 0 && !speak(post->peer, fds[i].fd)) {
                close(fds[i].fd);
                fds[i] = fds[--n];
            }
        }
        if (fds[0].revents != 0)
            take(post, fds, &n);
    }
    return NULL;
}

void peer_start(enum peer peer, const char *path)
{
    struct post *post = mem_alloc(sizeof *post);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    pthread_t thread;

    if (strlen(path) >= sizeof address.sun_path)
        stop_point("'%s' is too long for a socket: use another TMPDIR", path);
    memcpy(address.sun_path, path, strlen(path));
    (void)unlink(path);
    post->peer = peer;
    post->listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (post->listening < 0 || bind(post->listening, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(post->listening, 16) < 0 || pthread_create(&thread, NULL, serve, post) != 0)
        stop_point("socket '%s': %m", path);
    (void)pthread_detach(thread);
}

/* ---- the points ---- */

static int64_t resident_mib(void)
{
    auto_fclose FILE *f = fopen("/proc/self/statm", "r");
    long long pages = 0;

    if (f == NULL || fscanf(f, "%*d %lld", &pages) != 1)
        stop_point("/proc/self/statm: %m");
    return pages * sysconf(_SC_PAGESIZE) >> 20;
}

static bool may_succeed(const struct op *op) /* status: ABSENT; listen hears elsewhere, or waits for a first word */
{
    return strcmp(op->name, "status") == 0 || strcmp(op->name, "listen") == 0;
}

static void check_error(const struct op *op, const struct trial *t)
{
    if (t->status == 0)
        return;
    if (error_code_fault(&t->err) != NULL)
        flaw("%s fails with %s", op->name, error_code_fault(&t->err));
    if (error_message_fault(&t->err) != NULL)
        flaw("%s fails with %s", op->name, error_message_fault(&t->err));
}

static void call_with_deadline(struct subject *s, const struct op *op, enum peer peer)
{
    struct trial t = {.layout = TODAY};
    int64_t before = resident_mib();

    fake_host_deadline(DEADLINE_MS);
    op->call(s, &t);
    check_error(op, &t);
    if (t.ms > DEADLINE_MS + GRACE_MS)
        flaw("its deadline was after %d ms, it took %lld", DEADLINE_MS, (long long)t.ms);
    if (t.status == 0 && (!may_succeed(op) || (peer == PEER_SILENT && strcmp(op->name, "status") == 0)))
        flaw("it succeeds when the peer %s", peer_name(peer));
    if (t.status != 0 && peer == PEER_SILENT && t.err.code != RUNNER_E_TIMEOUT && strcmp(op->name, "listen") != 0)
        flaw("code %s, not timeout: %s", error_name(t.err.code), t.err.message);
    if (resident_mib() - before > GROWTH_MAX_MIB)
        flaw("it keeps %lld MiB of what the peer says", (long long)(resident_mib() - before));
}

/* The peer's end of a connection that was closed is open for a moment. */
static int64_t descriptors_settled(int64_t wanted)
{
    int64_t end_ms = num_now_ms() + CLOSE_MS;
    const struct timespec moment = {.tv_nsec = 1000000};

    while (open_descriptors() > wanted && num_now_ms() < end_ms)
        nanosleep(&moment, NULL);
    return open_descriptors();
}

/* What the first call kept may be there to stay, what each one adds may not. */
static void check_growth(struct subject *s, const struct op *op, enum peer peer)
{
    bool grows = true, heap_grows = true;

    for (int i = 0; i < AGAIN; i++) {
        struct trial t = {.layout = TODAY};
        int64_t open_before = open_descriptors(), heap_before = heap_in_use();

        fake_host_deadline(DEADLINE_MS);
        op->call(s, &t);
        grows = grows && descriptors_settled(open_before) > open_before;
        heap_grows = heap_grows && heap_in_use() > heap_before;
    }
    if (grows)
        flaw("each time it leaves a descriptor when the peer %s", peers[peer].name);
    if (heap_grows)
        flaw("each time it leaves memory when the peer %s", peers[peer].name);
}

/* Who says nothing that is understood says least of all that a machine runs. */
static void check_state(struct subject *s, const struct machine *m, enum peer peer)
{
    struct runner_vm_status status = {.size = sizeof status};
    struct runner_error err = ERROR_INIT;

    fake_host_deadline(DEADLINE_MS);
    if (vmm_ops_of(s)->status(s->self, fake_call(), &m->vm, &status, &err) == 0 &&
        (status.state == RUNNER_VM_RUNNING || status.state == RUNNER_VM_PAUSED))
        flaw("it says %s when the peer %s", status.state == RUNNER_VM_RUNNING ? "that it runs" : "that it is paused",
             peers[peer].name);
}

/* Its events come from the peer too, wherever they are listened for. */
static void talk(struct subject *s, const struct op *op, enum peer peer)
{
    struct machine m;

    subject_renew(s);
    machine_init(s, &m);
    peer_start(peer, m.vm.socket_path);
    fake_host_dial_to(m.vm.socket_path);
    call_with_deadline(s, op, peer);
    check_growth(s, op, peer);
    if (strcmp(op->name, "status") == 0)
        check_state(s, &m, peer);
}

static void point_silent(struct subject *s, const struct point *point)
{
    talk(s, point->op, PEER_SILENT);
}

static void point_garbage(struct subject *s, const struct point *point)
{
    for (enum peer peer = PEER_CLOSES; peer < PEERS && flaws_so_far() == 0; peer++)
        talk(s, point->op, peer);
}

static void *cancel_soon(void *arg)
{
    const struct timespec moment = {.tv_nsec = 50000000};
    uint64_t one = 1;

    nanosleep(&moment, NULL);
    (void)!write(*(int *)arg, &one, sizeof one);
    return NULL;
}

static void point_waiting(struct subject *s, const struct point *point)
{
    struct trial t = {.layout = TODAY};
    struct machine m;
    pthread_t thread;
    int fd = eventfd(0, EFD_CLOEXEC);

    if (point_is_fatal(point->op, DEADLINE))
        skip_point("it does not even end at a deadline: see the point silent");
    subject_renew(s);
    machine_init(s, &m);
    peer_start(PEER_SILENT, m.vm.socket_path);
    fake_host_dial_to(m.vm.socket_path);
    fake_host_cancel_fd(fd);
    if (fd < 0 || pthread_create(&thread, NULL, cancel_soon, &fd) != 0)
        stop_point("pthread_create: %m");
    point->op->call(s, &t);
    (void)pthread_join(thread, NULL);
    if (t.ms > GRACE_MS)
        flaw("cancelled after 50 ms, it took %lld", (long long)t.ms);
    if (t.status != 0 && t.err.code != RUNNER_E_CANCELLED && strcmp(point->op->name, "listen") != 0)
        flaw("code %s, not cancelled: %s", error_name(t.err.code), t.err.message);
    if (t.status == 0 && strcmp(point->op->name, "listen") != 0)
        flaw("it succeeds, though nobody answered");
}

void vmm_add_peer_points(struct checklist *list, const struct plugin *plugin)
{
    for (size_t i = 0; i < vmm_n_talking_ops; i++) {
        const struct op *op = &vmm_talking_ops[i];

        if (!op_is_there(op, plugin))
            continue;
        checklist_add_op(list, op, "silent", "a peer that says nothing is TIMEOUT at the deadline", point_silent,
                         DEADLINE);
        checklist_add_op(list, op, "waiting", "a cancel wakes it when a peer says nothing", point_waiting, CANCEL);
        checklist_add_op(list, op, "garbage", "a peer that is no VMM is an error, in time, within bounds",
                         point_garbage, AS_IS);
    }
}
