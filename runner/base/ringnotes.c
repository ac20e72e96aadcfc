/*
 * ringnotes.c: the runner's notes in a ring log (ringlog.h): that a limit was hit, that one is not held, how the instance before ended.
 *
 * They stand in the last three quarters of the head's page, which fn-init never writes, so that the ring itself keeps its one writer; each says at which byte of the ring it was made, so that a reader puts it where
 * it belongs. A place is used again after RINGLOG_NOTES of them. Its number goes last, and is taken away first: who reads while one is written sees the old ones and not half of a new one.
 */
#include "ringlog.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NOTES_AT 1024

static_assert(sizeof(struct ringlog_note) == 256, "the layout has no holes: it is a file format");
static_assert(NOTES_AT + RINGLOG_NOTES * sizeof(struct ringlog_note) <= RINGLOG_HEAD_BYTES, "notes are in the head's page");
static_assert(sizeof(struct ringlog_head) <= NOTES_AT, "and behind what fn-init writes");

static off_t place(uint64_t number)
{
    return (off_t)(NOTES_AT + number % RINGLOG_NOTES * sizeof(struct ringlog_note));
}

static int read_all(int fd, struct ringlog_note notes[RINGLOG_NOTES])
{
    ssize_t n = pread(fd, notes, RINGLOG_NOTES * sizeof(notes[0]), NOTES_AT);

    if (n < 0)
        return -errno;
    return n == (ssize_t)(RINGLOG_NOTES * sizeof(notes[0])) ? 0 : -EPROTO;
}

static int write_at(int fd, const void *data, size_t len, off_t at)
{
    ssize_t n = pwrite(fd, data, len, at);

    return n < 0 ? -errno : (size_t)n == len ? 0 : -EIO;
}

int ringlog_note(int fd, const char *text)
{
    struct ringlog_note notes[RINGLOG_NOTES], note = {0};
    const uint64_t none = 0;
    struct timespec now = {0};
    uint64_t number = 0;
    int r = read_all(fd, notes);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < RINGLOG_NOTES; i++)
        if (notes[i].number > number && notes[i].number < UINT64_MAX)
            number = notes[i].number;
    number++;
    if (pread(fd, &note.pos, sizeof(note.pos), offsetof(struct ringlog_head, written)) != (ssize_t)sizeof(note.pos))
        return -EPROTO;
    clock_gettime(CLOCK_REALTIME, &now);
    note.real_ns = (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
    snprintf(note.text, sizeof(note.text), "%s", text);
    r = write_at(fd, &none, sizeof(none), place(number));
    if (r == 0)
        r = write_at(fd, &note, sizeof(note), place(number));
    return r < 0 ? r : write_at(fd, &number, sizeof(number), place(number));
}

static void clean(struct ringlog_note *note)
{
    note->text[sizeof(note->text) - 1] = '\0';
    for (char *p = note->text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
}

int ringlog_notes(int fd, uint64_t after, struct ringlog_note ret[RINGLOG_NOTES])
{
    struct ringlog_note notes[RINGLOG_NOTES];
    int n = 0, r = read_all(fd, notes);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < RINGLOG_NOTES; i++) {
        int at = n;

        if (notes[i].number <= after)
            continue;
        clean(&notes[i]);
        for (; at > 0 && ret[at - 1].number > notes[i].number; at--)
            ret[at] = ret[at - 1];
        ret[at] = notes[i];
        n++;
    }
    return n;
}
