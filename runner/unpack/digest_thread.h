/* digest_thread.h: blocks on their way to the thread that digests them. For digest.c and whoever starts it; one thread gives. */
#pragma once

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>

#define DIGEST_BLOCK (128U * 1024)

struct diag;
struct digest_thread;

struct digest_block {
    struct digest_block *next;
    EVP_MD_CTX *ctx;
    size_t len;
    unsigned char data[DIGEST_BLOCK];
};

/* Once in a process: it runs until that ends. It is running when this returns. */
int digest_thread_start(struct digest_thread **ret, struct diag *d);

/* A block for ctx, empty; waits for one. */
struct digest_block *digest_thread_take(struct digest_thread *t, EVP_MD_CTX *ctx);
/* Filled: it is the thread's. */
void digest_thread_give(struct digest_thread *t, struct digest_block *b);
/* Until all that was given is done. False: one of the digests has failed. */
bool digest_thread_wait(struct digest_thread *t);
