/*
 * logins.h: hashing and checking passwords (yescrypt, crypt(5)), each in a short-lived child: 16 MB and 20 ms of somebody else's input are not the runner's. The child is nobody, has no descriptor but the one
 * for its answer, and a filter that leaves it memory and that answer.
 */
#pragma once

struct diag;
struct logins;
struct loop;

/* err: 0, EACCES (not that password), another errno. hash: what was made, "" when checking. */
typedef void login_fn(void *arg, int err, const char *hash);

int logins_new(struct loop *l, struct logins **ret);
void logins_free(struct logins *l); /* those under way are answered with ECANCELED */

/* Answers in a later turn. -EAGAIN: too many are under way or were wrong lately. The password is copied, and wiped when it is over. */
int logins_check(struct logins *l, const char *password, const char *hash, login_fn *on_done, void *arg);
int logins_hash(struct logins *l, const char *password, login_fn *on_done, void *arg);
