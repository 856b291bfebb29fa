/*
 * runner-plugin.h - the plugin interface of runner-ch, version 1.0
 *
 * This is the only header a plugin needs, and the only one that is installed. It compiles alone, as C99 and as C++.
 *
 * A plugin is a shared object <plugin dir>/<kind>/<name>.so which exports one function, made by RUNNER_PLUGIN(), that
 * returns its constant descriptor (struct runner_plugin). It calls nothing of runner-ch by name: all services come
 * through the table handed to load() (struct runner_host). Link it with -Wl,-z,defs and hidden visibility.
 *
 * Life: load() once -> for each host in runner.yaml that names the plugin: create() -> check() and the kind's
 * operations, any number -> destroy(). After load() the object stays mapped until the process ends.
 *
 * Rules that hold for every function below unless it says otherwise:
 * - It returns 0, or -1 with `err` filled (code and message; see struct runner_error).
 * - Strings and structures passed in are valid for the call only; parameter values until destroy().
 * - Memory that an operation hands over comes from host->alloc and is released by core with host->release.
 * - It runs on a worker thread and may block, but only in host->wait, host->run or host->dial, which a cancel wakes;
 *   long loops ask host->cancelled between steps. What runs at once is governed by runner_plugin.threads.
 * - Only a transport touches a host: any other plugin opens no file of it and starts no process, since its host may be
 *   another machine. It adds steps to a batch and lets core carry them out.
 * - Undoing is idempotent: removing what is absent succeeds. What a failed operation made is gone again, or is named
 *   in `err`.
 * - Sizes are in bytes and times in milliseconds where the name says so. Structures carry their size first; a side
 *   reads only members that lie within the size it was given. Those behind a line "later members" are read where
 *   RUNNER_HAS(p, member) says so, those before it always; a table of operations may end at its line, which is its
 *   smallest size.
 * - Operations are required, but those of which the comment names a capability (CAP_*: with it they are) or says that
 *   they may be NULL.
 */
#ifndef RUNNER_PLUGIN_H
#define RUNNER_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RUNNER_MAGIC 0x524e5231u /* "RNR1" */
#define RUNNER_API_MAJOR 1       /* differs: the plugin is not loaded */
#define RUNNER_API_MINOR 0       /* grows: members and codes are appended, never moved or reused */

/* What a plugin is. The gap below 20 is for kinds to come (gpu, ...). */
enum {
    RUNNER_TRANSPORT = 1, /* carries batches and streams to a host: local, ssh */
    RUNNER_VMM = 2,       /* runs virtual machines: qemu, cloud-hypervisor */
    RUNNER_DISK = 3,      /* makes a sandbox disk from a base image: qcow2, reflink */
    RUNNER_NETWORK = 4,   /* connects a sandbox: bridge, user */
    RUNNER_IPAM = 5,      /* hands out addresses: static-pool */
    RUNNER_STORAGE = 6    /* keeps images where every host finds them: oci */
};

/* Which calls may overlap. The gaps leave room for others. */
enum {
    RUNNER_SERIAL = 1000,       /* one call at a time in the whole plugin: the safe default */
    RUNNER_PER_INSTANCE = 2000, /* one at a time per instance (an SSH session, a curl handle) */
    RUNNER_PARALLEL = 3000      /* any call on any thread */
};

/* ---- errors -------------------------------------------------------------------------------------------------- */

enum {
    RUNNER_E_INVALID = 1, /* the request cannot be honoured as it stands (bad value, too small, unsupported mix) */
    RUNNER_E_NOTFOUND,
    RUNNER_E_EXISTS,
    RUNNER_E_BUSY,        /* in use by somebody else now */
    RUNNER_E_NOSPACE,     /* disk, quota, address pool, ... is full */
    RUNNER_E_IO,
    RUNNER_E_UNREACHABLE, /* nobody answers there */
    RUNNER_E_CANCELLED,
    RUNNER_E_TIMEOUT,
    RUNNER_E_NOTSUP,      /* not built, or not possible with this backend */
    RUNNER_E_NOMEM,
    RUNNER_E_DENIED       /* a server wants other credentials */
};

#define RUNNER_ERROR_MAX 1008

struct runner_error {         /* the caller's memory: nothing to free, works when out of memory */
    uint32_t size;            /* sizeof, set by the caller */
    int32_t code, sys_errno;  /* RUNNER_E_*; errno or 0 */
    uint32_t retry;           /* 1: the same call may succeed later */
    char message[RUNNER_ERROR_MAX]; /* one line, UTF-8, no newline, no secret; truncated, never overrun */
};

/* ---- steps and batches --------------------------------------------------------------------------------------- */

struct runner_call;  /* opaque: one operation in flight, with its host, log context, deadline and cancel */
struct runner_batch; /* opaque: steps that one transport round trip carries out; copies what is added */

/*
 * One action on a host. Each kind names the members it reads (in) and what its result holds (out). All paths are
 * absolute. A step that fails ends the batch: the undo steps of those done before it run in reverse order.
 */
