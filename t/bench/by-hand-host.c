/* The work on the host. */
#include "t/bench/by-hand.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <netinet/ether.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOFILE 4096
#define GIVEN  6 /* descriptors of a VMM */

/* ---- files ---- */

static void check(long result, const char *what)
{
    if (result < 0)
        hand_die(what);
}

static int make_file(const struct machine *m, const char *name, int flags, mode_t mode)
{
    int fd = openat(m->at, name, O_CREAT | O_EXCL | O_CLOEXEC | flags, mode);

    check(fd, name);
    return fd;
}

static void write_file(const struct machine *m, const char *name, const struct hand_file *file, mode_t mode,
                       uint32_t uid, bool is_durable)
{
    int fd = make_file(m, name, O_WRONLY, mode);
    size_t end = 0;

    for (size_t i = 0; i < file->n_extents; i++) {
        if (pwrite(fd, file->data + file->extents[i].at, file->extents[i].len, (off_t)file->extents[i].at) !=
            (ssize_t)file->extents[i].len)
            hand_die(name);
        end = file->extents[i].at + file->extents[i].len;
    }
    if (end < file->size) /* it ends with a hole */
        check(ftruncate(fd, (off_t)file->size), name);
    if (uid != 0)
        check(fchown(fd, uid, uid), name);
    if (is_durable)
        check(fsync(fd), name);
    close(fd);
}

void hand_make_folder(struct machine *m)
{
    uint32_t uid = m->hand->uid;

    check(mkdir(m->dir, 0710), m->dir);
    m->at = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(m->at, m->dir);
    check(mkdirat(m->at, "vmm", 0700), "vmm");
    if (uid != 0) {
        check(fchown(m->at, 0, uid), m->dir);
        check(fchownat(m->at, "vmm", uid, uid, 0), "vmm");
    }
    if (m->hand->record.size > 0)
        write_file(m, "runner.json", &m->hand->record, 0600, 0, false);
    m->log = make_file(m, "vmm.log", O_WRONLY | O_APPEND, 0600);
    m->serial = make_file(m, "serial.log", O_WRONLY | O_APPEND, 0600);
    if (uid != 0)
        check(fchown(m->serial, uid, uid), "serial.log");
}

void hand_make_disks(struct machine *m)
{
    write_file(m, "disk.qcow2", &m->hand->disk, 0600, m->hand->uid, false);
    write_file(m, "cloud-init.iso", &m->hand->seed, 0400, m->hand->uid, false);
}

void hand_commit(struct machine *m)
{
    if (m->hand->record.size == 0)
        return;
    write_file(m, "record.new", &m->hand->record, 0600, 0, true);
    check(renameat(m->at, "record.new", m->at, "runner.json"), "runner.json");
    check(fsync(m->at), m->dir);
}

void hand_open_socket(struct machine *m)
{
    const struct sockaddr *address = (struct sockaddr *)&m->address;

    m->address.sun_family = AF_UNIX;
    if (snprintf(m->address.sun_path, sizeof m->address.sun_path, "%s/api.sock", m->dir) >=
        (int)sizeof m->address.sun_path) {
        errno = ENAMETOOLONG;
        hand_die(m->dir);
    }
    m->api = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (m->api < 0 || fchmod(m->api, 0600) < 0 || bind(m->api, address, sizeof m->address) < 0 ||
        listen(m->api, 128) < 0)
        hand_die(m->address.sun_path);
    m->events = open("/dev/null", O_RDWR | O_CLOEXEC);
}

/* ---- TAP ---- */

struct request {
    struct nlmsghdr head;
    union {
        struct ifinfomsg link;
        struct ndmsg neighbour;
    };
    char attributes[128];
};

static struct rtattr *add(struct request *r, unsigned short type, const void *data, size_t len)
{
    struct rtattr *attribute = (struct rtattr *)((char *)r + NLMSG_ALIGN(r->head.nlmsg_len));

    attribute->rta_type = type;
    attribute->rta_len = (unsigned short)RTA_LENGTH(len);
    if (len > 0)
        memcpy(RTA_DATA(attribute), data, len);
    r->head.nlmsg_len = NLMSG_ALIGN(r->head.nlmsg_len) + (uint32_t)RTA_ALIGN(attribute->rta_len);
    return attribute;
}

static void carry_out(int fd, const struct request *r)
{
    char answer[4096];
    const struct nlmsghdr *head = (struct nlmsghdr *)(void *)answer;

    if (send(fd, r, r->head.nlmsg_len, 0) < 0 || recv(fd, answer, sizeof answer, 0) < 0)
        hand_die("netlink");
    if (head->nlmsg_type != NLMSG_ERROR || ((struct nlmsgerr *)NLMSG_DATA(head))->error != 0)
        hand_die("the bridge");
}

static struct request link_request(unsigned char family, int index)
{
    return (struct request){.head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
                                     .nlmsg_type = RTM_SETLINK,
                                     .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
                            .link = {.ifi_family = family, .ifi_index = index}};
}

