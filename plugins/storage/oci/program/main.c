/* runner-oci: one operation on an image in a registry. Started by the plugin storage/oci, see README.md there. */
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "plugins/storage/oci/program/report.h"
#include "plugins/storage/oci/program/work.h"

static const char usage[] = "Usage: runner-oci SOCKET\n"
                            "Carries out one operation on an image in a registry, for runner-ch; see\n"
                            "runner-storage-oci(7). Descriptor 3 listens at SOCKET, standard input is the request.\n";

/* It reads what strangers wrote: it keeps its user's files, and nothing else that its user could do. */
static int confine(struct runner_error *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];
    struct rlimit no_core = {0, 0};

    memset(none, 0, sizeof none);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_capset, &header, none) < 0 ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &no_core) < 0)
        return fail_errno(err, errno, "giving up privileges");
    return 0;
}

static int run(struct request *request, struct runner_error *err)
{
    auto_str struct str members = STR_INIT;
    int status = request_read(request, err);

    if (status == 0) {
        report_deadline(request->deadline_ms);
        status = work_run(request, &members, err);
    }
    if (status == 0)
        report_result(&members);
    else
        report_error(err);
    return status;
}

int main(int argc, char **argv)
{
    struct runner_error err = ERROR_INIT;
    struct request request = {.tree = NULL};
    int status;

    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("runner-oci " VERSION_TEXT);
        return 0;
    }
    if (argc != 2 || argv[1][0] != '/') {
        fputs(usage, argc == 2 && strcmp(argv[1], "--help") == 0 ? stdout : stderr);
        return argc == 2 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    if (report_open(argv[1], &err) < 0) {
        report_close(argv[1]);
        return 1;
    }
    status = confine(&err);
    if (status < 0)
        report_error(&err);
    else
        status = run(&request, &err);
    report_close(argv[1]);
    request_done(&request);
    return status < 0 ? 1 : 0;
}