enum {
    /* argv: the program and its arguments, never a shell line; argv[0] with '/' is a path, else looked up in PATH.
     * data, len: standard input. number: time limit in ms, 0: the operation's own deadline. spawn: NULL, or of it uid,
     * gid and groups_of say whom it runs as; out: number2 = RUNNER_SPAWNED_UID when it did.
     * out: status = exit status (128+n: killed by signal n), out = standard output (at most 1 MiB).
     * Fails when the status is not 0, unless RUNNER_S_ANY_STATUS; the message quotes the last line of stderr. */
    RUNNER_RUN = 1,
    /* argv as RUN; spawn: how. Starts a process in a session of its own that outlives the runner. data, len: what its
     * standard input holds, at most 60 000 bytes; NULL: /dev/null.
     * out: number = process id, number2 = RUNNER_SPAWNED_* bits. */
    RUNNER_SPAWN,
    /* path, number: mode. Exists as a directory already: fine, but EXISTS with RUNNER_S_EXCL.
     * RUNNER_S_PARENTS makes missing parents. */
    RUNNER_MKDIR,
    /* path, data, len, number: mode. The file appears whole (under a temporary name in its directory, which begins with
     * ".tmp-", then renamed). RUNNER_S_SYNC: on stable storage, its directory entry too, when the step ends.
     * RUNNER_S_EXCL: EXISTS when there is one. */
    RUNNER_WRITE,
    /* path, number: limit in bytes (more: INVALID). out: out, len. Absent: NOTFOUND, or with RUNNER_S_OPTIONAL
     * status = 1. RUNNER_S_TAIL: of a file that is larger, its last `number` bytes; RUNNER_S_HEAD: its first. With
     * either out also: number = the file's size in bytes. */
    RUNNER_READ,
    /* path -> to, number: mode. A copy that shares blocks where the file system can (reflink), else copies the data and
     * keeps holes; with RUNNER_S_REFLINK it is NOTSUP where sharing is not possible. EXISTS when `to` exists. */
    RUNNER_CLONE,
    /* path, number: size_bytes. Makes a sparse file (mode 0600) or grows one; INVALID when it would shrink. */
    RUNNER_GROW,
    /* path -> to, atomically, within one file system. RUNNER_S_SYNC as above. Absent: NOTFOUND, or with RUNNER_S_OPTIONAL
     * status = 1. */
    RUNNER_RENAME,
    /* path: a file, or a tree with RUNNER_S_TREE; links are removed, never followed. Absent: fine. to (may be NULL): the
     * name of an entry of the tree's top that goes last, so that what an interrupted removal leaves still says what it
     * was. RUNNER_S_EXCL: a directory, when nothing is in it; else it stays: status = 1. */
    RUNNER_REMOVE,
    /* path. out: status = 1 when absent, number = size in bytes, number2 = modification time, seconds. */
    RUNNER_STAT,
    /* path: a directory. out: out = the names in it, each ended by NUL, sorted; at most 100 000. Absent: as READ. */
    RUNNER_LIST,
    /* path. out: number = bytes available, number2 = bytes in all, of the file system that holds it. */
    RUNNER_STATFS,
    /* path: interface name (1 to 15 bytes), to: bridge it joins or NULL, number: owner's uid (always set).
     * RUNNER_S_ISOLATED: the bridge port speaks with non-isolated ports only. port: NULL, or whose it is: no frame of
     * another MAC address comes in, none that is for another goes out, nothing is learned or flooded, and the host asks
     * nobody for the guest's. The TAP is persistent, has IFF_VNET_HDR, and is up. EXISTS when the name is taken; but with
     * RUNNER_S_IDLE a TAP of this name that nobody has open becomes as one that is new (but for its index and what it
     * counted), which takes less time than to make one. netns: NULL, or the TAP is in a network namespace of its own (see
     * runner_netns); what has its name on the host, joins the bridge and is the port, is a veth into it. Then with
     * RUNNER_S_HELD, and no idle TAP. */
    RUNNER_TAP_ADD,
    /* path: interface name. data: NULL, or the name (ends with NUL) under which it is kept, down, for a later TAP_ADD
     * with RUNNER_S_IDLE; the same name saves the kernel's waiting, and with another that is taken it goes. to, port: as
     * its TAP_ADD had them, or NULL; what is known of the guest is forgotten on the bridge that it is on, too. Absent:
     * fine. Never removes an interface that is neither a TAP nor an ifb, by which a
     * guest's packets go, nor a veth, which is the port of a TAP in a namespace and never kept. */
    RUNNER_TAP_DEL,
    /* path: pid file of a SPAWN, number: signal. Only ever reaches the process that SPAWN started (see runner_spawn).
     * With SIGKILL the step ends when the process has. out: status = 1 when it had ended already. */
    RUNNER_KILL,
    /* path: pid file of a SPAWN. out: status = 0 alive and number = its pid; status = 1: it has ended, or never was,
     * and number2 = its wait status as waitpid(2) gives it, or -1 when that is not known. */
    RUNNER_ALIVE,
    /* path, data, len, number: offset in bytes. Writes in place into a file that is there (else NOTFOUND); one that is
     * shorter grows, with a hole up to the offset. RUNNER_S_SYNC as above. */
    RUNNER_PATCH,
    /* path: a file or directory, number: mode, uid, gid: the owner it gets. A link, a device and a file of another owner
     * that has a second name are INVALID; on the way only links of root or of the runner are followed. A transport whose
     * own user is not root leaves the owner as it is and sets the mode only: out: status = 1. */
    RUNNER_OWN,
    /* path: a file, number: bytes; to: pid file of a SPAWN, or NULL. Ends when the file is larger than that (out: number
     * = its size), or with status = 1 when that process has ended before. A file that is absent is as good as empty; its
     * directory must be there. */
    RUNNER_WAIT,
    /* path: a name as runner_spawn.cgroup. Kills what runs in the cgroup, waits for its end and removes it. Absent, or
     * cgroups cannot be written: fine. */
    RUNNER_CGROUP_DEL,
    /* path: a pid file; to: a unix socket. Whoever began to listen there, which no SPAWN started, is from now on the
     * process of the pid file, for KILL, ALIVE, watch and WAIT: its number and the time of its start are written, since
     * there is no lock. argv: how its program's file name may begin. out: number = its pid; status = 1: nobody listens
     * there, and nothing is written. Another program, or one that cannot be seen: INVALID; a SPAWN's process runs:
     * BUSY. */
    RUNNER_ADOPT,
    /* number: a protocol of netlink (12: NETLINK_NETFILTER); data, len: whole messages for it, at most 1 MiB, of which
     * each that is to be acknowledged has NLM_F_ACK, or NLM_F_DUMP; they are as the runner's own machine lays them out,
     * and go one after another, but those between NFNL_MSG_BATCH_BEGIN and _END at once. Ends when all are acknowledged;
     * the first error is the step's (EEXIST: EXISTS, ENOENT: NOTFOUND), and of one transaction then nothing is done.
     * path: NULL, or the name of the interface (NOTFOUND) that all the messages are about, of protocol 0 (NETLINK_ROUTE):
     * its index is put where an ifinfomsg and a tcmsg have it. RUNNER_S_OPTIONAL: NOTFOUND is status = 1 instead, of
     * protocol 0 NOTSUP as well: what a kernel does not know is not there. out: out, len: the messages that came in reply,
     * other than acknowledgements, at most 16 MiB. */
    RUNNER_NETLINK,
    /* path: a name as runner_spawn.cgroup, number: bytes. The cgroup's limit of memory is that from now on. out: status =
     * 1: there is no such cgroup, or it has no limits, and nothing was changed. */
    RUNNER_CGROUP_SET,
    /* path: an IPv4 address, dotted. The kernel forgets the connections that this address began, and so what it did to
     * their packets (NAT); of one that goes on it sees a new one. None: fine. out: status = 1: the kernel keeps no
     * connections, or nobody can ask it. */
    RUNNER_CONNTRACK_DEL
};

