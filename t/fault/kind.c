#include "t/fault/kind.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

uint32_t kind_of_open(int flags)
{
    return flags & (O_CREAT | O_TRUNC) ? FAULT_CHANGE : FAULT_ASK;
}

/* 0: it has no name anywhere. */
static mode_t type_of(int fd)
{
    struct stat st;

    return fault_syscall(SYS_fstat, fd, &st) == 0 && st.st_nlink > 0 ? st.st_mode & S_IFMT : 0;
}

static int begins(const char *text, size_t len, const char *with)
{
    return len >= strlen(with) && memcmp(text, with, strlen(with)) == 0;
}

/* Said to a VMM or a guest: a question changes nothing, nor does a greeting. */
uint32_t kind_of_saying(const char *text, size_t len)
{
    static const char *const questions[] = {"GET ", "{\"execute\":\"query-", "{\"execute\":\"qmp_capabilities\""};

    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++)
        if (begins(text, len, questions[i]))
            return FAULT_ASK;
    return FAULT_CHANGE;
}

static const char *phase_in(const char *text, size_t len)
{
    return memmem(text, len, "event=op.phase ", strlen("event=op.phase "));
}

uint32_t kind_of_write(int fd, const char *text, size_t len)
{
    if (fd == STDERR_FILENO) {
        fault_said(text, len);
        return phase_in(text, len) != NULL ? FAULT_MARK : FAULT_LOG;
    }
    switch (type_of(fd)) {
    case S_IFSOCK:
        return kind_of_saying(text, len);
    case 0: /* an eventfd, the input of a program: the runner's own */
        return FAULT_ASK;
    default:
        return FAULT_CHANGE;
    }
}

void say_write(struct fault_point *p, int fd, const char *text, size_t len)
{
    const char *phase = p->kind == FAULT_MARK ? phase_in(text, len) : NULL;

    if (phase != NULL)
        fault_text(p, phase, (uint64_t)(text + len - phase));
    else if (fd == STDERR_FILENO || type_of(fd) == S_IFSOCK)
        fault_text(p, text, len);
    else
        fault_fd(p, fd);
}

uint32_t kind_of_read(int fd)
{
    mode_t type = type_of(fd);

    return type == S_IFSOCK || type == S_IFIFO || type == 0 ? FAULT_WAIT : FAULT_ASK;
}

uint32_t kind_of_netlink(const void *message, size_t len)
{
    const struct nlmsghdr *head = message;

    if (len < sizeof *head)
        return FAULT_CHANGE;
    if (head->nlmsg_type >= 0x100) /* netfilter's: lists are asked for, the rest are transactions */
        return (head->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP ? FAULT_ASK : FAULT_CHANGE;
    return (head->nlmsg_type & 3) == 2 ? FAULT_ASK : FAULT_CHANGE; /* RTM_GET... */
}

void say_netlink(struct fault_point *p, const void *message, size_t len)
{
    (void)snprintf(p->where, sizeof p->where, "netlink %d",
                   len >= sizeof(struct nlmsghdr) ? ((const struct nlmsghdr *)message)->nlmsg_type : -1);
}

void say_address(struct fault_point *p, const struct sockaddr *address)
{
    const struct sockaddr_un *local = (const struct sockaddr_un *)(const void *)address;
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
    char text[INET_ADDRSTRLEN];

    if (address->sa_family == AF_UNIX)
        (void)snprintf(p->where, sizeof p->where, "unix:%.108s", local->sun_path);
    else if (address->sa_family == AF_INET && inet_ntop(AF_INET, &in->sin_addr, text, sizeof text) != NULL)
        (void)snprintf(p->where, sizeof p->where, "tcp:%s:%u", text, ntohs(in->sin_port));
}

void say_number(struct fault_point *p, const char *what, long number)
{
    (void)snprintf(p->where, sizeof p->where, "%s%ld", what, number);
}

uint32_t kind_of_ioctl(unsigned long request)
{
    return request == TUNSETIFF || request == TUNSETPERSIST || request == TUNSETOWNER ? FAULT_CHANGE : FAULT_ASK;
}

void say_ioctl(struct fault_point *p, unsigned long request, const void *arg)
{
    (void)snprintf(p->where, sizeof p->where, "0x%lx%s%.16s", request, request == TUNSETIFF ? " " : "",
                   request == TUNSETIFF ? ((const struct ifreq *)arg)->ifr_name : "");
}
