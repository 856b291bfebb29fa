/* Accounts by /etc/passwd and /etc/group, read directly: a static program has no NSS. */
#ifndef GUEST_USER_H
#define GUEST_USER_H

#include <stdbool.h>
#include <sys/types.h>

#include "core/util/error.h"

struct user {
    uid_t uid;
    gid_t gid;
    char name[64], home[256], shell[128];
};

bool user_by_name(const char *name, struct user *ret);
bool user_by_id(uid_t uid, struct user *ret);
/* Name or number. */
bool user_parse_uid(const char *text, uid_t *ret);
bool user_parse_gid(const char *text, gid_t *ret);
/* The name, else the number. The caller frees. */
char *user_name_of(uid_t uid);
char *user_group_of(gid_t gid);

/* "user" or "user:group" of an image, each a name or a number; who has no entry in /etc/passwd has the home "/". INVALID:
 * there is no such user or group. */
int user_parse(const char *text, struct user *ret, struct runner_error *err);

/* Becomes that user with all its groups (when root) and sets HOME, USER, LOGNAME and, unless set, SHELL. */
int user_become(const struct user *u, struct runner_error *err);
/* PATH, HOME, TZ, LANG, USER, SHELL where they are unset, and the home directory as work directory. */
void user_environment(void);

#endif