enum { /* runner_step.flags */
    RUNNER_S_ANY_STATUS = 1,
    RUNNER_S_EXCL = 2,
    RUNNER_S_SYNC = 4,
    RUNNER_S_OPTIONAL = 8,
    RUNNER_S_TREE = 16,
    RUNNER_S_PARENTS = 32,
    RUNNER_S_REFLINK = 64,
    RUNNER_S_ISOLATED = 128,
    RUNNER_S_SECRET = 256,  /* data is not shown when the batch is printed */
    RUNNER_S_TAIL = 512,
    RUNNER_S_OWNED = 1024,  /* MKDIR, WRITE: what is made belongs to uid, gid, as OWN would give it; a directory that is
                               there already stays as it is. Without it: to the runner */
    RUNNER_S_HEAD = 2048,
    RUNNER_S_HELD = 4096,   /* TAP_ADD: a queue of it may stay open until it is dialled, given to a process, or removed:
                               nobody opens it by its name */
    RUNNER_S_ELSE = 8192,   /* a step behind an OPTIONAL one: done when that one's status is 1, else left out, as if it
                               had succeeded. What undoes either is the undo of the first */
    RUNNER_S_IDLE = 16384,  /* TAP_ADD: see there */
    RUNNER_S_FRESH = 32768  /* WRITE, with EXCL: the file need not appear whole, nor be absent or whole after a crash: what
                               it belongs to is not there yet either. Spares its renaming */
};

enum {                      /* runner_fd.kind: what the transport opens for a new process */
    RUNNER_FD_LISTEN = 1,   /* a listening unix stream socket bound at path (a stale one is replaced), mode 0600 */
    RUNNER_FD_APPEND,       /* file at path, made 0600 if missing, O_WRONLY|O_APPEND */
    RUNNER_FD_READWRITE,    /* file at path, O_RDWR */
    RUNNER_FD_READ,         /* file at path, O_RDONLY */
    RUNNER_FD_FIFO,         /* a FIFO made anew at path, 0600, O_RDWR: what the process writes is kept, up to 64 KiB,
                               until somebody dials "fifo:/path", and none that reads it can break it */
    RUNNER_FD_TAP           /* a queue of the TAP that path names, as "tap:name" is dialled: a process that may not open
                               /dev/net/tun itself can use it */
};

struct runner_fd {
    uint32_t kind;
    int32_t number;         /* descriptor number in the new process, 3 to 63 */
    const char *path;
};

struct runner_spawn {
    uint32_t size;
    uint32_t n_fds;
    const struct runner_fd *fds;
    const char *pid_path;   /* the new process writes its pid there before exec and holds a lock (flock) on it while it
                               lives: the lock, not the file, says that it runs. Locked already: BUSY. */
    const char *output_path; /* standard output and error are appended there (0600); standard input is the step's data,
                                else /dev/null */
    const char *const *env; /* NULL-terminated NAME=value; NULL: PATH and LANG=C only */
    uint32_t uid, gid;      /* 0: as the runner. Else the process has no other group, no capability and never gets any
                               (no_new_privs), and may change no interface's MAC address by a TAP's queue. Ignored by a
                               transport whose own user is not root. */
    uint64_t nofile;        /* RLIMIT_NOFILE, 0: as the runner. RLIMIT_CORE is 0: a core would hold a guest's memory */
    const char *const *groups_of; /* NULL, or paths, NULL-terminated: with uid set, the groups of these files (/dev/kvm),
                                     at most 8, are the process's too, but never group 0; an absent one is passed over */
    const char *cgroup;     /* NULL, or [a-z0-9][a-z0-9-]{0,62}: a cgroup of this name, below one of the transport's that
                               no other runner uses, is made (what is left in it is killed) and the process starts in it.
                               Left out where cgroups cannot be written. */
    uint64_t cgroup_memory_bytes, cgroup_tasks; /* its limits; 0: none */
};
enum { /* result.number2 of a SPAWN: what could be done */
    RUNNER_SPAWNED_UID = 1,
    RUNNER_SPAWNED_CGROUP = 2,
    RUNNER_SPAWNED_LIMITS = 4 /* all limits of the cgroup that were asked for, if any */
};

struct runner_port { /* the guest behind a TAP */
    uint32_t size;
    uint32_t group;      /* of interfaces, by which rules know the ports of one network; 0: none */
    const char *mac;     /* 02:.. */
    const char *address; /* dotted, or NULL: not known */
    const char *also;    /* TAP_ADD: another bridge, which it joins when `to` has no port left; or NULL */
    uint32_t is_routed;  /* 1: the host sends what is for the address by its bridge, whatever its other routes say: by a
                            route of RUNNER_ROUTE_PROTOCOL */
};
enum { RUNNER_ROUTE_PROTOCOL = 114 }; /* as `ip route` calls it */

/*
 * The network namespace of one TAP. It has no name and no process: it lives as long as a queue of the TAP is open, so it
 * outlives the runner with the VMM, and whoever is killed leaves none. In it are, down and without addresses until the
 * messages are carried out: the TAP, which has the same name there, and the other end of its veth. IPv6 is off.
 */
struct runner_netns {
    uint32_t size, unused;
    const void *rules;   /* NULL, or messages as NETLINK has them, carried out in the namespace: of NETLINK_NETFILTER, ... */
    size_t rules_len;
    const void *routes;  /* ... and then of NETLINK_ROUTE */
    size_t routes_len;
};
enum { RUNNER_NETNS_VETH = 1001, RUNNER_NETNS_TAP = 1002 }; /* the interfaces' numbers there */

