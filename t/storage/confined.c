/*
 * confined [--without CALL]... UID DIRECTORY OUTSIDE SOCKET PORT: confines itself as runner-oci does, with DIRECTORY as its
 * own, and tries what it should be able to do, and what not. Prints "NAME ok" or "NAME ERRNO" a line, and before it a line
 * "gap TEXT" for each thing that the host cannot do. OUTSIDE: a file that all may write; SOCKET: listens, and all may
 * connect; PORT: of loopback, listens. --without: a host that answers that system call with ENOSYS.
 * confined --without CALL... --exec PROGRAM ARGUMENT...: PROGRAM on such a host.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "core/util/num.h"
#include "plugins/storage/oci/program/confine.h"

#define FILE_BYTES   (INT64_C(8) << 20)
#define MEMORY_BYTES (INT64_C(64) << 20)

static void say(const char *name, int result)
{
    printf("%s %s\n", name, result >= 0 ? "ok" : strerrorname_np(errno));
}

static void say_gap(void *ctx, const char *text)
{
    (void)ctx;
    printf("gap %s\n", text);
}

static int lack(const char *call)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), seccomp_syscall_resolve_name(call), 0);

    if (r == 0)
        r = seccomp_load(filter);
    seccomp_release(filter);
    return r;
}

/* ---- files ---- */

static int open_and_close(int dir, const char *path, int flags)
{
    int fd = openat(dir, path, flags, 0600);

    return fd < 0 ? -1 : close(fd);
}

static void try_files(const char *directory, const char *outside)
{
    auto_free char *beside = mem_printf("%s-beside", outside);
    int own = open(directory, O_RDONLY | O_DIRECTORY);
    int large = openat(own, "large", O_RDWR | O_CREAT, 0600);

    say("own-create", open_and_close(own, "file", O_RDWR | O_CREAT));
    say("own-rename", renameat(own, "file", own, "other"));
    say("own-link", symlinkat("/etc/passwd", own, "link"));
    say("own-device", mknodat(own, "device", S_IFCHR | 0600, 0));
    say("own-at-bound", ftruncate(large, FILE_BYTES));
    say("own-beyond-bound", ftruncate(large, FILE_BYTES + 1));
    say("system-read", open_and_close(AT_FDCWD, "/etc/nsswitch.conf", O_RDONLY));
    say("system-write", open_and_close(AT_FDCWD, "/etc/nsswitch.conf", O_WRONLY));
    say("outside-create", open_and_close(AT_FDCWD, beside, O_WRONLY | O_CREAT));
    say("outside-read", open_and_close(AT_FDCWD, outside, O_RDONLY));
    say("outside-write", open_and_close(AT_FDCWD, outside, O_WRONLY));
    say("outside-truncate", truncate(outside, 0));
    say("outside-open-truncate", open_and_close(AT_FDCWD, outside, O_RDONLY | O_TRUNC));
    say("outside-remove", unlink(outside));
    say("rename-out", renameat(own, "other", AT_FDCWD, outside));
    say("processes", open_and_close(AT_FDCWD, "/proc/1/status", O_RDONLY));
}

/* ---- others ---- */

static void try_servers(const char *path, int64_t port)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), other = socket(AF_UNIX, SOCK_STREAM, 0);

    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    say("tcp", connect(fd, (struct sockaddr *)&server, sizeof server));
    (void)snprintf(local.sun_path, sizeof local.sun_path, "%s", path);
    say("unix", other < 0 ? -1 : connect(other, (struct sockaddr *)&local, sizeof local));
    say("packets", socket(AF_PACKET, SOCK_RAW, 0));
}

static void *do_nothing(void *arg)
{
    return arg;
}

static void try_processes(void)
{
    char *const argv[] = {(char[]){"/bin/true"}, NULL};
    char byte;
    struct iovec here = {&byte, 1}, there = {&byte, 1};
    struct rlimit limit;
    pthread_t thread;
    pid_t child = fork();

    if (child == 0)
        _exit(0);
    say("fork", child);
    errno = pthread_create(&thread, NULL, do_nothing, NULL);
    say("thread", errno != 0 ? -1 : pthread_join(thread, NULL));
    say("execute", execv("/bin/true", argv));
    say("signal", kill(getppid(), 0));
    say("trace", (int)ptrace(PTRACE_SEIZE, getppid(), NULL, NULL));
    say("memory-of-others", (int)process_vm_readv(getppid(), &here, 1, &there, 1, 0));
    say("limits-of-others", prlimit(getppid(), RLIMIT_NOFILE, NULL, &limit));
    say("become-root", setuid(0));
    say("namespace", unshare(CLONE_NEWUSER));
    say("mount", mount("none", "/etc", "tmpfs", 0, NULL));
}

static int try_memory(void)
{
    void *p = mmap(NULL, (size_t)1 << 36, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? -1 : munmap(p, (size_t)1 << 36);
}

static int try_code(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? -1 : munmap(p, 4096);
}

int main(int argc, char **argv)
{
    struct runner_error err = ERROR_INIT;
    struct confine what = {.memory_bytes = MEMORY_BYTES, .file_bytes = FILE_BYTES, .n_files = 64};
    int64_t uid, port;
    int i = 1;

    for (; i + 1 < argc && strcmp(argv[i], "--without") == 0; i += 2)
        if (lack(argv[i + 1]) != 0)
            return 2;
    if (i + 1 < argc && strcmp(argv[i], "--exec") == 0)
        return execv(argv[i + 1], argv + i + 1);
    if (argc - i != 5 || !num_int(argv[i], 0, UINT32_MAX - 1, &uid) || !num_int(argv[i + 4], 1, 65535, &port))
        return 2;
    what.uid = (uint32_t)uid;
    what.writable[0] = argv[i + 1];
    if (confine(&what, say_gap, NULL, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* what is forked has nothing to print */
    try_files(argv[i + 1], argv[i + 2]);
    try_servers(argv[i + 3], port);
    try_processes();
    say("large-memory", try_memory());
    say("code-that-is-written", try_code());
    return 0;
}
