/*
 * A client of the API of one Cloud Hypervisor process, over its unix socket. A connection is kept for the next call, in
 * a table by machine; no thread waits on it. One HTTP thread serves all connections and waits for the one VMM thread: a
 * call may queue behind a long one, so silence is no death, and a call that was given up may still have its effect.
 */
#ifndef CH_CLIENT_H
#define CH_CLIENT_H

#include "core/util/str.h"
#include "plugins/vmm/cloud-hypervisor/cloud-hypervisor.h"

struct client_request {
    const char *action; /* "vm.boot" */
    const char *body;   /* JSON; NULL: none */
    bool is_get;        /* else PUT */
    int fd;             /* sent along with the last byte; -1: none. It stays the caller's. */
    int64_t timeout_ms; /* of this call; the operation's deadline counts too */
};

struct client_reply {
    int status; /* of HTTP; 0: none came */
    struct str body;
};
#define CLIENT_REPLY_INIT                                                                                              \
    {                                                                                                                  \
        0, STR_INIT                                                                                                    \
    }
void client_reply_done(struct client_reply *reply);
#define auto_reply CLEANUP(client_reply_done)

/*
 * One call. 0: it succeeded (2xx). -1: err says why, and ret->status whether it was refused (with its causes) or no
 * answer came. Codes: NOTFOUND or UNREACHABLE: nobody listens, it hung up, or is about to end; TIMEOUT: no answer in
 * time; CANCELLED; INVALID: no reply of Cloud Hypervisor's, or it refuses the request as wrong; else by its words, see
 * ending_code().
 * Blocks.
 */
int client_call(struct ch *self, struct runner_call *call, const struct runner_vm *vm,
                const struct client_request *request, struct client_reply *ret, struct runner_error *err);

/*
 * Calls that are sent at once, carried out and answered one after the other, up to one that fails: err is of that, and
 * *ret its reply, else the last one; *ret_done calls succeeded. After one that fails the later ones are carried out too,
 * or not, as chance has it, but none any more once another call has been answered. The time of each begins with the
 * answer before it. A descriptor goes to the request that is complete first in the read by which it comes, and a read
 * ends with one: each request but the last must have one, even if it ignores it. Errors as above.
 */
int client_calls(struct ch *self, struct runner_call *call, const struct runner_vm *vm,
                 const struct client_request *requests, size_t n, struct client_reply *ret, size_t *ret_done,
                 struct runner_error *err);

/* Closes what is kept for a machine: its process ended, or another takes its place. */
void client_forget(struct ch *self, const char *id);
void client_forget_all(struct ch *self);

#endif