struct runner_step {
    uint32_t size;
    uint32_t kind, flags;
    const char *path, *to;
    const char *const *argv;
    const void *data;
    size_t len;
    int64_t number;
    const struct runner_spawn *spawn;
    const struct runner_step *undo; /* done, in reverse order, when a later step or phase fails; one level */
    uint32_t uid, gid; /* OWN, RUNNER_S_OWNED */
    const struct runner_port *port; /* TAP_ADD, TAP_DEL */
    const struct runner_netns *netns; /* TAP_ADD */
};
#define RUNNER_STEP_INIT sizeof(struct runner_step)

struct runner_result { /* valid as long as its batch */
    uint32_t size;
    int32_t status;
    int64_t number, number2;
    char *out;         /* len bytes, and a NUL behind them; NULL when there is none */
    size_t len;
};

/* ---- services of core ---------------------------------------------------------------------------------------- */

enum { RUNNER_LOG_ERROR = 1, RUNNER_LOG_WARN, RUNNER_LOG_INFO, RUNNER_LOG_DEBUG };

struct runner_field {
    const char *key, *value;
};

struct runner_host { /* valid from load() until the process ends; every function may be called on any thread */
    uint32_t size, api_minor;
    void *(*alloc)(size_t);  /* NULL when out of memory */
    void (*release)(void *); /* the only free() for memory that crosses; takes NULL */
    /* One event with fields, e.g. "qemu.accel" {accel=tcg}. call may be NULL. Never a secret. */
    void (*log)(struct runner_call *, uint32_t level, const char *event, const struct runner_field *, size_t n);
    /* 0, RUNNER_E_CANCELLED or RUNNER_E_TIMEOUT. */
    int (*cancelled)(struct runner_call *);
    /* As poll(2) on one descriptor (fd -1: only the time): the events seen, 0 after ms (-1: no limit of its own), or -1
     * with errno ECANCELED or ETIMEDOUT when the operation was cancelled or its deadline passed. */
    int (*wait)(struct runner_call *, int fd, short events, int64_t ms);
    /* Milliseconds until the operation's deadline, at least 0. */
    int64_t (*left_ms)(struct runner_call *);
    /* Where the host keeps its state, e.g. "/var/lib/cloud-hypervisor"; valid until the process ends. */
    const char *(*root)(struct runner_call *);
    /* Batches. add: a copy of the step, everything it points to included; its index, or -1. result: NULL before the
     * batch ran. A batch of one's own is made, run once and freed; that of an operation is run by core. */
    struct runner_batch *(*batch_new)(struct runner_call *);
    void (*batch_free)(struct runner_batch *); /* takes NULL */
    int (*add)(struct runner_batch *, const struct runner_step *, struct runner_error *);
    const struct runner_result *(*result)(const struct runner_batch *, int index);
    int (*run)(struct runner_call *, struct runner_batch *, struct runner_error *);
    /* A descriptor to something on the host, non-blocking, close-on-exec, the caller's to close. address:
     *   "unix:/path", "tcp:a.b.c.d:port": a connected stream socket; nobody there: UNREACHABLE
     *   "bind:a.b.c.d:port": a TCP socket bound there, which does not listen; another has the port: BUSY
     *   "fifo:/path": the reading end of a FIFO (RUNNER_FD_FIFO); none there: NOTFOUND
     *   "tap:name": a queue of that TAP (IFF_TAP, IFF_NO_PI, IFF_VNET_HDR), to be handed to a VMM; held by another: BUSY;
     *     NOTSUP where descriptors cannot leave the host: the VMM then opens the TAP by its name. */
    int (*dial)(struct runner_call *, const char *address, int *ret_fd, struct runner_error *);
};

/* ---- parameters: what a plugin's section in runner.yaml may say ------------------------------------------------ */

enum {
    RUNNER_T_STRING = 1,
    RUNNER_T_INT,
    RUNNER_T_BOOL,  /* true|false; number 1 or 0 */
    RUNNER_T_BYTES, /* 512M, 20GiB: powers of 1024; number in bytes */
    RUNNER_T_MSEC,  /* 250ms, 30s, 5m, 2h; number in ms */
    RUNNER_T_PATH   /* absolute, or below the host's root, which core puts before it */
};
enum { RUNNER_P_REQUIRED = 1, RUNNER_P_SECRET = 2, RUNNER_P_REPEAT = 4 }; /* REPEAT: a YAML list, one value each */

struct runner_param {
    const char *name;           /* [a-z][a-z0-9_]* */
    const char *dflt;           /* in config syntax; NULL: none */
    const char *doc;            /* one line, with the unit */
    uint32_t type, flags;
    int64_t min, max;           /* INT, BYTES, MSEC; both 0: unbounded */
    const char *const *choices; /* STRING: NULL-terminated list, or NULL */
};

struct runner_value { /* defaults filled in; absent when there is neither value nor default; valid until destroy() */
    const char *name, *text;
    int64_t number;
};

/* ---- findings: what works on a host and what does not, as `runner-ch doctor` shows it --------------------------- */

enum {
    RUNNER_FINDING_OK = 1,
    RUNNER_FINDING_WARN, /* sandboxes run, but slower, less confined, or not for long */
    RUNNER_FINDING_FAIL, /* sandboxes do not run */
    RUNNER_FINDING_SKIP  /* not looked at, or not needed: the text says why */
};

struct runner_finding {
    uint32_t size, level;
    const char *topic; /* [a-z0-9-]+, at most 24 bytes; the same from version to version */
    const char *text;  /* what was found: one line for people, UTF-8, no secret */
    const char *fix;   /* the command line that mends it on Debian, or NULL */
};

/* ---- the descriptor ------------------------------------------------------------------------------------------- */

