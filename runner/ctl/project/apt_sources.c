/*
 * apt_sources.c: the apt sources that the user of this host has configured, as lines for a builder, which has none of its own. Those of this host's release only, as awk and grep choose them in rootfs/build-runtime;
 * and not what is signed by a key of somebody else's, which a builder does not have: one such source would fail all of its update.
 */
#include "project.h"

#include "fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYRING    "/usr/share/keyrings/debian-archive-keyring."
#define LIST_MAX   (1U << 20)
#define FIELD_MAX  512
#define SOURCE_MAX 99

struct sources {
    char codename[64];
    struct strbuf *out;
    size_t line_max;
    unsigned count;
};

static char *read_text(const char *path)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    char *text = NULL;

    return fd >= 0 && fd_read_all(fd, LIST_MAX, &text) > 0 ? text : (free(text), NULL);
}

static const char *next_line(const char *line)
{
    line += strcspn(line, "\n");
    return line + (*line == '\n');
}

/* A part of a value, without quotes and what is around it, behind a blank where there is something already. */
static int add_part(const char *part, char *buf, size_t size)
{
    size_t have = strlen(buf), n;

    part += strspn(part, " \t\"");
    n = strcspn(part, "\r\n\"");
    while (n > 0 && strchr(" \t", part[n - 1]))
        n--;
    if (n == 0)
        return 0;
    return snprintf(buf + have, size - have, "%s%.*s", have ? " " : "", (int)n, part) >= (int)(size - have) ? -E2BIG : 0;
}

/* The value of the line "key<by>VALUE" of text. In deb822 (by ':') it goes on in lines that begin with a blank, between which there may be comments. 1, 0: there is none, or -E2BIG. */
static int field(const char *text, const char *key, char by, char *buf, size_t size)
{
    size_t n = strlen(key);
    int r;

    buf[0] = '\0';
    for (const char *line = text; *line; line = next_line(line)) {
        if (strncasecmp(line, key, n) != 0 || line[n] != by)
            continue;
        r = add_part(line + n + 1, buf, size);
        for (line = next_line(line); r == 0 && by == ':' && *line && strchr(" \t#", *line); line = next_line(line))
            if (*line != '#')
                r = add_part(line, buf, size);
        return r < 0 ? r : 1;
    }
    return 0;
}

static bool is_ours(const struct sources *s, const char *suite)
{
    static const char *const behind[] = {"", "-updates", "-security", "/updates"};
    size_t n = strlen(s->codename);

    if (n == 0 || strncmp(suite, s->codename, n) != 0)
        return false;
    for (size_t i = 0; i < CTL_COUNT(behind); i++)
        if (strcmp(suite + n, behind[i]) == 0)
            return true;
    return false;
}

/* signed_by: up to a blank or a bracket. */
static bool is_known_key(const char *signed_by)
{
    return strncmp(signed_by, KEYRING, strlen(KEYRING)) == 0;
}

/* Keyrings, or a key itself. */
static bool are_known_keys(char *signed_by)
{
    bool known = true;

    for (char *next, *word = strtok_r(signed_by, " \t,", &next); word; word = strtok_r(NULL, " \t,", &next))
        known &= is_known_key(word);
    return known;
}

static void add(struct sources *s, const char *line)
{
    if (s->count < SOURCE_MAX && strlen(line) + sizeof(APT_SOURCE_VARIABLE "00=") <= s->line_max && !strstr(line, " ;"))
        strbuf_printf(s->out, APT_SOURCE_VARIABLE "%02u=%s\n", ++s->count, line);
}

/* deb [options] URI SUITE COMPONENT... */
static void read_list(struct sources *s, char *text)
{
    char *next, *line = strtok_r(text, "\n", &next);

    for (; line; line = strtok_r(NULL, "\n", &next)) {
        const char *p = line + strspn(line, " \t");
        char suite[FIELD_MAX];

        line[strcspn(line, "#\r")] = '\0';
        for (size_t n = strlen(line); n > 0 && strchr(" \t", line[n - 1]); n--)
            line[n - 1] = '\0';
        if (strncmp(p, "deb", 3) != 0 || (p[3] != ' ' && p[3] != '\t'))
            continue;
        p += 3 + strspn(p + 3, " \t");
        if (*p == '[') {
            const char *key = strcasestr(p, "signed-by="), *end = p + strcspn(p, "]");

            if (key && key < end && !is_known_key(key + strlen("signed-by=")))
                continue;
            p = end + (*end == ']');
        }
        if (sscanf(p, "%*s %511s", suite) == 1 && is_ours(s, suite))
            add(s, line + strspn(line, " \t"));
    }
}

