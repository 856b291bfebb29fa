/*
 * A strict Cloud Hypervisor v53 for tests: its command line, its REST API byte for byte, its events, files, sockets and
 * exit statuses, and a guest with a daemon (fake.h) at a loopback address (loopback.h).
 * t/run/45-ch-differential.t holds it against the real program. One process, one thread; it answers within a
 * millisecond of its start.
 *
 * What it does wrong, on demand, stands in a file, a line each: the one that FAKE_CH names, or <argv[0]>.conf.<word>
 * where <word> is a component of the API socket's path, without ".sock", or <argv[0]>.conf. CALL is "vm.boot", ...
 *   exit STATUS TEXT       print TEXT on standard error and exit before anything else
 *   signal N               kill itself at start by that signal
 *   start-ms N             be slow: no API socket for so long
 *   fail CALL TEXT         answer 500 with TEXT as the cause, and do nothing
 *   status CALL N          the call's own answer under another status
 *   stall CALL MS [TIMES]  do it, but answer late, the first TIMES; nothing else is answered meanwhile
 *   hang CALL              take it and never answer anything again (the vmm thread hangs)
 *   lose CALL              do it, and close the connection without an answer
 *   cut CALL               do it, and close in the middle of the answer
 *   garbage CALL           do it, and answer what is no HTTP
 *   big CALL               answer 200 with 8 MiB of JSON
 *   crash CALL [SIGNAL]    die of it by that signal (9) before anything was done
 *   crash-after CALL [SIGNAL]  do it, then die without an answer
 *   version TEXT           what --version and vmm.ping say, e.g. "51.2"
 *   real-taps              open named TAPs, as the real one does; without it any name will do
 *   no-landlock            the kernel has too little of it
 *   no-shutdown-event      end without the last three events
 * The guest:
 *   boot-ms N              the serial line and the daemon come up late
 *   serial TEXT            its first line on the serial console, instead of "fake guest is up"
 *   ignore-powerdown, powerdown-ms N
 *   guest poweroff|reboot|panic|crash MS   does that so long after its (first) boot; crash: the VMM dies by SIGSYS
 *   panics N               says each panic so often
 *   eject-ms N             how long it takes to give up a removed device (5); never: it does not
 * What a client should not have sent, or that the real one ignores silently (members that it does not know), is a line
 * of the file <argv[0]>.faults, so that tests see it.
 */
#ifndef FAKE_CH_H
#define FAKE_CH_H

#include "core/util/json.h"
#include "core/util/str.h"
#include "t/fake/fake.h"

/* ---- one answer ---- */

struct reply {
    int status;    /* 0: none yet */
    bool has_body; /* else an empty one, or with 204 none at all */
    struct str body;
};

/* An error as the API tells it: a JSON array of the chain of causes, NULL-terminated. Returns -1. */
int reply_fail(struct reply *r, int status, const char *first, ...) __attribute__((sentinel));

/* What goes wrong within a call: causes, outermost first, behind "Error from API" and the call's own text. */
struct cause {
    struct str json; /* "a","b" */
    int status;      /* 500, or 404 for what is not there */
};
/* Each returns -1. The last cause of cause_errno is errno's text as Rust has it. */
int cause_set(struct cause *c, const char *text, ...) __attribute__((sentinel));
int cause_errno(struct cause *c, int number, const char *text, ...) __attribute__((sentinel));
int cause_setf(struct cause *c, const char *before, const char *format, ...) __attribute__((format(printf, 3, 4)));
void cause_wrap(struct cause *c, const char *text, ...) __attribute__((sentinel)); /* puts causes before it */

/* ---- fake-ch.c: the process ---- */

struct ch {
    const char *program, *api_path; /* api_path: NULL when the socket was inherited */
    const char *version;            /* "53.0" */
    int api, events;                /* descriptors, -1: none */
    bool is_kept;                   /* --no-shutdown */
};
extern struct ch ch;

_Noreturn void ch_exit(int status);
_Noreturn void ch_stop(void); /* as SIGTERM: the VM is deleted, events, status 0 */
_Noreturn void ch_panic(const char *text); /* of the VMM thread: no answer, no event, nothing removed, status 1 */
void ch_fault(const char *format, ...) __attribute__((format(printf, 1, 2)));
void ch_signal_self(int number) __attribute__((noreturn));

/* ---- fake-ch-http.c: the wire ---- */

struct fds {
    int fd[253];
    int n;
};
int http_poll_add(struct pollfd *set); /* nothing while a call stalls */
void http_poll_done(const struct pollfd *set, int n);
int64_t http_wake_at_ms(void);
void http_flush(void);

/* ---- fake-ch-call.c: what each call does ---- */

/* body: NULL for none. fds that are kept are taken out of the list. */
void call_handle(const char *method, const char *path, const char *body, size_t len, struct fds *fds, struct reply *r);

/* ---- fake-ch-size.c: there is a configuration ---- */

int size_machine(const struct json *body, struct cause *c);
int size_zone(const struct json *body, struct cause *c);
int size_disk(const struct json *body, struct cause *c);

/* ---- fake-ch-event.c ---- */

void event_open(const char *value); /* of --event-monitor; exits when it cannot */
void event_say(const char *source, const char *event, const char *key,
               const char *value); /* key NULL: none; also value2 */
void event_say2(const char *source, const char *event, const char *k1, const char *v1, const char *k2, const char *v2);

