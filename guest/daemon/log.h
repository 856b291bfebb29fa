/* What a command wrote: kept in an unlinked file, in order, each piece with its stream. */
#ifndef GUEST_LOG_H
#define GUEST_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/util/error.h"
#include "core/util/str.h"

#define LOG_MAX (64 * 1024 * 1024) /* bytes kept; what comes later is counted and dropped */

enum log_stream { LOG_STDOUT = 1, LOG_STDERR = 2 };

struct log;
struct log_follower;
typedef void log_news_fn(void *arg); /* the log has grown or ended */

struct log *log_new(struct runner_error *err);
struct log *log_ref(struct log *l);
void log_unref(struct log *l); /* takes NULL */

void log_add(struct log *l, enum log_stream stream, const void *data, size_t len);
/* The command is over: followers end when they have read all. */
void log_end(struct log *l);
bool log_is_ended(const struct log *l);

/* Reads the piece at *offset, at most 64 KiB, replaces piece with it, and moves the offset. False at the end. */
bool log_next(const struct log *l, int64_t *offset, enum log_stream *ret_stream, struct str *piece);
/* The whole, all streams or one of them. with_marks: each piece behind three bytes 1 (output) or 2 (errors), as old
 * clients of the toolbox API want it. stream 0: all. */
void log_read(const struct log *l, int stream, bool with_marks, struct str *out);
void log_add_mark(struct str *out, enum log_stream stream);

struct log_follower *log_follow(struct log *l, log_news_fn *news, void *arg);
void log_unfollow(struct log_follower *f); /* takes NULL */

#endif
