/* needs.c: which files of a project name what a builder has to install. Their contents are the builder's business; here it matters whether they ask for anything at all. */
#include "project.h"

#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TEXT_BYTES_MAX (4U << 20)

static bool has_lines(const char *text)
{
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        const char *p = line + strspn(line, " \t\r");

        if (*p && *p != '\n' && *p != '#')
            return true;
    }
    return false;
}

static bool has_dependencies(const char *text)
{
    json_t *j cleanup_json = json_loads(text, 0, NULL);

    return !json_is_object(j) || json_object_size(json_object_get(j, "dependencies")) > 0; /* what is no JSON is the builder's to explain */
}

static const struct {
    const char *file;
    bool (*asks)(const char *text);
} files[] = {{"requirements.txt", has_lines}, {"package.json", has_dependencies}, {"Gemfile", has_lines}, {"packages", has_lines}};

/* Installed already, by whoever wrote it. */
static bool is_there(const struct project *p, const char *file)
{
    char path[sizeof(p->source.path) + 32];

    if (strcmp(file, "package.json") != 0)
        return false;
    snprintf(path, sizeof(path), "%s/node_modules/.", p->source.path);
    return access(path, X_OK) == 0;
}

/* Runtimes whose package is what it is: files of that name are content. */
static const char *const content_only[] = {"static"};

const char *needs_builder(const struct project *p)
{
    if (p->source.kind != SOURCE_DIRECTORY || !*p->facts.runtime)
        return NULL;
    for (size_t i = 0; i < CTL_COUNT(content_only); i++)
        if (strcmp(p->facts.runtime, content_only[i]) == 0)
            return NULL;
    for (size_t i = 0; i < CTL_COUNT(files); i++) {
        cleanup_fd int fd = beneath_file(p->source.path, p->source.said, files[i].file);
        cleanup_free char *text = NULL;

        if (fd >= 0 && fd_read_all(fd, TEXT_BYTES_MAX, &text) > 0 && files[i].asks(text) && !is_there(p, files[i].file))
            return files[i].file;
    }
    return NULL;
}
