/*
 * One end of a relayed stream: a non-blocking socket in the loop's edge-triggered epoll set, and what waits on it. rd,
 * wr and hup are set by edges; EAGAIN or a short read or write clears them (rd never while hup stands, since no further
 * edge would come). That there is room to write is told only to one that lacked it before: else each peer that reads an
 * answer would wake the loop. A buffer exists only while bytes wait in it.
 */
#ifndef HTTP_SIDE_H
#define HTTP_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct bytes {
    char *ptr;
    size_t at, len; /* what waits is ptr + at, len bytes */
    size_t cap;
};

enum side_kind { SIDE_LISTENER, SIDE_MAILBOX, SIDE_CLIENT, SIDE_UPSTREAM };

struct side {
    int fd;       /* -1: closed; an event still queued for it is ignored */
    int epoll;    /* the set that it is in */
    uint8_t kind; /* enum side_kind: which struct this is the first member of */
    bool rd, wr, hup;
    bool is_told_room;    /* EPOLLOUT is among its events */
    bool is_dead;         /* the peer is gone in both directions: reset, or a closed unix socket */
    bool has_moved;       /* bytes went through since somebody cleared it */
    struct bytes in, out; /* read and not yet used; to be sent */
};

void bytes_add(struct bytes *b, const void *data, size_t len);
void bytes_skip(struct bytes *b, size_t len); /* frees nothing: pointers into it stay good */
void bytes_done(struct bytes *b);
static inline const char *bytes_at(const struct bytes *b)
{
    return b->ptr + b->at;
}

/* Adds the socket to the epoll set, until it is closed. 0 or -1 with errno. */
int side_init(struct side *side, enum side_kind kind, int fd, int epoll);
/* Closes; with reset the peer sees a RST where the socket can send one. */
void side_close(struct side *side, bool reset);

enum { SIDE_EOF = 0, SIDE_WAIT = -1, SIDE_ERROR = -2 };

/* Bytes read into data, or one of the above. */
ssize_t side_recv(struct side *side, void *data, size_t cap);
/* Sends what it can at once, keeps the rest in out. 0, or SIDE_ERROR. */
int side_write(struct side *side, const void *data, size_t len);
int side_write_two(struct side *side, const void *head, size_t head_len, const void *body, size_t body_len);
/* Sends what waits in out. 0 (out may still hold bytes), or SIDE_ERROR. */
int side_flush(struct side *side);

#endif
