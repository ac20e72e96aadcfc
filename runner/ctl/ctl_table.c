/* ctl_table.c: rows and columns. Cells may hold foreign text: control characters are replaced, and a newline is one of them here. */
#include "ctl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_COLUMNS 16

void ctl_table_init(struct table *t, const char *const *heads, unsigned columns)
{
    *t = (struct table){.heads = heads, .columns = columns < TABLE_COLUMNS ? columns : TABLE_COLUMNS};
}

void ctl_table_done(struct table *t)
{
    for (unsigned i = 0; i < t->count; i++)
        free(t->cells[i]);
    free(t->cells);
    *t = (struct table){0};
}

void ctl_table_cell(struct table *t, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    int n;

    if (t->count == t->room) {
        unsigned room = t->room ? t->room * 2 : 64;
        char **grown = realloc(t->cells, room * sizeof(*grown));

        if (!grown) {
            t->failed = true;
            return;
        }
        t->cells = grown;
        t->room = room;
    }
    va_start(ap, fmt);
    n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0) {
        t->failed = true;
        return;
    }
    ctl_text_clean(text);
    for (char *p = strpbrk(text, "\n\t"); p; p = strpbrk(p, "\n\t"))
        *p = ' ';
    t->cells[t->count++] = text;
}

static const char *head_text(const char *head)
{
    return *head == '>' ? head + 1 : head;
}

static void format_cell(struct strbuf *out, const char *text, unsigned width, bool right, bool last)
{
    unsigned pad = width - ctl_text_width(text);

    if (right)
        strbuf_printf(out, "%*s", (int)pad, "");
    strbuf_puts(out, text);
    if (!last)
        strbuf_printf(out, "%*s", (int)(right ? 2 : pad + 2), "");
}

void ctl_table_format(const struct table *t, struct strbuf *out)
{
    unsigned widths[TABLE_COLUMNS] = {0};

    for (unsigned c = 0; c < t->columns; c++)
        widths[c] = ctl_text_width(head_text(t->heads[c]));
    for (unsigned i = 0, c = 0; i < t->count; i++, c = c + 1 < t->columns ? c + 1 : 0)
        if (ctl_text_width(t->cells[i]) > widths[c])
            widths[c] = ctl_text_width(t->cells[i]);
    for (unsigned c = 0; c < t->columns; c++)
        format_cell(out, head_text(t->heads[c]), widths[c], *t->heads[c] == '>', c + 1 == t->columns);
    strbuf_puts(out, "\n");
    for (unsigned i = 0, c = 0; i < t->count; i++, c = c + 1 < t->columns ? c + 1 : 0) {
        format_cell(out, t->cells[i], widths[c], *t->heads[c] == '>', c + 1 == t->columns);
        if (c + 1 == t->columns)
            strbuf_puts(out, "\n");
    }
    out->failed = out->failed || t->failed;
}