/* A port that is locked lets in whom the bridge knows to be there. */
static void let_in(const struct machine *m, int netlink, int index)
{
    struct request r = {
        .head = {.nlmsg_len = NLMSG_LENGTH(sizeof r.neighbour),
                 .nlmsg_type = RTM_NEWNEIGH,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE},
        .neighbour = {.ndm_family = AF_BRIDGE, .ndm_ifindex = index, .ndm_state = NUD_NOARP, .ndm_flags = NTF_MASTER}};
    struct ether_addr mac;

    add(&r, NDA_LLADDR, ether_aton_r(m->mac, &mac), sizeof mac);
    carry_out(netlink, &r);
}

/* Up, on the bridge, apart from the others there, where it learns and floods nothing. It goes with its last descriptor. */
void hand_make_tap(struct machine *m)
{
    struct ifreq name = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    static const struct {
        unsigned short type;
        uint8_t value;
    } flags[] = {{IFLA_BRPORT_ISOLATED, 1},      {IFLA_BRPORT_LOCKED, 1},      {IFLA_BRPORT_LEARNING, 0},
                 {IFLA_BRPORT_UNICAST_FLOOD, 0}, {IFLA_BRPORT_MCAST_FLOOD, 0}, {IFLA_BRPORT_BCAST_FLOOD, 0}};
    struct request join, port;
    struct rtattr *nest;
    uint32_t bridge;

    m->tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    (void)snprintf(name.ifr_name, sizeof name.ifr_name, "%s", m->hand->bridge);
    check(ioctl(netlink, SIOCGIFINDEX, &name), m->hand->bridge);
    bridge = (uint32_t)name.ifr_ifindex;
    name.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    (void)snprintf(name.ifr_name, sizeof name.ifr_name, "%.9s%d", m->hand->tap, m->number % 100000);
    check(ioctl(m->tap, TUNSETIFF, &name), name.ifr_name);
    check(ioctl(netlink, SIOCGIFINDEX, &name), name.ifr_name);
    join = link_request(AF_UNSPEC, name.ifr_ifindex);
    join.link.ifi_change = join.link.ifi_flags = IFF_UP;
    add(&join, IFLA_MASTER, &bridge, sizeof bridge);
    carry_out(netlink, &join);
    port = link_request(AF_BRIDGE, name.ifr_ifindex);
    nest = add(&port, IFLA_PROTINFO | NLA_F_NESTED, NULL, 0);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        add(&port, flags[i].type, &flags[i].value, sizeof flags[i].value);
    nest->rta_len = (unsigned short)((char *)&port + port.head.nlmsg_len - (char *)nest);
    carry_out(netlink, &port);
    let_in(m, netlink, name.ifr_ifindex);
    close(netlink);
}

/* ---- the process ---- */

/* As the runner's, for programs of one kind: a VMM does not change the MAC address of its TAP. */
static struct sock_filter no_new_mac[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 2),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SIOCSIFHWADDR, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
};

static void confine(uint32_t uid)
{
    struct sock_fprog filter = {sizeof no_new_mac / sizeof no_new_mac[0], no_new_mac};
    struct stat kvm;
    gid_t group = stat("/dev/kvm", &kvm) == 0 ? kvm.st_gid : 0;

    for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
        ; /* until there is no such capability; the other sets go with the change of user */
    if (setgroups(group != 0, &group) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
        _exit(127);
}

static void run_child(const struct machine *m, char **argv)
{
    const int given[] = {m->events, m->log, m->log, m->api, m->serial >= 0 ? m->serial : m->events, m->pid_file};
    struct rlimit none = {0, 0}, files = {NOFILE, NOFILE};
    int moved[GIVEN];

    for (int i = 0; i < GIVEN; i++)
        moved[i] = fcntl(given[i], F_DUPFD, 100);
    for (int i = 0; i < GIVEN; i++)
        if (dup2(moved[i], i) < 0)
            _exit(127);
    (void)close_range(GIVEN, ~0U, 0);
    (void)setsid();
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)setrlimit(RLIMIT_NOFILE, &files);
    if (m->hand->uid != 0)
        confine(m->hand->uid);
    (void)signal(SIGCHLD, SIG_DFL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* where the bench fails nothing is left */
    (void)execv(argv[0], argv);
    _exit(127);
}

static int make_cgroup(const struct machine *m)
{
    char path[300];

    (void)snprintf(path, sizeof path, "%s/hand-%d", m->hand->cgroup, m->number);
    check(mkdir(path, 0755), path);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void hand_start(struct machine *m)
{
    struct clone_args args = {.exit_signal = SIGCHLD, .flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&m->pidfd};
    char *argv[256];
    int n = 0;

    for (; m->hand->argv[n] != NULL && n < 255; n++)
        argv[n] = hand_words(m, m->hand->argv[n]);
    argv[n] = NULL;
    m->pid_file = make_file(m, "vmm.pid", O_WRONLY, 0600); /* locked as long as the process lives, which has it too */
    check(flock(m->pid_file, LOCK_EX | LOCK_NB), "vmm.pid");
    if (m->hand->cgroup != NULL) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)make_cgroup(m);
    }
    m->pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    check(m->pid, "clone3");
    if (m->pid == 0)
        run_child(m, argv);
    if (dprintf(m->pid_file, "%d\n", (int)m->pid) < 0)
        hand_die("vmm.pid");
    close(m->pid_file);
    if (m->hand->cgroup != NULL)
        close((int)args.cgroup);
    while (n-- > 0)
        free(argv[n]);
}
