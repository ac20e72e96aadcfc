/*
 * accounts.h: who may use the API over the network, as the disk has it:
 *
 *   STATE/auth/password     the administrator's password (yescrypt, crypt(5)), 0600
 *   STATE/auth/initial      the first one, in clear, 0600, until it is changed
 *   STATE/auth/tokens/NAME  one token a file: SHA-256, scope, when it was made and ends, its function
 *   STATE/audit.log         audit.h
 *
 * The gateway is told the tokens' hashes and nothing of the password. What it asks for (LOGIN, PASSWORD, TOKEN_ADD, TOKEN_REMOVE, AUDIT) is answered here.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct accounts;
struct diag;
struct loop;
struct record_head;

struct accounts_parts { /* borrowed */
    const char *state;
    struct loop *loop;
    void (*push)(void *owner, const struct record_head *rec);
    void (*reply)(void *owner, uint64_t client, const struct record_head *rec);
    void *owner;
};

/* Where there is no password, one is made: in the background, its path is logged. */
int accounts_open(const struct accounts_parts *parts, struct accounts **ret, struct diag *d);
void accounts_close(struct accounts *a);
void accounts_snapshot(struct accounts *a);
bool accounts_request(struct accounts *a, uint64_t client, const struct record_head *rec); /* false: that is somebody else's */
