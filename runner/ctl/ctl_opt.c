/*
 * ctl_opt.c: one interpreter for all option tables. Knows no option and no verb.
 */
#include "ctl.h"
#include "fd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int ctl_list_add(struct text_list *l, const char *item)
{
    const char **grown = realloc(l->items, (l->count + 1) * sizeof(*grown));

    if (!grown)
        return -ENOMEM;
    l->items = grown;
    l->items[l->count++] = item;
    return 0;
}

void ctl_list_done(struct text_list *l)
{
    free(l->items);
    *l = (struct text_list){0};
}

void ctl_options_done(struct options *o)
{
    free(o->request_text);
    ctl_list_done(&o->vars);
    ctl_list_done(&o->sets);
    ctl_list_done(&o->secrets);
    ctl_list_done(&o->headers);
}

static const struct opt_def *find_long(const struct opt_def *const *tables, const char *name, size_t len)
{
    for (; *tables; tables++)
        for (const struct opt_def *def = *tables; def->long_name; def++)
            if (strlen(def->long_name) == len && memcmp(def->long_name, name, len) == 0)
                return def;
    return NULL;
}

static const struct opt_def *find_short(const struct opt_def *const *tables, char name)
{
    for (; *tables; tables++)
        for (const struct opt_def *def = *tables; def->long_name; def++)
            if (def->short_name && def->short_name == name)
                return def;
    return NULL;
}

static int set_number(const struct opt_def *def, struct opt_number *field, const char *value, struct diag *d)
{
    uint64_t v = 0;
    int r = str_parse_uint(value, def->max, &v);

    if (r < 0 || v < def->min)
        return diag_set(d, EINVAL, "--%s %.80s: a number from %llu to %llu is needed", def->long_name, value, (unsigned long long)def->min,
                        (unsigned long long)def->max);
    *field = (struct opt_number){true, v};
    return 0;
}

static int set_value(const struct opt_def *def, struct options *o, const char *value, struct diag *d)
{
    void *field = (char *)o + def->offset;

    switch (def->kind) {
    case OPT_FLAG:
        *(bool *)field = true;
        return 0;
    case OPT_TEXT:
        *(const char **)field = value;
        return 0;
    case OPT_LIST:
        return ctl_list_add(field, value) < 0 ? diag_set(d, ENOMEM, "out of memory") : 0;
    case OPT_NUMBER:
        return set_number(def, field, value, d);
    }
    return -EINVAL;
}

/* A value is what follows directly, or the next element. Returns how many elements the option took. */
static int take_value(const struct opt_def *def, const char *attached, int argc, char **argv, struct options *o, struct diag *d)
{
    int r, used = 1;

    if (!attached) {
        if (argc < 2)
            return diag_set(d, EINVAL, "--%s needs a value (%s)", def->long_name, def->arg);
        attached = argv[1];
        used = 2;
    }
    r = set_value(def, o, attached, d);
    return r < 0 ? r : used;
}

static int parse_long(const struct opt_def *const *tables, int argc, char **argv, struct options *o, struct diag *d)
{
    const char *name = argv[0] + 2;
    size_t len = strcspn(name, "=");
    const struct opt_def *def = find_long(tables, name, len);

    if (!def)
        return diag_set(d, EINVAL, "unknown option --%.*s", (int)(len > 80 ? 80 : len), name);
    if (def->kind != OPT_FLAG)
        return take_value(def, name[len] ? name + len + 1 : NULL, argc, argv, o, d);
    if (name[len])
        return diag_set(d, EINVAL, "--%s takes no value", def->long_name);
    set_value(def, o, NULL, d);
    return 1;
}

static int parse_short(const struct opt_def *const *tables, int argc, char **argv, struct options *o, struct diag *d)
{
    for (const char *p = argv[0] + 1; *p; p++) {
        const struct opt_def *def = find_short(tables, *p);

        if (!def)
            return diag_set(d, EINVAL, "unknown option -%c", (unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f ? '?' : *p);
        if (def->kind != OPT_FLAG)
            return take_value(def, p[1] ? p + 1 : NULL, argc, argv, o, d);
        set_value(def, o, NULL, d);
    }
    return 1;
}

int ctl_opt_parse(const struct opt_def *const *tables, int argc, char **argv, bool stop_at_arg, struct options *o, struct text_list *args, struct diag *d)
{
    bool only_args = false;
    int i = 0;

    while (i < argc) {
        const char *a = argv[i];
        int used = 1;

        if (only_args || a[0] != '-' || !a[1]) { /* "-" alone is an argument */
            if (stop_at_arg)
                return i;
            if (ctl_list_add(args, a) < 0)
                return diag_set(d, ENOMEM, "out of memory");
        } else if (strcmp(a, "--") == 0) {
            only_args = true;
        } else {
            used = a[1] == '-' ? parse_long(tables, argc - i, argv + i, o, d) : parse_short(tables, argc - i, argv + i, o, d);
        }
        if (used < 0)
            return used;
        i += used;
    }
    return i;
}

void ctl_opt_print(const struct opt_def *table)
{
    for (const struct opt_def *def = table; def->long_name; def++) {
        char left[64], letter[8] = "    ";

        if (def->short_name)
            snprintf(letter, sizeof(letter), "-%c, ", def->short_name);
        snprintf(left, sizeof(left), "%s--%s%s%s", letter, def->long_name, def->arg ? " " : "", def->arg ? def->arg : "");
        printf("  %-26s %s\n", left, def->help);
    }
}
