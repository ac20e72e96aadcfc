/* progress.c: a bar on standard error while bytes go somewhere; nothing where that is no terminal. */
#include "project.h"

#include "clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BAR_CELLS 32
#define STEP_NS   (100 * NS_PER_MS)

void progress_begin(struct progress *p, const char *what)
{
    *p = (struct progress){.what = what, .on = isatty(STDERR_FILENO) == 1};
}

void progress_bytes(void *arg, uint64_t done, uint64_t total)
{
    struct progress *p = arg;
    uint64_t now = clock_mono_ns();
    unsigned part = total ? (unsigned)(done * 100 / total) : 100;
    char size[TEXT_MAX], bar[BAR_CELLS + 1];

    if (!p->on || (p->shown && done < total && now - p->last_ns < STEP_NS))
        return;
    part = part > 100 ? 100 : part; /* a file that grows */
    memset(bar, '.', BAR_CELLS);
    memset(bar, '#', (size_t)part * BAR_CELLS / 100);
    bar[BAR_CELLS] = '\0';
    fprintf(stderr, "\r%-10s [%s] %3u%% %8s", p->what, bar, part, ctl_text_size(done, size));
    p->shown = true;
    p->last_ns = now;
    if (done >= total) /* what comes next has the line to itself */
        progress_end(p);
    fflush(stderr);
}

void progress_end(struct progress *p)
{
    if (p->shown)
        fprintf(stderr, "\r\033[K");
    p->shown = false;
}
