#include "core/lane.h"

#include <stdint.h>
#include <string.h>

#include "core/util/cleanup.h"
#include "core/util/str.h"

static struct lane **bucket_of(struct lanes *lanes, const char *name)
{
    uint32_t hash = 2166136261u;

    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return &lanes->buckets[hash % ARRAY_LEN(lanes->buckets)];
}

static struct lane *find(struct lanes *lanes, const char *name)
{
    struct lane *lane = *bucket_of(lanes, name);

    while (lane != NULL && strcmp(lane->name, name) != 0)
        lane = lane->next_bucket;
    return lane;
}

struct lane *lanes_add(struct lanes *lanes, const char *name, struct task *task)
{
    struct lane *lane = name != NULL ? find(lanes, name) : NULL;

    task->next = NULL;
    if (lane != NULL) {
        if (lane->first != NULL)
            lane->last->next = task;
        else
            lane->first = task;
        lane->last = task;
        return NULL;
    }
    lane = mem_alloc(sizeof *lane);
    lane->name = mem_dup(name);
    lane->first = lane->last = task;
    if (name != NULL) {
        struct lane **bucket = bucket_of(lanes, name);
        lane->next_bucket = *bucket;
        *bucket = lane;
    }
    return lane;
}

struct task *lane_pop(struct lane *lane)
{
    struct task *task = lane->first;

    lane->first = task->next;
    if (lane->first == NULL)
        lane->last = NULL;
    return task;
}

void lanes_drop(struct lanes *lanes, struct lane *lane)
{
    if (lane->name != NULL) {
        struct lane **link = bucket_of(lanes, lane->name);
        while (*link != lane)
            link = &(*link)->next_bucket;
        *link = lane->next_bucket;
    }
    free(lane->name);
    free(lane);
}