struct runner_plugin { /* const, static, immortal */
    uint32_t magic, size;
    uint16_t api_major, api_minor;
    uint32_t kind, threads;
    uint32_t param_size, n_params; /* sizeof(struct runner_param), how many */
    uint32_t ops_size;             /* sizeof of the kind's ops */
    uint64_t caps;                 /* RUNNER_<KIND>_CAP_*: what the operations really do */
    const char *name;              /* [a-z0-9-]+, the same as the file's */
    const char *version, *summary;
    const struct runner_param *params;
    const void *ops;               /* struct runner_<kind>_ops */
    /* Once, before any thread; may be NULL. Keep the host table here. */
    int (*load)(const struct runner_host *, struct runner_error *);
    /* One instance per host that names the plugin. Touches no host. *ret_self is never NULL: that is no instance. */
    int (*create)(const struct runner_value *, size_t n, void **ret_self, struct runner_error *);
    /* Is everything there that this plugin needs? Changes nothing that lasts. May be NULL. */
    int (*check)(void *self, struct runner_call *, struct runner_error *);
    void (*destroy)(void *self); /* takes NULL and half-built ones */
    /* Later members. */
    /* check() at length, for people: one finding a topic, each said as soon as it is known (it is the caller's only until
     * say returns). Tries what can be tried, leaves nothing behind. Says a FAIL when check() would refuse, which is then not
     * asked. -1: it could not look (cancelled, unreachable). May be NULL: then check() is asked. */
    int (*diagnose)(void *self, struct runner_call *, void (*say)(void *ctx, const struct runner_finding *), void *ctx,
                    struct runner_error *err);
};

#define RUNNER_PLUGIN_INIT(kind_, name_, ops_)                                                                         \
    .magic = RUNNER_MAGIC, .size = sizeof(struct runner_plugin), .api_major = RUNNER_API_MAJOR,                        \
    .api_minor = RUNNER_API_MINOR, .kind = (kind_), .param_size = sizeof(struct runner_param), .name = (name_),        \
    .ops = &(ops_), .ops_size = sizeof(ops_)

#define RUNNER_HAS(p, m) ((p)->size >= offsetof(__typeof__(*(p)), m) + sizeof((p)->m) && (p)->m)

/* The one exported symbol; the major version is part of its name. */
#define RUNNER_PLUGIN(desc)                                                                                            \
    __attribute__((visibility("default"))) const struct runner_plugin *runner_plugin_1(void);                          \
    const struct runner_plugin *runner_plugin_1(void) { return &(desc); }

/* ---- kind: transport ------------------------------------------------------------------------------------------ */

struct runner_transport_ops { /* RUNNER_PARALLEL is expected */
    /* Carry out n steps in order and fill results[i] of each that ran (size is set; out comes from host->alloc). When a
     * step fails: run the undo steps of those done, in reverse; err names the failed step and its cause, and what could
     * not be undone. */
    int (*run)(void *self, struct runner_call *, const struct runner_step *const *steps, size_t n,
               struct runner_result *results, struct runner_error *err);
    int (*dial)(void *self, struct runner_call *, const char *address, int *ret_fd, struct runner_error *err);
    /* A descriptor that becomes readable when the process of that pid file has ended; the caller's to close. Not alive:
     * NOTFOUND. */
    int (*watch)(void *self, struct runner_call *, const char *pid_path, int *ret_fd, struct runner_error *err);
    /* Later members. */
    /* Both or none: may be NULL. run() in two parts, for a caller that has yet to find out what the second one is. begin()
     * may return while a process of a SPAWN is on its way to its program: the step's result is there after end(). Steps
     * and results stay where they are until then. One that fails has undone what it did. Each that succeeded is followed
     * by one end() of the same operation, on the same thread; other calls may come between. */
    int (*begin)(void *self, struct runner_call *, const struct runner_step *const *steps, size_t n,
                 struct runner_result *results, void **ret_begun, struct runner_error *err);
    /* The second part; when something fails, what was done of either is undone. results NULL: there is none, and the first
     * one is undone: -1 only when not all of it could be, which err names. */
    int (*end)(void *self, struct runner_call *, void *begun, const struct runner_step *const *steps, size_t n,
               struct runner_result *results, struct runner_error *err);
};

/* ---- kind: disk (planner) ------------------------------------------------------------------------------------- */

struct runner_image {        /* a disk image on the host; the strings are the caller's */
    uint32_t size;
    uint32_t flags;          /* RUNNER_I_* */
    const char *path;
    const char *format;      /* "raw" or "qcow2" */
    const char *backing_path, *backing_format; /* NULL: none */
    int64_t size_bytes;      /* what a guest sees */
};
enum { RUNNER_I_READONLY = 1 };

struct runner_disk {         /* the writable disk of one sandbox */
    uint32_t size;
    const char *id;          /* sandbox id */
    const char *dir;         /* its directory on the host; exists when the batch gets there */
    const struct runner_image *base; /* read-only image to start from */
    int64_t size_bytes;      /* what the guest shall see: a multiple of 512 */
};

struct runner_disk_ops {
    /* Add the steps that make the disk, with their undo, and say what it is: *ret_image's path is `dir`/<file>, strings
     * from host->alloc (core releases path, backing_path, backing_format, format). base larger than size_bytes:
     * INVALID. */
    int (*clone)(void *self, struct runner_call *, struct runner_batch *, const struct runner_disk *,
                 struct runner_image *ret_image, struct runner_error *err);
    /* Add the steps that remove it. */
    int (*remove)(void *self, struct runner_call *, struct runner_batch *, const struct runner_disk *,
                  struct runner_error *err);
    /* Later members. */
    /* CAP_INSPECT. What the image at path is, which another program made: strings as clone() hands them over,
     * backing_path absolute. Changes nothing. NOTFOUND: absent; INVALID: no image that a sandbox can have (format,
     * features, a damaged head). The backing image is not looked at. */
    int (*inspect)(void *self, struct runner_call *, const char *path, struct runner_image *ret_image,
                   struct runner_error *err);
    /* CAP_GROW. Add the steps that make a disk, which no machine uses, one of size_bytes, durably; it may be looked at for
     * that. There is no undo, and it is fine when it is that large already. INVALID: it is larger; NOTSUP: it cannot be. */
    int (*grow)(void *self, struct runner_call *, struct runner_batch *, const struct runner_image *image,
                int64_t size_bytes, struct runner_error *err);
};
enum {
    RUNNER_DISK_CAP_COW = 1,    /* clones share the base's blocks */
    RUNNER_DISK_CAP_INSPECT = 2,
    RUNNER_DISK_CAP_GROW = 4
};

/* ---- kind: network (planner) ---------------------------------------------------------------------------------- */

enum { RUNNER_NIC_TAP = 1, RUNNER_NIC_USER = 2 };

