/* Interface names: which sandbox has which, and which idle TAPs there are. Any thread. */
#ifndef NAMES_H
#define NAMES_H

#include "plugins/network/bridge/bridge.h"

#define POOL_MAX 512

/* pool: how many idle TAPs are kept at most. */
struct names *names_new(const char *bridge, size_t pool);
void names_free(struct names *names); /* takes NULL */

/* Whether a forwarder of names runs: said by setup. */
void names_set_forwarder(struct names *names, bool is_there);
bool names_has_forwarder(struct names *names);

/* The name of this sandbox's TAP, reserved for it: the one it has already, else `wanted` when it is set and free, else
 * tap- and 11 characters of the id, else a variant of it. BUSY when all variants are taken. */
int names_reserve(struct names *names, const char *id, const char *wanted, char ret_name[IFNAME_SIZE],
                  struct runner_error *err);
/* Reserves exactly this name: EXISTS when another sandbox has it. */
int names_adopt(struct names *names, const char *id, const char *name, struct runner_error *err);
/* The address that goes with a reserved name: said, or asked. */
void names_set_address(struct names *names, const char *name, const char *address);
bool names_is_address(struct names *names, const char *address);
/* Not reserved by that sandbox: fine. */
void names_release(struct names *names, const char *id, const char *name);
bool names_is_reserved(struct names *names, const char *name);
/* Of an adopted name, and of nobody's, it is not known. */
void names_set_lists(struct names *names, const char *name, enum lists lists);
enum lists names_lists(struct names *names, const char *name);
/* Whether limits of bandwidth may be there. An adopted name's may be, and nobody's. */
void names_set_rates(struct names *names, const char *name);
bool names_has_rates(struct names *names, const char *name);

/*
 * Idle TAPs sit in numbered slots, tapi-<bridge>-<slot>. What is known of a slot is a guess, since a batch may fail
 * after it was planned; a wrong guess costs time and nothing else: TAP_ADD makes a TAP when the idle one is gone,
 * TAP_DEL deletes when the slot is taken.
 */
/* A slot believed to hold one, now believed empty; false: none. */
bool names_take_idle(struct names *names, char ret_name[IFNAME_SIZE]);
/* A slot believed empty, now believed to hold one; false: the pool is full. */
bool names_give_idle(struct names *names, char ret_name[IFNAME_SIZE]);
/* Whether it is the name of an idle TAP of this bridge; one within the pool is believed to be there from now on, and
 * ret_is_kept says so. */
bool names_found_idle(struct names *names, const char *name, bool *ret_is_kept);

#endif
