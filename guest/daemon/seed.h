/* runner.json of the seed volume: what this sandbox is. */
#ifndef GUEST_SEED_H
#define GUEST_SEED_H

#include <stdbool.h>
#include <stdint.h>

#include "core/util/json.h"

#define SEED_MAX      (1024 * 1024) /* bytes of runner.json */
#define SEED_DNS_MAX  3
#define SEED_ARGS_MAX 1024

#define SEED_DAEMON_FILE "runner-guestd"      /* on the volume: a server to be run in place of this one */
#define SEED_DAEMON_COPY "/run/runner-daemon" /* where it is run from */

struct seed_network {
    bool is_set;
    uint8_t mac[6];
    bool has_mac;              /* else the first network device is meant */
    uint32_t address, gateway; /* network byte order; gateway 0: none */
    unsigned prefix;
    uint32_t dns[SEED_DNS_MAX]; /* network byte order */
    size_t n_dns;
};

/* The texts belong to tree. Unknown keys are ignored, absent and null ones have the defaults below. */
struct seed {
    struct json *tree;
    const char *id;                /* "" */
    const char *hostname;          /* the id, else "sandbox" */
    const char *user;              /* NULL */
    const char *snapshot;          /* NULL */
    const char *run_as;            /* "user" or "user:group", names or numbers: whom the server is; NULL: user, if it exists */
    const char *workdir;           /* absolute; NULL: the home of that user */
    const struct json *env;        /* object of texts, or NULL */
    const struct json *entrypoint; /* array of texts, not empty, or NULL */
    const struct json *ssh_keys;   /* array of texts, or NULL */
    struct seed_network network;
    int port;        /* 2280 */
    bool has_daemon; /* the volume holds SEED_DAEMON_FILE; seed_load_disk() sets it */
};

/* A seed that says nothing. */
void seed_default(struct seed *ret);
/* INVALID names the key and what was expected. */
int seed_parse(const char *text, size_t len, struct seed *ret, struct runner_error *err);
int seed_load(const char *path, struct seed *ret, struct runner_error *err);
/* From the ISO 9660 volume labelled cidata on one of the disks, which is mounted for a moment. NOTFOUND when there is
 * none. Needs root. */
int seed_load_disk(struct seed *ret, struct runner_error *err);
/* Copies the volume's SEED_DAEMON_FILE to SEED_DAEMON_COPY, mode 0755. Needs root. */
int seed_fetch_daemon(struct runner_error *err);
void seed_done(struct seed *s);

/* Puts it into the environment of this process, which its children inherit: DAYTONA_SANDBOX_*, then env. */
void seed_export(const struct seed *s);

#endif
