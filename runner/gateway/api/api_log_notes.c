/* api_log_notes.c: puts the runner's notes (ringlog.h) between the lines of a log, where they were made. A position that lies (the file is fn-init's too) moves a note, at worst to the end. */
#include "api_private.h"

#include "clock.h"

#include <stdio.h>

void log_notes_begin(struct log_notes *n, int fd, uint64_t pos, bool skip)
{
    struct ringlog_note notes[RINGLOG_NOTES];
    int count = skip ? ringlog_notes(fd, 0, notes) : 0;

    *n = (struct log_notes){.from = pos};
    if (count > 0)
        n->seen = notes[count - 1].number;
}

/* The next one that is to be shown. */
static void look(struct log_notes *n, int fd)
{
    struct ringlog_note notes[RINGLOG_NOTES];
    int count = ringlog_notes(fd, n->seen, notes);

    for (int i = 0; i < count && n->next.number == 0; i++) {
        if (notes[i].pos >= n->from)
            n->next = notes[i];
        else
            n->seen = notes[i].number;
    }
}

const char *log_notes_next(struct log_notes *n, int fd, uint64_t pos, bool at_end, size_t *want)
{
    char when[CLOCK_RFC3339_MAX];

    if (n->next.number == 0)
        look(n, fd);
    if (n->next.number == 0)
        return NULL;
    if (n->next.pos > pos && !at_end) {
        if (n->next.pos - pos < *want)
            *want = n->next.pos - pos;
        return NULL;
    }
    clock_format_rfc3339(n->next.real_ns, when);
    snprintf(n->text, sizeof(n->text), "[fnd %s: %s]", when, n->next.text);
    n->seen = n->next.number;
    n->next.number = 0;
    return n->text;
}
