/*
 * The reference of the bench: machines made by hand, by a program that is there already and is asked for each.
 *
 *   by-hand --dir=DIR --disk=FILE --seed=FILE [OPTION...] -- PROGRAM [ARG...]
 *
 * PROGRAM, a path, gets at descriptor 3 a socket that listens at DIR/N/api.sock, and at 4 what the runner gives its
 * VMM there: QEMU the serial log, Cloud Hypervisor (--config) something to write events to. In its arguments, in CONFIG
 * and in NIC stand @DIR@, @PORT@ and @MAC@ for what the machine has of its own.
 *
 * Standard input and output are one stream socket. It says "ready"; then each line that comes in is the number N of a
 * machine and the port of its daemon, 0 to be content with the first byte on the serial console. The answer is a line
 * too: the process id, and in microseconds the time of each phase: host, boot (Cloud Hypervisor's calls, QEMU's
 * greeting), ready (its guest is heard), commit. A machine that does not start ends the program.
 */
#include "t/bench/by-hand.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096 /* as the runner leaves out holes */

int64_t hand_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void hand_die(const char *what)
{
    (void)fprintf(stderr, "by-hand: %s: %s\n", what, strerrordesc_np(errno));
    exit(1);
}

char *hand_words(const struct machine *m, const char *text)
{
    char port[12];
    const struct {
        const char *name, *value;
    } words[] = {{"@DIR@", m->dir}, {"@MAC@", m->mac}, {"@PORT@", port}};
    char *out = NULL;
    size_t len;
    FILE *file = open_memstream(&out, &len);

    (void)snprintf(port, sizeof port, "%d", m->port);
    while (*text != '\0') {
        size_t i = 0;

        while (i < 3 && strncmp(text, words[i].name, strlen(words[i].name)) != 0)
            i++;
        if (i < 3) {
            (void)fputs(words[i].value, file);
            text += strlen(words[i].name);
        } else {
            (void)fputc(*text++, file);
        }
    }
    (void)fclose(file);
    return out;
}

static bool is_zero(const char *data, size_t len)
{
    return data[0] == '\0' && memcmp(data, data + 1, len - 1) == 0;
}

static void find_extents(struct hand_file *file)
{
    size_t len;
    bool is_new = true;

    for (size_t at = 0; at < file->size; at += len) {
        len = file->size - at < BLOCK ? file->size - at : BLOCK;
        if (is_zero(file->data + at, len)) {
            is_new = true;
            continue;
        }
        if (is_new && file->n_extents < HAND_EXTENTS_MAX)
            file->extents[file->n_extents++].at = at;
        is_new = false;
        file->extents[file->n_extents - 1].len = at + len - file->extents[file->n_extents - 1].at;
    }
}

static struct hand_file read_file(const char *path)
{
    struct hand_file file = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        hand_die(path);
    file.size = (size_t)st.st_size;
    file.data = malloc(file.size + 1);
    if (file.data == NULL || read(fd, file.data, file.size) != (ssize_t)file.size)
        hand_die(path);
    find_extents(&file);
    close(fd);
    return file;
}

/* A VMM that needs nothing before it is spoken to gets up while the rest is made. */
static void make_machine(struct machine *m)
{
    bool is_ch = m->hand->config != NULL;

    hand_make_folder(m);
    if (is_ch) {
        close(m->serial);
        m->serial = -1;
    }
    hand_open_socket(m);
    if (is_ch)
        hand_start(m);
    if (m->hand->tap != NULL)
        hand_make_tap(m);
    hand_make_disks(m);
    if (m->port == 0)
        hand_watch_serial(m);
    if (!is_ch)
        hand_start(m);
}

static void done(const struct machine *m)
{
    const int all[] = {m->at, m->api, m->events, m->log, m->serial, m->tap, m->inotify, m->pidfd};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i] >= 0)
            close(all[i]);
}

static void make(const struct hand *hand, int number, int port)
{
    struct machine m = {.hand = hand, .number = number, .port = port, .serial = -1, .tap = -1, .inotify = -1};
    int64_t at_us[5] = {hand_now_us()};

    (void)snprintf(m.dir, sizeof m.dir, "%s/%d", hand->dir, number);
    (void)snprintf(m.mac, sizeof m.mac, "02:00:00:07:%02x:%02x", number / 250 % 256, number % 250);
    make_machine(&m);
    at_us[1] = hand_now_us();
    if (hand->config != NULL)
        hand_boot_ch(&m);
    else
        hand_await_qemu(&m);
    at_us[2] = hand_now_us();
    if (!hand_wait_ready(&m)) {
        (void)fprintf(stderr, "by-hand: the guest says nothing, see %s\n", m.dir);
        exit(1);
    }
    at_us[3] = hand_now_us();
    hand_commit(&m);
    at_us[4] = hand_now_us();
    printf("%d", (int)m.pid);
    for (int i = 1; i < 5; i++)
        printf(" %lld", (long long)(at_us[i] - at_us[i - 1]));
    printf("\n");
    (void)fflush(stdout);
    done(&m);
}

static void serve(const struct hand *hand)
{
    char line[32];

    (void)signal(SIGCHLD, SIG_IGN); /* whoever asks ends the VMMs */
    printf("ready\n");
    (void)fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *end;
        long number = strtol(line, &end, 10);

        make(hand, (int)number, (int)strtol(end, NULL, 10));
    }
}

static int usage(void)
{
    (void)fputs("usage: by-hand --dir=DIR --disk=FILE --seed=FILE [--record=FILE] [--uid=N] [--cgroup=DIR]\n"
                "               [--tap=NAME --bridge=NAME] [--config=JSON [--nic=JSON]] -- PROGRAM [ARG...]\n",
                stderr);
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"dir", 1, NULL, 'd'},    {"disk", 1, NULL, 'k'}, {"seed", 1, NULL, 's'},   {"record", 1, NULL, 'r'},
        {"uid", 1, NULL, 'u'},    {"tap", 1, NULL, 't'},  {"bridge", 1, NULL, 'b'}, {"cgroup", 1, NULL, 'g'},
        {"config", 1, NULL, 'c'}, {"nic", 1, NULL, 'n'},  {NULL, 0, NULL, 0}};
    struct hand hand = {0};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (option) {
        case 'd':
            hand.dir = optarg;
            break;
        case 'k':
            hand.disk = read_file(optarg);
            break;
        case 's':
            hand.seed = read_file(optarg);
            break;
        case 'r':
            hand.record = read_file(optarg);
            break;
        case 'u':
            hand.uid = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 't':
            hand.tap = optarg;
            break;
        case 'b':
            hand.bridge = optarg;
            break;
        case 'g':
            hand.cgroup = optarg;
            break;
        case 'c':
            hand.config = optarg;
            break;
        case 'n':
            hand.nic = optarg;
            break;
        default:
            return usage();
        }
    if (hand.dir == NULL || hand.disk.size == 0 || hand.seed.size == 0 || optind == argc)
        return usage();
    hand.argv = argv + optind;
    serve(&hand);
    return 0;
}