struct runner_nic {          /* core keeps it in the record; all text is bounded and ends with NUL */
    uint32_t size;
    uint32_t kind;           /* RUNNER_NIC_* */
    char name[16];           /* TAP: the interface */
    char mac[18];            /* 02:.. of the guest, set by core */
    char address[46];        /* the guest's, dotted; set by ipam, or by the network with CAP_OWN_ADDRESS. With its mac and
                                address the guest is known on the host, whatever it has itself (guest_*) */
    char gateway[46];
    char dns[46];            /* "": none; set by ipam, unless the network has one of its own */
    uint32_t prefix_len;
    uint32_t mtu;            /* 0: the default */
    uint32_t forward_port;   /* USER: port on 127.0.0.1 of the host that reaches guest_port, else 0 */
    uint32_t guest_port;
    /* Later members. */
    uint32_t uid;            /* TAP: its owner, whom the VMM runs as; set by core; 0: the runner's user */
    uint32_t is_dialled;     /* TAP: 1: the VMM takes it as a descriptor (CAP_TAP_FD); set by core for attach */
    /* What the guest itself has, where the network translates; set by attach, unless they are set already. guest_address
     * "": it has mac, address, gateway and prefix_len. VMMs and seeds get a nic that says in those what the guest has. */
    uint32_t guest_prefix_len;
    char guest_mac[18], guest_address[46], guest_gateway[46];
};

/* What a sandbox may reach. With neither flag nor list: the outside, as far as the network's own settings let any. */
struct runner_policy {
    uint32_t size;
    uint32_t flags;             /* RUNNER_POLICY_* */
    uint32_t n_cidrs, n_domains;
    const char *const *cidrs;   /* "a.b.c.d/n", the host part 0, sorted, none within another */
    const char *const *domains; /* lower case; "example.org", or "*.example.org": every name below it, not itself */
    /* What passes a second, both 0: no limit. rx: what the guest receives */
    uint64_t rx_bytes_per_s, tx_bytes_per_s;
};
enum {
    RUNNER_POLICY_BLOCK = 1,    /* nothing, whatever the lists say */
    RUNNER_POLICY_LISTED = 2,   /* only the addresses of cidrs, and those that a name of domains had when the guest asked */
    RUNNER_POLICY_RESTRICTED = 4 /* of an organization whose egress is limited: the network's settings say what that is */
};

struct runner_nic_counters {    /* since the nic was attached; rx: what the guest received */
    uint32_t size, unused;
    uint64_t rx_bytes, tx_bytes, rx_packets, tx_packets;
    uint64_t refused_packets;   /* of the guest's: of another's name, or to where it may not */
};

struct runner_network_ops {
    /* Once when the host comes up, before other operations; makes what all sandboxes share (bridge, NAT). Idempotent. */
    int (*setup)(void *self, struct runner_call *, struct runner_error *err);
    /* Add the steps that connect a sandbox, with their undo; fill kind and name (and addresses with CAP_OWN_ADDRESS). id
     * is the sandbox; nic->mac and addresses are set. A nic->name that is set already (restart of a stopped sandbox) is
     * used again when it can be. With CAP_POLICY it reaches nothing until apply_policy(), which core adds behind it. */
    int (*attach)(void *self, struct runner_call *, struct runner_batch *, const char *id, struct runner_nic *nic,
                  struct runner_error *err);
    /* Add the steps that take it away. What it had is nobody else's before release(), where the plugin has that. */
    int (*detach)(void *self, struct runner_call *, struct runner_batch *, const char *id, const struct runner_nic *nic,
                  struct runner_error *err);
    /* A record found at start owns this nic: reserve its name and ports. */
    int (*adopt)(void *self, struct runner_call *, const char *id, const struct runner_nic *nic,
                 struct runner_error *err);
    /* Remove what this plugin once made and none of the n owners' nics names. Called at start, after adopt. */
    int (*sweep)(void *self, struct runner_call *, const struct runner_nic *const *owned, size_t n,
                 struct runner_error *err);
    /* How to dial a TCP port of the guest: "tcp:ip:port" into ret_address. Not reachable: NOTSUP. */
    int (*address)(void *self, const struct runner_nic *nic, uint32_t guest_port, char *ret_address, size_t size,
                   struct runner_error *err);
    /* Later members. */
    /* CAP_POLICY. Add the steps that put a policy in the place of the one that an attached sandbox has, at once and whole:
     * what it no longer allows does not pass any more when they are done, connections that are open included, and what
     * both allow is not disturbed. Also after a start of the runner, for each that runs: it must be right whatever is
     * there. detach() takes it away. Domains without CAP_DOMAINS, or where the host lacks what they need: NOTSUP. */
    int (*apply_policy)(void *self, struct runner_call *, struct runner_batch *, const char *id,
                        const struct runner_nic *nic, const struct runner_policy *policy, struct runner_error *err);
    /* CAP_COUNTERS. Of n sandboxes in one round trip; a nic that is not there: all 0. */
    int (*counters)(void *self, struct runner_call *, const struct runner_nic *const *nics, size_t n,
                    struct runner_nic_counters *ret, struct runner_error *err);
    /* Memory only. The steps of detach(), or the undo of attach()'s, are done, and no record on the host says any more
     * what the sandbox had: names and ports are free for others. It had none: fine. May be NULL: detach() frees them
     * itself. */
    int (*release)(void *self, const char *id, struct runner_error *err);
};
enum {
    RUNNER_NETWORK_CAP_ISOLATION = 1,   /* guests cannot reach each other */
    RUNNER_NETWORK_CAP_OWN_ADDRESS = 2, /* needs no ipam: attach sets the addresses */
    RUNNER_NETWORK_CAP_ALL_PORTS = 4,   /* address() works for every guest port, not just the daemon's */
    RUNNER_NETWORK_CAP_USER_NIC = 8,    /* attach makes a RUNNER_NIC_USER: needs a VMM with CAP_USER_NETWORK */
    RUNNER_NETWORK_CAP_POLICY = 16,
    RUNNER_NETWORK_CAP_DOMAINS = 32,    /* policies may name domains */
    RUNNER_NETWORK_CAP_COUNTERS = 64
};

/* ---- kind: ipam ----------------------------------------------------------------------------------------------- */

struct runner_lease {
    uint32_t size;
    uint32_t prefix_len;
    char address[46], gateway[46], dns[46];
};

