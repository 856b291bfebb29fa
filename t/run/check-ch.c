/*
 * Runs a list of requests and what is expected of them (t/run/ch-cases.txt, where the language is explained) against a
 * Cloud Hypervisor, real or fake. Speaks TAP.
 *   check-ch PROGRAM LIST TOY-KERNEL fake
 *   check-ch PROGRAM LIST TOY-KERNEL real NO-NESTED-LIBRARY
 */
#include "t/run/check-ch-run.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct check run;

/* ---- the directory ----------------------------------------------------------------------------------------------- */

static void hold(int fd)
{
    if (run.n_held < (int)ARRAY_LEN(run.held))
        run.held[run.n_held++] = fd;
}

static bool make_stale_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r;

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    r = bind(fd, (struct sockaddr *)&address, sizeof address);
    close(fd);
    return r == 0;
}

static bool lock_file(const char *path)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(path, O_RDWR | O_CLOEXEC);

    hold(fd);
    return fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

static bool write_file(const char *path, const char *text)
{
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* An overlay of 1 MiB with nothing in it: header, refcount table, refcount block, L1 table, a cluster of 64 KiB each. */
static bool make_qcow2(const char *path, const char *backing)
{
    enum { CLUSTER = 1 << 16, CLUSTERS = 4, NAME_AT = 512 };
    uint32_t words[26] = {[0] = 0x514649fb, [1] = 3, [3] = NAME_AT, [5] = 16, [7] = 1 << 20, [9] = 1,
                          [11] = 3 * CLUSTER, [13] = CLUSTER, [14] = 1, [24] = 4, [25] = sizeof words};
    auto_free unsigned char *image = mem_alloc(CLUSTERS * CLUSTER);
    auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    words[4] = (uint32_t)strlen(backing);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        words[i] = htobe32(words[i]);
    memcpy(image, words, sizeof words);
    memcpy(image + NAME_AT, backing, strlen(backing));
    image[CLUSTER + 5] = 2 * CLUSTER >> 16; /* of 64 bits */
    for (int i = 0; i < CLUSTERS; i++)
        image[2 * CLUSTER + 2 * i + 1] = 1;
    return fd >= 0 && write(fd, image, CLUSTERS * CLUSTER) == CLUSTERS * CLUSTER;
}

static bool do_prepare(char *words)
{
    char *verb = strtok_r(words, " ", &words), *path = strtok_r(NULL, " ", &words);

    if (verb == NULL || path == NULL)
        return false;
    if (strcmp(verb, "mkdir") == 0)
        return mkdir(path, 0700) == 0;
    if (strcmp(verb, "size") == 0)
        return write_file(path, "") && truncate(path, strtol(words, NULL, 10)) == 0;
    if (strcmp(verb, "write") == 0)
        return write_file(path, words);
    if (strcmp(verb, "qcow2") == 0)
        return make_qcow2(path, words);
    if (strcmp(verb, "bind") == 0)
        return make_stale_socket(path);
    if (strcmp(verb, "lock") == 0)
        return lock_file(path);
    if (strcmp(verb, "rm") == 0)
        return unlink(path) == 0;
    return false;
}

/* Flat, and one level deeper. */
static void empty_dir(const char *path, int depth)
{
    auto_dir DIR *d = opendir(path);
    struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL) {
        auto_free char *name = mem_printf("%s/%s", path, entry->d_name);

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlink(name) < 0 && depth > 0)
            empty_dir(name, depth - 1);
    }
    (void)rmdir(path);
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

static void block_end(void)
{
    vmm_kill(&run.vmm);
    while (run.n_held > 0)
        close(run.held[--run.n_held]);
    while (run.n_words > 0)
        free(run.words[--run.n_words]);
    if (run.dir != NULL && chdir("/") == 0)
        empty_dir(run.dir, 2);
    free(run.dir);
    run.dir = NULL;
    run.is_started = run.is_broken = run.is_over = run.wants_library = false;
}

