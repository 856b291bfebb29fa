/* What the parts of check-ch share: the list as far as it has been run, and what its lines do. */
#ifndef CHECK_CH_RUN_H
#define CHECK_CH_RUN_H

#include "core/util/cleanup.h"
#include "t/run/check-ch.h"

struct check {
    const char *program, *toy, *library; /* library: no-nested.c, for blocks that make snapshots */
    bool is_fake, wants_library;
    char *dir;             /* of this process */
    char *title, *request; /* of the last */
    struct vmm vmm;
    bool is_started, is_broken; /* broken: the rest of the block is not tried */
    bool is_over;               /* the process has ended, as it should */
    char *words[16];
    int n_words;
    int status; /* of the last reply */
    struct str head, body, bytes;
    int cases, failures, line;
    int held[8], n_held;
};
extern struct check run;

/* One point of the output. */
void result(bool is_ok, const char *what, const char *got, const char *wanted);
/* Text against a pattern in which '*' stands for anything. */
bool matches(const char *text, const char *pattern);
/* \r \n, and \{N}c for N times c. */
void unescape(const char *text, struct str *out);

/* What lines of the list do, with the rest of the line (t/run/ch-cases.txt). */
void do_request(const char *text);
void do_request_ahead(const char *text); /* its answer is read later, behind those of the ones before it */
void do_bytes(const char *text);
void do_connections(void); /* the eleventh, and the first again when one of the ten has gone */
void expect_reply(const char *text);
void expect_next_reply(const char *text);
void expect_bytes(const char *text);
void expect_events(const char *wanted); /* all that was said since the last time, in order */
void expect_file(char *text);           /* PATH absent | PATH socket MODE | PATH MODE [TEXT] */
void await_serial(const char *wanted);  /* until the serial console says it */
void expect_ticks(bool wanted);         /* whether the guest makes progress within a while */
void expect_exit(const char *wanted);   /* "0" or "signal N" */
void expect_fault(const char *wanted);

#endif