/* As apt has it (StringToBool). */
static bool is_no(const char *word)
{
    static const char *const words[] = {"no", "false", "without", "off", "disable", "0"};

    for (size_t i = 0; i < CTL_COUNT(words); i++)
        if (strcasecmp(word, words[i]) == 0)
            return true;
    return false;
}

/* Not only sources. */
static bool are_packages(char *types)
{
    bool found = false;

    for (char *next, *word = strtok_r(types, " \t", &next); word; word = strtok_r(NULL, " \t", &next))
        found |= strcmp(word, "deb") == 0;
    return found;
}

/* One stanza of deb822: a line for each URI and suite. */
static void read_stanza(struct sources *s, const char *text)
{
    char types[FIELD_MAX], uris[FIELD_MAX], suites[FIELD_MAX], components[FIELD_MAX], word[FIELD_MAX], line[2 * FIELD_MAX];
    int r;

    if (field(text, "Types", ':', types, sizeof(types)) <= 0 || field(text, "URIs", ':', uris, sizeof(uris)) <= 0 ||
        field(text, "Suites", ':', suites, sizeof(suites)) <= 0 || field(text, "Components", ':', components, sizeof(components)) <= 0)
        return;
    if ((field(text, "Enabled", ':', word, sizeof(word)) > 0 && is_no(word)) || !are_packages(types))
        return;
    r = field(text, "Signed-By", ':', word, sizeof(word));
    if (r < 0 || (r > 0 && !are_known_keys(word))) /* too long: a key itself */
        return;
    for (char *next_uri, *uri = strtok_r(uris, " \t", &next_uri); uri; uri = strtok_r(NULL, " \t", &next_uri)) {
        char copy[FIELD_MAX];

        memcpy(copy, suites, sizeof(copy));
        for (char *next, *suite = strtok_r(copy, " \t", &next); suite; suite = strtok_r(NULL, " \t", &next)) {
            int n = snprintf(line, sizeof(line), "deb %s %s %s", uri, suite, components);

            if (is_ours(s, suite) && n > 0 && (size_t)n < sizeof(line))
                add(s, line);
        }
    }
}

/* Each ends at an empty line. */
static void read_stanzas(struct sources *s, char *text)
{
    char *begin = text, *line = text;

    while (*line) {
        char *next = line + strcspn(line, "\n");

        next += *next == '\n';
        if (line[strspn(line, "\r")] == '\n') {
            *line = '\0';
            read_stanza(s, begin);
            begin = next;
        }
        line = next;
    }
    read_stanza(s, begin);
}

static void read_file(struct sources *s, const char *path)
{
    cleanup_free char *text = read_text(path);
    size_t n = strlen(path);

    if (text && n > 8 && strcmp(path + n - 8, ".sources") == 0)
        read_stanzas(s, text);
    else if (text && n > 5 && strcmp(path + n - 5, ".list") == 0)
        read_list(s, text);
}

int apt_sources_in(const char *etc, const char *os_release, struct strbuf *out, size_t line_max, struct diag *d)
{
    struct sources s = {.out = out, .line_max = line_max};
    cleanup_free char *release = read_text(os_release);
    struct dirent **names = NULL;
    char path[PATH_MAX];
    int n;

    if (!release || field(release, "VERSION_CODENAME", '=', s.codename, sizeof(s.codename)) <= 0)
        return 0;
    snprintf(path, sizeof(path), "%s/sources.list", etc);
    read_file(&s, path);
    snprintf(path, sizeof(path), "%s/sources.list.d", etc);
    n = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "%s/sources.list.d/%s", etc, names[i]->d_name);
        read_file(&s, path);
        free(names[i]);
    }
    free(names);
    return out->failed ? diag_set(d, ENOMEM, "out of memory") : 0;
}

int apt_sources(struct strbuf *out, size_t line_max, struct diag *d)
{
    return apt_sources_in("/etc/apt", "/etc/os-release", out, line_max, d);
}