static void block_begin(const char *title)
{
    block_end();
    free(run.title);
    run.title = mem_dup(title);
    run.dir = mem_printf("%s/check-ch.XXXXXX", getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    if (mkdtemp(run.dir) == NULL || chdir(run.dir) < 0)
        abort();
}

static void need_process(void)
{
    auto_free char *program = mem_dup(run.program);

    if (run.is_started || run.is_broken)
        return;
    if (run.is_fake) { /* under a name of its own, for its wishes and faults */
        free(program);
        program = mem_printf("%s/fake", run.dir);
        (void)symlink(run.program, program);
    }
    run.words[run.n_words] = NULL;
    run.is_started = vmm_start(&run.vmm, program, run.words, run.wants_library ? run.library : NULL);
    if (!run.is_started) {
        result(false, "starts", "no answer", "an API socket");
        run.is_broken = true;
    }
}

/* ---- the list ---------------------------------------------------------------------------------------------------- */

static bool line_of_process(char *word, char *rest)
{
    if (strcmp(word, ">") == 0)
        do_request(rest);
    else if (strcmp(word, "<") == 0)
        expect_reply(rest);
    else if (strcmp(word, ">+") == 0)
        do_request_ahead(rest);
    else if (strcmp(word, "<+") == 0)
        expect_next_reply(rest);
    else if (strcmp(word, "&") == 0)
        result(run.status == -2 || matches(str_text(&run.body), rest), run.request, str_text(&run.body), rest);
    else if (strcmp(word, ">>") == 0)
        do_bytes(rest);
    else if (strcmp(word, "<<") == 0)
        expect_bytes(rest);
    else if (strcmp(word, "connections") == 0)
        do_connections();
    else if (strcmp(word, "reconnect") == 0)
        (void)vmm_reconnect(&run.vmm);
    else if (strcmp(word, "events") == 0)
        expect_events(rest);
    else if (strcmp(word, "serial") == 0)
        await_serial(rest);
    else if (strcmp(word, "ticks") == 0)
        expect_ticks(strcmp(rest, "no") != 0);
    else if (strcmp(word, "signal") == 0)
        (void)kill(run.vmm.pid, (int)strtol(rest, NULL, 10));
    else if (strcmp(word, "exit") == 0)
        expect_exit(rest);
    else
        return false;
    return true;
}

static bool run_line(char *line)
{
    char *word = line, *rest = line + strcspn(line, " ");

    if (*rest != '\0')
        *rest++ = '\0';
    if (strcmp(word, "=") == 0) {
        block_begin(rest);
    } else if (run.is_broken) {
        return true;
    } else if (strcmp(word, "!") == 0) {
        return do_prepare(rest);
    } else if (strcmp(word, "file") == 0) {
        expect_file(rest);
    } else if (strcmp(word, "fault") == 0) {
        if (run.is_fake)
            expect_fault(rest);
    } else if (strcmp(word, "snapshots") == 0) {
        run.wants_library = true;
    } else if (strcmp(word, "-") == 0) {
        for (char *w = strtok_r(rest, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest))
            run.words[run.n_words++] = mem_dup(w);
    } else {
        need_process();
        return run.is_broken || line_of_process(word, rest);
    }
    return true;
}

/* $K is the toy kernel, $D the directory. */
static void expand(const char *line, struct str *out)
{
    for (const char *p = line; *p != '\0' && *p != '\n'; p++)
        if (p[0] == '$' && (p[1] == 'K' || p[1] == 'D')) {
            str_add(out, p[1] == 'K' ? run.toy : run.dir);
            p++;
        } else {
            str_add_char(out, *p);
        }
}

static int run_list(const char *path)
{
    auto_fclose FILE *list = fopen(path, "re");
    auto_free char *line = NULL;
    size_t cap = 0;

    if (list == NULL) {
        printf("Bail out! %s: %s\n", path, strerror(errno));
        return 99;
    }
    while (getline(&line, &cap, list) >= 0) {
        auto_str struct str text = STR_INIT;

        run.line++;
        if (line[0] == '#' || line[0] == '\n')
            continue;
        expand(line, &text);
        if (!run_line(text.ptr)) {
            printf("Bail out! %s:%d: that cannot be done: %s\n", path, run.line, strerror(errno));
            block_end();
            return 99;
        }
    }
    block_end();
    printf("1..%d\n", run.cases);
    return run.failures > 0;
}

int main(int argc, char **argv)
{
    auto_free char *list = argc >= 5 ? realpath(argv[2], NULL) : NULL;
    int status;

    if (argc < 5 || argc > 6 || list == NULL) {
        (void)fputs("usage: check-ch PROGRAM LIST TOY-KERNEL fake|real [LIBRARY]\n", stderr);
        return 99;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)umask(022);
    (void)unshare(CLONE_NEWNET); /* where TAPs may be made, when that is allowed at all */
    run.program = argv[1];
    run.toy = argv[3];
    run.library = argv[5]; /* NULL at the end */
    run.is_fake = strcmp(argv[4], "fake") == 0;
    run.vmm = (struct vmm){.api = -1, .events = -1};
    status = run_list(list);
    str_done(&run.head);
    str_done(&run.body);
    str_done(&run.bytes);
    free(run.title);
    free(run.request);
    return status;
}
