/*
 * mail.h: how one worker's thread tells another something: letters into its box, read in the order in which each sender posted them, at the beginning of the reader's turns. No lock; an empty box costs one load a turn.
 * What is posted happened before what the reader does with it.
 */
#pragma once

#include "loop.h"

#include <stdatomic.h>
#include <stdbool.h>

/* Lives in what it is part of. */
struct letter {
    struct letter *next;              /* private */
    void (*read)(struct letter *l);   /* in the reader's thread; the letter is his */
    void (*unread)(struct letter *l); /* nobody will read it: frees what it holds */
};

struct mailbox {
    _Atomic(struct letter *) newest;
    int event_fd; /* -1: closed */
    struct watch watch;
};

int mailbox_open(struct mailbox *b);                      /* before anybody posts */
int mailbox_attach(struct mailbox *b, struct loop *loop); /* by the reader's thread */
void mailbox_detach(struct mailbox *b);                   /* by the same; what comes from now on waits */
void mailbox_close(struct mailbox *b);                    /* nobody posts any more: unreads what is left */

void mailbox_post(struct mailbox *b, struct letter *l); /* any thread */
void mailbox_read(struct mailbox *b);                   /* the reader's thread: everything that has been posted */
