#include "guest/daemon/user.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/util/num.h"
#include "core/util/str.h"

#define GROUPS_MAX 64

static void copy_text(char *to, size_t size, const char *from)
{
    size_t len = strnlen(from, size - 1);

    memcpy(to, from, len);
    to[len] = '\0';
}

static bool find_user(const char *name, uid_t uid, struct user *ret)
{
    auto_fclose FILE *file = fopen("/etc/passwd", "re");
    struct passwd *p;

    while (file != NULL && (p = fgetpwent(file)) != NULL) {
        if (name != NULL ? strcmp(p->pw_name, name) != 0 : p->pw_uid != uid)
            continue;
        ret->uid = p->pw_uid;
        ret->gid = p->pw_gid;
        copy_text(ret->name, sizeof ret->name, p->pw_name);
        copy_text(ret->home, sizeof ret->home, p->pw_dir);
        copy_text(ret->shell, sizeof ret->shell, p->pw_shell);
        return true;
    }
    return false;
}

bool user_by_name(const char *name, struct user *ret)
{
    return find_user(name, 0, ret);
}

bool user_by_id(uid_t uid, struct user *ret)
{
    return find_user(NULL, uid, ret);
}

/* root is 0 in an image of one program as well, which has no /etc/passwd. */
bool user_parse_uid(const char *text, uid_t *ret)
{
    struct user u;
    int64_t number;

    if (user_by_name(text, &u))
        *ret = u.uid;
    else if (strcmp(text, "root") == 0)
        *ret = 0;
    else if (num_int(text, 0, UINT32_MAX - 1, &number))
        *ret = (uid_t)number;
    else
        return false;
    return true;
}

/* Entry of /etc/group by name, or by number when name is NULL. */
static bool find_group(const char *name, gid_t gid, gid_t *ret_gid, char **ret_name)
{
    auto_fclose FILE *file = fopen("/etc/group", "re");
    struct group *g;

    while (file != NULL && (g = fgetgrent(file)) != NULL) {
        if (name != NULL ? strcmp(g->gr_name, name) != 0 : g->gr_gid != gid)
            continue;
        *ret_gid = g->gr_gid;
        if (ret_name != NULL)
            *ret_name = mem_dup(g->gr_name);
        return true;
    }
    return false;
}

bool user_parse_gid(const char *text, gid_t *ret)
{
    int64_t number;

    if (find_group(text, 0, ret, NULL))
        return true;
    if (strcmp(text, "root") == 0)
        number = 0;
    else if (!num_int(text, 0, UINT32_MAX - 1, &number))
        return false;
    *ret = (gid_t)number;
    return true;
}

char *user_name_of(uid_t uid)
{
    struct user u;

    return user_by_id(uid, &u) ? mem_dup(u.name) : mem_printf("%lu", (unsigned long)uid);
}

char *user_group_of(gid_t gid)
{
    char *name;

    return find_group(NULL, gid, &gid, &name) ? name : mem_printf("%lu", (unsigned long)gid);
}

static size_t groups_of(const struct user *u, gid_t *groups)
{
    auto_fclose FILE *file = fopen("/etc/group", "re");
    struct group *g;
    size_t n = 0;

    groups[n++] = u->gid;
    while (file != NULL && n < GROUPS_MAX && (g = fgetgrent(file)) != NULL)
        for (char **member = g->gr_mem; *member != NULL; member++)
            if (strcmp(*member, u->name) == 0 && n < GROUPS_MAX)
                groups[n++] = g->gr_gid;
    return n;
}

int user_parse(const char *text, struct user *ret, struct runner_error *err)
{
    const char *colon = strchr(text, ':');
    auto_free char *name = mem_dup_n(text, colon != NULL ? (size_t)(colon - text) : strlen(text));
    uid_t uid;

    if (!user_parse_uid(name, &uid))
        return fail(err, RUNNER_E_INVALID, 0, "no user '%s' in /etc/passwd", name);
    if (!user_by_id(uid, ret)) {
        *ret = (struct user){.uid = uid, .home = "/"};
        copy_text(ret->name, sizeof ret->name, name);
    }
    if (colon != NULL && !user_parse_gid(colon + 1, &ret->gid))
        return fail(err, RUNNER_E_INVALID, 0, "no group '%s' in /etc/group", colon + 1);
    return 0;
}

int user_become(const struct user *u, struct runner_error *err)
{
    gid_t groups[GROUPS_MAX];
    size_t n = groups_of(u, groups);

    if (geteuid() == 0 && u->uid != 0 &&
        (setgroups(n, groups) < 0 || setresgid(u->gid, u->gid, u->gid) < 0 || setresuid(u->uid, u->uid, u->uid) < 0))
        return fail_errno(err, errno, "become user '%s'", u->name);
    (void)setenv("HOME", u->home[0] == '\0' ? "/" : u->home, 1);
    (void)setenv("USER", u->name, 1);
    (void)setenv("LOGNAME", u->name, 1);
    if (u->shell[0] != '\0')
        (void)setenv("SHELL", u->shell, 0);
    return 0;
}

void user_environment(void)
{
    struct user u;
    const char *home;

    (void)setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 0);
    if (access("/etc/localtime", F_OK) < 0)
        (void)setenv("TZ", "UTC", 0);
    (void)setenv("LANG", "C.UTF-8", 0);
    if (user_by_id(getuid(), &u)) {
        (void)setenv("HOME", u.home[0] == '\0' ? "/" : u.home, 0);
        (void)setenv("USER", u.name, 0);
        (void)setenv("LOGNAME", u.name, 0);
        (void)setenv("SHELL", u.shell[0] == '\0' ? "/bin/sh" : u.shell, 0);
    }
    (void)setenv("HOME", "/", 0);
    home = getenv("HOME");
    if (home == NULL || chdir(home) < 0)
        (void)!chdir("/");
}