/* ---- fake-ch-schema.c: what bodies look like ---- */

struct object;
extern const struct object object_vm, object_disk, object_net, object_fs, object_pmem, object_vdpa, object_vsock,
    object_device, object_user_device, object_vhost_user, object_resize, object_resize_disk, object_resize_zone,
    object_remove, object_snapshot, object_restore, object_receive, object_send;

/* Parses and checks a body as the real program's deserializer does. -1: error is its text. */
int schema_read(const struct object *o, const char *body, size_t len, struct json **ret, struct str *error);
/* Writes it in the order of declaration, defaults filled in, what is unset left out. */
void schema_write(const struct object *o, const struct json *j, struct str *out);
/* The same as a tree, defaults filled in. */
struct json *schema_fill(const struct object *o, const struct json *j);

/* ---- trees that change ---- */

struct json *tree_member(struct json *object, const char *key);             /* NULL: none, or null */
void tree_set_text(struct json *object, const char *key, const char *text); /* NULL: takes it away */
void tree_set_int(struct json *object, const char *key, int64_t value);
void tree_append(struct json *object, const char *key, struct json *item); /* to an array, made when missing */

/* ---- fake-ch-config.c ---- */

int config_validate(const struct json *config, struct cause *c);
/* Of such devices there is one. */
bool config_is_single(const char *key);
/* Takes the device over; key: of its list. */
void config_add(struct json *config, const char *key, struct json *device);
/* False: there is none with this id. */
bool config_remove(struct json *config, const char *id);
int64_t config_memory(const struct json *config); /* bytes, zones summed up, without what is plugged */

/* ---- fake-ch-vm.c: the machine ---- */

enum vm_state { VM_CREATED, VM_RUNNING, VM_PAUSED };

struct vm {
    struct json *config; /* NULL: none */
    bool exists;         /* there is a VM object */
    bool is_confined;    /* by landlock, until the process ends */
    enum vm_state state;
    int64_t balloon;      /* bytes, as the guest has it */
    int64_t plugged;      /* by virtio-mem, as the guest has it */
    int64_t wanted_plugged;
    int64_t ram, ram_max; /* present, and with all that may be hot-plugged */
    int present_vcpus;
    bool is_vsock_taken; /* out of the configuration, at this boot */
    bool removing_vcpus; /* the guest has not given them up yet */
    int dimms;           /* hot-plugged so far */
};
extern struct vm vm;

int vm_consoles_open(struct cause *c);
int vm_confine(struct cause *c); /* if the configuration says so */
void vm_check_confined(void);    /* before a boot */
int vm_start(struct cause *c,
             bool is_restored);   /* validates, builds, boots; exists afterwards even when it failed late */
void vm_stop(void);               /* takes the object away */
void vm_serial(const char *text); /* what the guest writes on its console */
void vm_info(struct str *out);
void vm_counters(struct str *out);
int vm_reboot(struct cause *c);

/* ---- fake-ch-image.c ---- */

/* Of what is open, to a disk as it is configured. */
int image_check(struct cause *c, const struct json *disk, int fd, bool *ret_has_backing);
int image_errno(struct cause *c, const char *path, int number); /* it cannot be opened */

/* ---- fake-ch-landlock.c ---- */

void landlock_apply(void);                           /* what the configuration names, from now on */
bool landlock_allows(const char *path, bool writes); /* always, where nothing was applied */

/* ---- fake-ch-guest.c: what runs in it ---- */

void fguest_know(const char *kernel, size_t len); /* the beginning of the kernel's file */
void fguest_save(struct str *out);                /* for a snapshot */
void fguest_load(const char *text);
void fguest_start(bool is_restored);
void fguest_end(void);
int64_t fguest_wake_at_ms(void); /* 0: never */
void fguest_tick(void);
void fguest_power_button(void);
void fguest_plug(bool is_new);      /* a device came, or is to go */
void fguest_remove_vcpus(int left); /* what it is asked for, it does later, or never */
void fguest_balloon(int64_t bytes);
void fguest_plug_memory(int64_t bytes); /* what virtio-mem has */
int64_t fguest_delay_ms(void); /* how long it takes; -1: it never does */

/* ---- fake-ch-device.c: devices of a machine ---- */

int device_start_all(struct cause *c);
void device_stop_all(void);
int device_locks(struct cause *c); /* of the disks */
/* Hot-plugs what is in the list `key` of the configuration already; ret: {"id":..,"bdf":..}. */
int device_add(const char *key, struct json *config, struct cause *c, struct str *ret);
int device_remove(const char *id, struct cause *c);
int device_resize(const char *id, int64_t size, struct cause *c);
void device_tree(struct str *out, const char *key);
bool device_counts(int index, const char **ret_id, bool *ret_is_disk); /* the index-th that has counters */
int64_t device_wake_at_ms(void);
void device_tick(void);
bool device_take_fds(struct json *net, struct fds *fds); /* kept as long as the configuration */
void device_drop_fds(void);

/* ---- fake-ch-vsock.c ---- */

int vsock_bind(const char *path); /* 0 or errno */
void vsock_close(void);           /* unlinks, as a clean end does */
int vsock_poll_add(struct pollfd *set, int max);
void vsock_poll_done(const struct pollfd *set, int n);

/* ---- fake-ch-snapshot.c ---- */

int snapshot_save(const char *url, struct cause *c);
int snapshot_restore(const struct json *request, struct fds *fds, struct cause *c);

#endif
