/* Moves the bytes of one message body from one side to another. */
#ifndef HTTP_PUMP_H
#define HTTP_PUMP_H

#include "core/http/body.h"
#include "core/http/side.h"

#define PUMP_CHUNK  65536  /* bytes of the loop's shared scratch buffer */
#define PUMP_BUDGET 131072 /* bytes a connection may move before others get their turn */

enum pump_result {
    PUMP_WAIT,      /* an edge will say when to go on */
    PUMP_TURN,      /* the budget is used up; nothing else will wake this connection */
    PUMP_DONE,      /* the body's last byte was handed to dst (it may wait in dst->out) */
    PUMP_SRC_EOF,   /* src ended within the body */
    PUMP_SRC_ERROR, /* src broke */
    PUMP_DST_ERROR, /* dst broke */
    PUMP_BAD,       /* broken chunk framing */
    PUMP_LARGE,     /* larger than body->max */
};

/* Never reads from src while bytes wait in dst->out: that is all the back-pressure. */
enum pump_result pump(struct side *src, struct side *dst, struct body *body, char scratch[PUMP_CHUNK], size_t *budget);

#endif