struct runner_ipam_ops { /* memory only: a lease is what a record says, and core adopts those at start */
    /* A free address for this owner; a second call with the same owner returns the same one. Exhausted: NOSPACE with
     * the numbers. */
    int (*lease)(void *self, struct runner_call *, const char *owner, struct runner_lease *ret, struct runner_error *err);
    /* The record of `owner` says that it has this address. Outside the range, or another's: INVALID or EXISTS. */
    int (*adopt)(void *self, const char *owner, const char *address, struct runner_error *err);
    /* Not held: fine. */
    int (*release)(void *self, const char *owner, struct runner_error *err);
    /* How many addresses are free, and how many there are. */
    void (*usage)(void *self, uint64_t *ret_free, uint64_t *ret_total);
};

/* ---- kind: vmm ------------------------------------------------------------------------------------------------ */

struct runner_vm { /* everything about one machine; all paths are on the host */
    uint32_t size;
    const char *id;
    const char *dir;         /* sandbox directory */
    const char *socket_path; /* where the VMM's control socket is to be */
    const char *pid_path, *log_path, *serial_path;
    uint32_t cpus, max_cpus; /* max: ceiling for a later hot-plug, at least cpus */
    int64_t memory_bytes, max_memory_bytes;
    const char *kernel, *initramfs, *cmdline; /* initramfs may be NULL; all three are when there is firmware */
    uint32_t n_disks, n_nics;
    const struct runner_image *const *disks; /* in the order the guest sees them: vda, vdb, ... */
    const struct runner_nic *const *nics;
    /* Later members. */
    uint32_t uid, gid;       /* the process runs as; 0: as the runner. Else it may open what is its own in dir (the disks,
                                vmm_dir) and what all may read, but make no file in the directories of socket_path and
                                serial_path: SPAWN opens these for it (RUNNER_FD_LISTEN, RUNNER_FD_APPEND), and TAPs,
                                since not every user may open /dev/net/tun (RUNNER_FD_TAP) */
    const char *firmware;    /* boots this instead of a kernel, or NULL */
    const char *vmm_dir;     /* below dir, and uid's own: where the VMM may make files and sockets itself */
    const char *cgroup;      /* for runner_spawn.cgroup, or NULL: none */
};

enum { RUNNER_VM_ABSENT = 0, RUNNER_VM_RUNNING, RUNNER_VM_PAUSED, RUNNER_VM_ENDED /* shut down, process still there */,
       RUNNER_VM_FAILED /* panicked, I/O error, internal error: see text */ };

struct runner_vm_status {
    uint32_t size, state;
    char text[240];          /* the VMM's own word for it */
};

/* What a machine says of itself; text: the VMM's word for it. */
enum { RUNNER_VM_EVENT_OTHER = 0, RUNNER_VM_EVENT_PAUSED, RUNNER_VM_EVENT_RESUMED, RUNNER_VM_EVENT_REBOOTED,
       RUNNER_VM_EVENT_SHUTDOWN /* the process ends soon */, RUNNER_VM_EVENT_PANIC /* the guest's kernel gave up */ };

struct runner_vm_event {
    uint32_t size, kind;
    char text[240];
};

struct runner_vm_counters {  /* since boot, as the VMM counts; sums over all disks and interfaces */
    uint32_t size, unused;
    uint64_t disk_read_bytes, disk_write_bytes, disk_reads, disk_writes;
    uint64_t net_rx_bytes, net_tx_bytes, net_rx_packets, net_tx_packets; /* rx: what the guest received */
};

/* What is known of a machine that another program made. Strings are from host->alloc, NULL or "": not said; none of it
 * is to be trusted. */
struct runner_machine {
    uint32_t size, cpus;     /* cpus 0: not said */
    int64_t memory_bytes;    /* 0: not said */
    const char *kernel, *initramfs, *cmdline, *firmware;
    const char *disk_path;   /* the first one that it may write to */
    const char *extra;       /* a part of it that struct runner_vm has no place for: "disks[2]" */
    char tap[16], mac[18];
};

