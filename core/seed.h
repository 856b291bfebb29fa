/*
 * The seed: the NoCloud volume (ISO 9660, label "cidata") by which a guest is configured. It is read by cloud-init
 * (meta-data, user-data, network-config) and by the guest daemon (runner.json); docs of both formats in seed-text.h.
 */
#ifndef CORE_SEED_H
#define CORE_SEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/util/error.h"
#include "core/util/str.h"

#define SEED_ENV_MAX        1000          /* entries: with the daemon's own at most 1024, which the guest takes */
#define SEED_ENV_NAME_MAX   255           /* bytes */
#define SEED_ENV_VALUE_MAX  (128 * 1024)  /* bytes: what Linux takes as one string */
#define SEED_TEXT_MAX       (512 * 1024)  /* bytes of environment, keys and entrypoint together */
#define SEED_JSON_MAX       (1024 * 1024) /* bytes of runner.json, escapes included: what the guest takes */
#define SEED_KEYS_MAX       64
#define SEED_ENTRYPOINT_MAX 256
#define SEED_DAEMON_MAX     (128 * 1024 * 1024)

struct seed_env {
    const char *name, *value;
};

struct seed {                   /* all of it is the caller's and only read */
    const char *id;             /* sandbox id: instance-id */
    const char *hostname;       /* see identity_hostname */
    const char *user;           /* account in the guest; "root" or one that cloud-init makes when it lacks */
    const char *run_as;         /* "name", "uid", "name:group", ...: whom the daemon runs as, whatever user is; NULL: user */
    const char *workdir;        /* where it starts, made when it lacks; NULL: the user's home */
    const char *snapshot;       /* ref, or NULL */
    const struct seed_env *env; /* from the request; the daemon's own variables are added */
    size_t n_env;
    const char *const *entrypoint; /* may be NULL when n_entrypoint is 0: none */
    size_t n_entrypoint;
    const char *const *ssh_keys; /* authorized_keys lines */
    size_t n_ssh_keys;
    const struct runner_nic *nic; /* mac, address, prefix_len, gateway, dns (blanks between), mtu; NULL or
                                         no address: no network */
    uint16_t daemon_port;         /* of the daemon in the guest */
    const void *daemon;           /* program file to run as the daemon; NULL: the image's own is */
    size_t daemon_len;
    bool has_own_daemon; /* the image's runner-guestd runs the file; else cloud-init installs it as a unit */
};

/*
 * INVALID, naming the member, for what no guest would take: a user or host name that is none, a variable without a name
 * or with '=' in it, a key of several lines, an address that is not IPv4, more than the bounds above. The caller frees.
 * Any thread; some 0.1 ms.
 */
int seed_build(const struct seed *seed, struct str *ret_iso, struct runner_error *err);

#endif
