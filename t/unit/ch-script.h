/*
 * The stage of tests of the Cloud Hypervisor client: scripted connections. Each sends its pieces, one whenever the
 * client waits. What is not as scripted fails the test. A TAP is whatever standard input is.
 */
#ifndef UNIT_CH_SCRIPT_H
#define UNIT_CH_SCRIPT_H

#include <stdbool.h>

#include "core/util/error.h"
#include "kit/fake/host.h"
#include "plugins/vmm/cloud-hypervisor/client.h"

#define SERVER "Server: Cloud Hypervisor API\r\nConnection: keep-alive\r\n"
#define EMPTY  "HTTP/1.1 204 \r\n" SERVER "\r\n"
#define PIECES 24

extern struct runner_error err;
extern struct ch ch;
extern const struct runner_vm vm;

struct script {
    const char *pieces[PIECES];
    bool is_closed; /* after the last piece; else it is silent then */
    int fd;         /* of the peer; -1: not dialled */
    int next;
};

extern struct script scripts[4]; /* in the order of their dialling */
extern int n_dialled, n_scripts;
extern int64_t waited_ms; /* how long the client would have waited the last time */

void script_open(void);
void script_close(void);
/* Forgets connections and scripts, within a test of many cases. */
void script_renew(void);

/* One more connection: nothing yet, or this text. */
struct script *script_add(bool is_closed);
void expect_text(const char *text);
/* A reply of that status with a body; it stays until the test ends. */
const char *with_body(int status, const char *body);
/* What the peer was sent since it was last asked; valid until then. */
const char *heard(int i);

#endif
