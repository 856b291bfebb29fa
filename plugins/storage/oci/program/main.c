/* runner-oci: one operation on an image in a registry. Started by the plugin storage/oci, see README.md there. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "core/util/num.h"
#include "plugins/storage/oci/program/confine.h"
#include "plugins/storage/oci/program/report.h"
#include "plugins/storage/oci/program/work.h"

enum { EXIT_UNHEARD = 3 }; /* nobody listened any more */

static const char usage[] = "Usage: runner-oci SOCKET\n"
                            "       runner-oci --try UID\n"
                            "Carries out one operation on an image in a registry, for runner-ch; see\n"
                            "runner-storage-oci(7). Descriptor 3 listens at SOCKET, standard input is the request.\n"
                            "--try confines itself as it would, with that user, and prints what cannot be done here.\n";

/* ---- the process that works ---- */

static void tell_gap(void *ctx, const char *text)
{
    (void)ctx;
    report_warning(text);
}

static int run(pid_t watcher, struct request *request, struct runner_error *err)
{
    auto_str struct str members = STR_INIT;
    int status = request_read(request, err);

    if (status == 0)
        status = confine_for(request, tell_gap, NULL, err);
    if (status == 0 && getppid() != watcher)
        status = fail(err, RUNNER_E_CANCELLED, 0, "the operation was cancelled");
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

/* Nothing of the process that watches but the request and who listens. It ends with that one. */
static int work(pid_t watcher)
{
    struct runner_error err = ERROR_INIT;
    struct request request = {.tree = NULL, .disk_fd = -1};
    int status;

    (void)close_range((unsigned)report_fd() + 1, ~0U, 0);
    status = run(watcher, &request, &err);
    request_done(&request);
    return report_cancelled() == RUNNER_E_CANCELLED ? EXIT_UNHEARD : status < 0;
}

/* ---- the process that watches ---- */

/* It reads nothing, and has no capability, but is the user whose the pid file is. Who listens sees the end when both have
 * ended: then nothing is left. */
static int watch(pid_t child, const char *socket_path)
{
    struct runner_error err = ERROR_INIT;
    int status = 0;

    if (confine_capabilities(&err) < 0)
        (void)kill(child, SIGKILL);
    close(0);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status)) { /* it says of itself what it saw */
        (void)signal(WTERMSIG(status), SIG_DFL);
        (void)raise(WTERMSIG(status));
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) == EXIT_UNHEARD)
        report_remove_pid(socket_path);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int serve(const char *socket_path)
{
    struct runner_error err = ERROR_INIT;
    pid_t self = getpid(), child;

    (void)signal(SIGPIPE, SIG_IGN);
    if (report_open(socket_path, &err) < 0) {
        report_remove_pid(socket_path);
        return 1;
    }
    child = fork();
    if (child == 0)
        return work(self);
    if (child < 0) {
        (void)fail_errno(&err, errno, "start a process");
        report_error(&err);
        return 1;
    }
    return watch(child, socket_path);
}

/* ---- what can be done here ---- */

static void print_gap(void *ctx, const char *text)
{
    (void)ctx;
    puts(text);
}

static int try_(const char *text)
{
    struct confine what = {.file_bytes = 0};
    struct runner_error err = ERROR_INIT;
    int64_t uid;

    if (!num_int(text, 0, UINT32_MAX - 1, &uid)) {
        fputs(usage, stderr);
        return 2;
    }
    what.uid = (uint32_t)uid;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (confine(&what, print_gap, NULL, &err) == 0)
        return 0;
    fprintf(stderr, "runner-oci: %s\n", err.message);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("runner-oci " VERSION_TEXT);
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "--try") == 0)
        return try_(argv[2]);
    if (argc != 2 || argv[1][0] != '/') {
        fputs(usage, argc == 2 && strcmp(argv[1], "--help") == 0 ? stdout : stderr);
        return argc == 2 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
    }
    return serve(argv[1]);
}
