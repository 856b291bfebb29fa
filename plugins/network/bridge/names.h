/* Interface names: which sandbox has which, and which idle TAPs there are. Any thread. */
#ifndef NAMES_H
#define NAMES_H

#include "plugins/network/bridge/bridge.h"
#include "plugins/network/bridge/places.h"

#define POOL_MAX 512

/* pool: how many idle TAPs are kept at most. */
struct names *names_new(const char *bridge, size_t pool);
void names_free(struct names *names); /* takes NULL */

/* The name of this sandbox's TAP, reserved for it: the one it has already, else `wanted` when it is set and free, else
 * that of an idle TAP where it may have one, else tap- and 11 characters of the id, else a variant of it. BUSY when all variants are taken. */
int names_reserve(struct names *names, const char *id, const char *wanted, bool may_be_idle,
                  char ret_name[IFNAME_SIZE], struct runner_error *err);
/* Reserves exactly this name: EXISTS when another sandbox has it. */
int names_adopt(struct names *names, const char *id, const char *name, struct runner_error *err);
/* The address that goes with a reserved name: said, or asked. */
void names_set_address(struct names *names, const char *name, const char *address);
/* On which bridge the sandbox of that address is; -1: none has it. */
int names_address(struct names *names, const char *address);
/* What the sandbox has is others' from now on. None: fine. */
void names_release(struct names *names, const char *id);
bool names_is_reserved(struct names *names, const char *name);
/* Of an adopted name, and of nobody's, it is not known. */
void names_set_lists(struct names *names, const char *name, enum lists lists);
enum lists names_lists(struct names *names, const char *name);
/* Whether limits of bandwidth may be there. An adopted name's may be, and nobody's. */
void names_set_rates(struct names *names, const char *name);
bool names_has_rates(struct names *names, const char *name);

/*
 * Idle TAPs have numbers for names, tap-<bridge>-<number>, and keep them: a sandbox that gets one has its name, since to
 * rename an interface takes the kernel a grace period. What is known of a number is a guess, since a batch may fail after
 * it was planned; a wrong guess costs time and nothing else: TAP_ADD makes a TAP when the idle one is gone, TAP_DEL deletes
 * when the name is taken. Nobody gets the name of one that goes before its sandbox is released, and none before all
 * that is there was compared with the records: until then a number may be that of a sandbox whose record is unreadable.
 */
/* Sweep has done so. */
void names_swept(struct names *names);
/* Whether it is such a name. */
bool names_is_number(struct names *names, const char *name);
/* Its interface is about to go. Whether it stays, which one that can does unless the pool is full; and under which name. */
bool names_keep(struct names *names, const char *name, bool can_stay, char ret_idle[IFNAME_SIZE]);
/* A TAP that no sandbox has was found under such a name, on that bridge. Within the pool it is idle from now on; false:
 * there are enough. */
bool names_found_idle(struct names *names, const char *name, unsigned bridge);

/*
 * Bridges: which there are, and which one each TAP is on, as far as is known. A name that is reserved has a place, chosen
 * then; an idle TAP stays where it is.
 */
uint64_t names_bridges(struct names *names); /* a bit each, the first one's always set */
void names_add_bridge(struct names *names, unsigned bridge);
/* Of a reserved name; nobody's: 0. ret_also: for when it has no port left, or -1; may be NULL. */
unsigned names_bridge(struct names *names, const char *name, int *ret_also);
/* It was found there: so it is, or will be when it is adopted. */
void names_found_on(struct names *names, const char *name, unsigned bridge);
/* Ports that are not of our making, of each bridge. */
void names_set_others(struct names *names, const unsigned others[BRIDGES_MAX]);
/* It is to have a port again: where it was if there is room, else elsewhere. */
unsigned names_place_again(struct names *names, const char *name);
/* Few ports are left, and there may be one more bridge of so many; whether any is left. */
bool names_is_short(struct names *names, unsigned bridges_max);
bool names_has_room(struct names *names);

#endif
