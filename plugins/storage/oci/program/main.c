/* runner-oci: one operation on an image in a registry. Started by the plugin storage/oci, see README.md there. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "plugins/storage/oci/program/confine.h"
#include "plugins/storage/oci/program/report.h"
#include "plugins/storage/oci/program/work.h"

static const char usage[] = "Usage: runner-oci SOCKET\n"
                            "Carries out one operation on an image in a registry, for runner-ch; see\n"
                            "runner-storage-oci(7). Descriptor 3 listens at SOCKET, standard input is the request.\n";

static int run(const char *socket_path, struct request *request, struct runner_error *err)
{
    auto_str struct str members = STR_INIT;
    int status = confine_privileges(err);

    if (status == 0)
        status = request_read(request, err);
    if (status == 0)
        status = confine_files(request, socket_path, err);
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
    status = run(argv[1], &request, &err);
    report_close(argv[1]);
    request_done(&request);
    return status < 0 ? 1 : 0;
}
