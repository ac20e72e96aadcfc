/* plan_format.c: a plan for people, and for golden files: the same text on every machine of one architecture. */
#include "sandbox_private.h"

#include "allow.h"
#include "fninit.h"
#include "str.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>

static const struct {
    unsigned long flag;
    const char *name;
} flag_names[] = {
    {MS_REMOUNT, "remount"}, {MS_RDONLY, "ro"}, {MS_NOSUID, "nosuid"}, {MS_NODEV, "nodev"}, {MS_NOEXEC, "noexec"},
};

static void format_flags(uint64_t flags, struct strbuf *out)
{
    const char *separator = "";

    for (size_t i = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++)
        if (flags & flag_names[i].flag) {
            strbuf_printf(out, "%s%s", separator, flag_names[i].name);
            separator = ",";
        }
}

/* Strings come from a stranger's configuration and are printed on terminals. */
static void format_string(const char *s, struct strbuf *out)
{
    if (!s || !*s)
        strbuf_puts(out, "-");
    for (; s && *s; s++) {
        if (*s == '\n')
            strbuf_puts(out, "\\n");
        else if (*s == '\t')
            strbuf_puts(out, "\\t");
        else if ((unsigned char)*s < 0x20 || *s == 0x7f)
            strbuf_printf(out, "\\x%02x", (unsigned)(unsigned char)*s);
        else
            strbuf_add(out, s, 1);
    }
}

static void format_field(const struct plan *p, const struct plan_step *s, char kind, unsigned index, struct strbuf *out)
{
    switch (kind) {
    case 's':
        format_string(plan_str(p, s->str[index]), out);
        break;
    case 'd':
        strbuf_printf(out, "%llu", (unsigned long long)s->num[index]);
        break;
    case 'o':
        strbuf_printf(out, "%04llo", (unsigned long long)s->num[index]);
        break;
    default:
        format_flags(s->num[index], out);
        break;
    }
}

static void format_step(const struct plan *p, const struct plan_step *s, struct strbuf *out)
{
    const struct plan_op_info *info = plan_op_info(s->op);

    strbuf_printf(out, "  %-12s ", info->name);
    for (const char *f = info->form; *f; f++) {
        if (*f != '{') {
            strbuf_add(out, f, 1);
            continue;
        }
        format_field(p, s, f[1], (unsigned)(f[2] - '0'), out);
        f += 3;
    }
    while (out->len > 0 && out->data && out->data[out->len - 1] == ' ')
        out->data[--out->len] = '\0';
    strbuf_puts(out, "\n");
}

static void format_steps(const struct plan *p, struct strbuf *out)
{
    for (uint32_t i = 0; i < p->nsteps; i++)
        format_step(p, &p->steps[i], out);
}

static void format_strings(const struct plan *p, uint32_t offset, uint32_t count, size_t skip, struct strbuf *out)
{
    const char *s = plan_str(p, offset);

    for (uint32_t i = 0; i < count; i++, s += strlen(s) + 1) {
        strbuf_puts(out, "  ");
        format_string(s + skip, out);
        strbuf_puts(out, "\n");
    }
}

static void format_allowed(uint64_t allow, struct strbuf *out)
{
    strbuf_puts(out, "allowed beyond the default\n");
    if (!(allow & ALLOW_ALL))
        strbuf_puts(out, "  nothing\n");
    for (int i = 0; i < ALLOW_COUNT; i++)
        if (allow & ALLOW_BIT(i))
            strbuf_printf(out, "  %-13s %s; price: %s\n", sandbox_allow_words[i].word, sandbox_allow_words[i].opens, sandbox_allow_words[i].price);
}

static void format_calls(uint64_t allow, struct strbuf *out)
{
    const struct syscall_count count = sandbox_filter_count(allow);

    strbuf_printf(out, "system calls: %u of %u, and %u more for fn-init alone\n", count.function, count.known, count.allowed - count.function);
    for (size_t i = 0; i < syscall_groups_count; i++) {
        const struct syscall_group *g = &syscall_groups[i];

        strbuf_printf(out, "  %-6s %s: %s: %s\n", syscall_group_allowed(g, allow) ? "allow" : strerrorname_np(g->err), g->name, g->reason, g->names);
    }
    for (size_t i = 0; i < syscall_rules_count; i++)
        if (syscall_rule_holds(&syscall_rules[i], allow))
            strbuf_printf(out, "  %-6s %s: %s\n", strerrorname_np(syscall_rules[i].err), syscall_rules[i].call, syscall_rules[i].reason);
    strbuf_puts(out, "  ENOSYS every other number\n  KILL   other architectures and x32\n");
}

void plan_format(const struct plan *p, struct strbuf *out)
{
    struct plan *park = NULL;

    strbuf_puts(out, "parked ahead of time\n");
    if (plan_park(&park, NULL) < 0) {
        out->failed = true;
        return;
    }
    format_steps(park, out);
    plan_free(park);
    strbuf_puts(out, "start\n");
    format_steps(p, out);
    strbuf_printf(out, "ids\n  inside 0-%u outside %u-%u\n  fn-init %u:%u outside %u\n  function %u:%u outside %u:%u\n", SANDBOX_IDS - 1, p->uid_base,
                  p->uid_base + SANDBOX_IDS - 1, SANDBOX_INIT_ID, SANDBOX_INIT_ID, p->uid_base + SANDBOX_INIT_ID, p->uid, p->gid, p->uid_base + p->uid,
                  p->uid_base + p->gid);
    strbuf_puts(out, "arguments\n");
    format_strings(p, p->argv, p->argc, 0, out);
    strbuf_puts(out, "environment\n");
    format_strings(p, p->env, p->envc, strlen(FN_INIT_ENV_PREFIX), out);
    strbuf_puts(out, "capabilities of the function\n  none: inheritable, permitted, effective, bounding and ambient sets are empty\n");
    format_allowed(p->allow, out);
    format_calls(p->allow, out);
}
