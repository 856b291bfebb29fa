#include "core/http/front.h"

void timer_stop(struct timer *timer)
{
    list_remove(&timer->node);
    timer->class = TIMER_NONE;
}

void timer_set(struct front *front, struct timer *timer, enum timer_class class, bool again)
{
    if (timer->class == class && !again)
        return;
    list_remove(&timer->node);
    timer->class = (uint8_t) class;
    timer->deadline_ms = front->now_ms + front->duration_ms[class];
    list_append(&front->timers[class], &timer->node);
}