struct runner_vmm_ops {
    /* Planner: add the SPAWN step (undo: KILL and removal of the socket). */
    int (*spawn)(void *self, struct runner_call *, struct runner_batch *, const struct runner_vm *, struct runner_error *);
    /* The process was spawned: bring the machine to run. When it ended at once, err quotes what it printed. */
    int (*boot)(void *self, struct runner_call *, const struct runner_vm *, struct runner_error *);
    /* Press the power button; returns at once. The guest may ignore it: core waits for the end of the process, then
     * kills. */
    int (*power_button)(void *self, struct runner_call *, const struct runner_vm *, struct runner_error *);
    int (*pause)(void *self, struct runner_call *, const struct runner_vm *, struct runner_error *);  /* CAP_PAUSE; ... */
    int (*resume)(void *self, struct runner_call *, const struct runner_vm *, struct runner_error *); /* ... idempotent */
    /* No process or socket: state ABSENT, not an error. No answer in time: TIMEOUT, which is not a death. */
    int (*status)(void *self, struct runner_call *, const struct runner_vm *, struct runner_vm_status *ret,
                  struct runner_error *);
    /* One line for people, e.g. "qemu 7.2.22, accelerator tcg"; known after check(). */
    int (*describe)(void *self, char *ret_text, size_t size);
    /* Planner: add the steps that remove what the VMM left beside its process (sockets). */
    int (*cleanup)(void *self, struct runner_call *, struct runner_batch *, const struct runner_vm *,
                   struct runner_error *);
    /* Later members. */
    /* CAP_EVENTS. Begin to hear what the machine says: *ret_fd, the stream's own, becomes readable when there may be an
     * event. Events said while nobody listened come first. One listener a machine; also after a restart of the runner. */
    int (*listen)(void *self, struct runner_call *, const struct runner_vm *, void **ret_stream, int *ret_fd,
                  struct runner_error *);
    /* The next event: 1, or 0 when there is none now, or -1: the stream is over, since who wrote it has ended
     * (UNREACHABLE), or it is broken. Never blocks; any thread, one at a time. */
    int (*next)(void *self, void *stream, struct runner_vm_event *ret, struct runner_error *);
    void (*unlisten)(void *self, void *stream); /* CAP_EVENTS, as next(); closes the descriptor too; takes NULL */
    /* CAP_COUNTERS. Beside other operations on the machine: only id, dir and socket_path are set. */
    int (*counters)(void *self, struct runner_call *, const struct runner_vm *, struct runner_vm_counters *ret,
                    struct runner_error *);
    /* CAP_ADOPT. The configuration of a machine as this VMM's users keep it in a file. INVALID names the member that is
     * wrong. Touches no host. */
    int (*read_config)(void *self, const char *text, size_t len, struct runner_machine *ret, struct runner_error *);
    /* CAP_ADOPT. Takes over the process that serves socket_path, which another program started: it becomes that of
     * pid_path (ADOPT). Only id, dir, socket_path and pid_path are set. The machine notices nothing. *ret_machine: what
     * it runs with, *ret_status: its state; nobody there: ABSENT, and no pid file. -1: none of it happened. */
    int (*adopt)(void *self, struct runner_call *, const struct runner_vm *, struct runner_machine *ret_machine,
                 struct runner_vm_status *ret_status, struct runner_error *);
    /* CAP_RESIZE. Gives a machine that runs the cpus and memory_bytes of vm; its cgroup's limit follows. The guest is told,
     * and takes them into use by itself, in its time. Idempotent. NOTSUP: not without a new start, and nothing was
     * changed: less than what it has, or more than what max_cpus and max_memory_bytes were at its boot (those of vm here
     * are not looked at). Another error: some of it may be done; core then asks for what it had, to know. */
    int (*resize)(void *self, struct runner_call *, const struct runner_vm *, struct runner_error *);
};
enum {
    RUNNER_VMM_CAP_PAUSE = 1,
    RUNNER_VMM_CAP_USER_NETWORK = 2, /* takes RUNNER_NIC_USER */
    RUNNER_VMM_CAP_EVENTS = 4,
    RUNNER_VMM_CAP_COUNTERS = 8,
    RUNNER_VMM_CAP_FIRMWARE = 16,    /* takes runner_vm.firmware */
    RUNNER_VMM_CAP_EARLY = 32,       /* until boot() the process needs no more than its directory and what spawn() gives
                                        it: core starts it before disk, seed and network are there; spawn() is told how
                                        many disks and nics there will be, but they are NULL */
    RUNNER_VMM_CAP_ADOPT = 64,
    RUNNER_VMM_CAP_TAP_FD = 128,     /* dials a TAP, or has it given by SPAWN; by its name only where that is NOTSUP */
    RUNNER_VMM_CAP_RESIZE = 256
};

/* ---- kind: storage -------------------------------------------------------------------------------------------- */

/* What is kept elsewhere under a name: in a registry, a bucket, a directory that hosts share. */
struct runner_object {
    uint32_t size;
    const char *ref;            /* as the API names it: "registry.example.org/daytona/daytona-<hash>:daytona" */
    const char *server;         /* whom username and password are for, and nobody else; NULL: that of ref */
    const char *username, *password; /* both or none: NULL. Never kept, logged, or given to a process as an argument */
};

struct runner_object_info {
    uint32_t size;
    char digest[65];            /* of the whole object: 64 hexadecimal digits. What has the same one is the same */
    int64_t size_bytes;         /* as it is kept there */
};

struct runner_progress {
    uint32_t size;
    const char *phase;          /* one word: "resolve", "fetch", "convert", "push" */
    uint64_t done_bytes, total_bytes; /* of the phase; total 0: not known */
};
/* Called by the thread that called the operation, now and then. */
typedef void runner_progress_fn(void *ctx, const struct runner_progress *);

/* A base that pull() made: files in its directory; the strings are from host->alloc, and core releases them, also when
 * pull() failed. */
struct runner_base {
    uint32_t size;
    const char *disk, *format;  /* file name and "raw" or "qcow2"; it has no image below it */
    int64_t size_bytes;         /* of the disk, as a guest sees it: a multiple of 512 */
    int64_t content_bytes;      /* of what is in it */
    const char *image_json;     /* how it wants to be run, an object with any of: env (object of strings), user, workdir
                                   (strings), entrypoint, cmd (arrays of strings), init ("systemd", "" ...); workdir is
                                   absolute. NULL: none of that */
    struct runner_object_info info; /* of the object it was made from */
};

/* Each works on a worker thread until it is done, or until cancel or deadline. Errors: NOTFOUND no such object; INVALID it
 * is not what it should be (a digest, a format, a bound: the text says which); NOTSUP it is for another architecture, or
 * of a kind that cannot be made a disk; UNREACHABLE, TIMEOUT, with retry: the server; DENIED credentials; NOSPACE. Pulls
 * take minutes, beside which others go on: a plugin that is not RUNNER_PARALLEL does one thing at a time. */
struct runner_storage_ops {
    /* What a ref stands for now. Answers within seconds, whatever else goes on. */
    int (*inspect)(void *self, struct runner_call *, const struct runner_object *, struct runner_object_info *ret,
                   struct runner_error *err);
    /* Makes a base of the object in dir, an empty directory on the host that is core's to remove or to rename: on stable
     * storage when it returns, and readable by all. What makes another disk of the same object has another version in its
     * descriptor, of which bases are named. Keeps it as `also` elsewhere too, byte for byte the same, unless that is NULL.
     * What was fetched before it broke off is kept for the next try below the host's root, within bounds. */
    int (*pull)(void *self, struct runner_call *, const struct runner_object *, const struct runner_object *also,
                const char *dir, runner_progress_fn *progress, void *ctx, struct runner_base *ret,
                struct runner_error *err);
    /* Keeps the disk image at path, as the object `to`, so that a pull makes it again. image_json: as in runner_base. */
    int (*push)(void *self, struct runner_call *, const char *path, const char *format, const char *image_json,
                const struct runner_object *to, runner_progress_fn *progress, void *ctx, struct runner_object_info *ret,
                struct runner_error *err);
    /* From one name to another, byte for byte; on one server nothing is moved that it has. */
    int (*copy)(void *self, struct runner_call *, const struct runner_object *from, const struct runner_object *to,
                runner_progress_fn *progress, void *ctx, struct runner_object_info *ret, struct runner_error *err);
    /* The name goes; what no other name holds may go with it. Absent: fine. */
    int (*remove)(void *self, struct runner_call *, const struct runner_object *, struct runner_error *err);
};

#ifdef __cplusplus
}
#endif
#endif
