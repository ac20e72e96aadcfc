/*
 * digest_thread.c: a thread that computes digests beside the one that reads and writes: SHA-256 is a third of what unpacking an image costs, and all that the survey does but reading.
 *
 * Blocks go round: one is taken, filled, given to the thread, and free again when the thread is through with it. A digest's blocks are done in the order in which they were given. The thread is made before the jail's
 * filter, which then holds for it too (jail.c); it allocates nothing, and ends with the process.
 */
#include "digest_thread.h"

#include "diag.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define BLOCKS       8U           /* two digests hold one each that is not full */
#define THREAD_STACK (256U << 10) /* the sanitizers' need */

struct digest_thread {
    pthread_mutex_t lock;
    pthread_cond_t given, done;
    struct digest_block *free, *first, **last; /* last: where the next one is given */
    unsigned busy;                             /* given and not done */
    bool running, failed;
    struct digest_block blocks[BLOCKS];
};

static struct digest_block *next_given(struct digest_thread *t)
{
    struct digest_block *b;

    while (!t->first)
        pthread_cond_wait(&t->given, &t->lock);
    b = t->first;
    t->first = b->next;
    if (!t->first)
        t->last = &t->first;
    return b;
}

static void *run(void *arg)
{
    struct digest_thread *t = arg;

    pthread_mutex_lock(&t->lock);
    t->running = true;
    for (;;) {
        struct digest_block *b;
        bool good;

        pthread_cond_signal(&t->done);
        b = next_given(t);
        pthread_mutex_unlock(&t->lock);
        good = EVP_DigestUpdate(b->ctx, b->data, b->len) == 1;
        pthread_mutex_lock(&t->lock);
        t->failed = t->failed || !good;
        b->next = t->free;
        t->free = b;
        t->busy--;
    }
    return NULL;
}

static int thread_create(struct digest_thread *t)
{
    sigset_t all, old;
    pthread_attr_t attr;
    pthread_t thread;
    int r = pthread_attr_init(&attr);

    if (r != 0)
        return r;
    sigfillset(&all);
    pthread_attr_setstacksize(&attr, THREAD_STACK);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&thread, &attr, run, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return r;
}

int digest_thread_start(struct digest_thread **ret, struct diag *d)
{
    struct digest_thread *t = calloc(1, sizeof(*t));
    int r;

    if (!t)
        return diag_set(d, ENOMEM, "out of memory");
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->given, NULL);
    pthread_cond_init(&t->done, NULL);
    t->last = &t->first;
    for (unsigned i = 0; i < BLOCKS; i++) {
        t->blocks[i].next = t->free;
        t->free = &t->blocks[i];
    }
    r = thread_create(t);
    if (r != 0) {
        free(t);
        return diag_errno(d, r, "a thread for digests");
    }
    pthread_mutex_lock(&t->lock); /* libc registers a new thread with the kernel by calls that the filter does not have */
    while (!t->running)
        pthread_cond_wait(&t->done, &t->lock);
    pthread_mutex_unlock(&t->lock);
    *ret = t;
    return 0;
}

struct digest_block *digest_thread_take(struct digest_thread *t, EVP_MD_CTX *ctx)
{
    struct digest_block *b;

    pthread_mutex_lock(&t->lock);
    while (!t->free)
        pthread_cond_wait(&t->done, &t->lock);
    b = t->free;
    t->free = b->next;
    pthread_mutex_unlock(&t->lock);
    b->ctx = ctx;
    b->len = 0;
    b->next = NULL;
    return b;
}

void digest_thread_give(struct digest_thread *t, struct digest_block *b)
{
    pthread_mutex_lock(&t->lock);
    *t->last = b;
    t->last = &b->next;
    t->busy++;
    pthread_cond_signal(&t->given);
    pthread_mutex_unlock(&t->lock);
}

bool digest_thread_wait(struct digest_thread *t)
{
    bool good;

    pthread_mutex_lock(&t->lock);
    while (t->busy > 0)
        pthread_cond_wait(&t->done, &t->lock);
    good = !t->failed;
    pthread_mutex_unlock(&t->lock);
    return good;
}
