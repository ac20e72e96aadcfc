/* What of a directory becomes a package: .fndignore, uniform bytes, another function.ini; templates. */
#include "check.h"

#include "../../runner/ctl/project/project.h"
#include "fd.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[64], origin[4096];

static int setup(void **state)
{
    snprintf(top, sizeof(top), "/tmp/fnd-test-project-XXXXXX");
    return !getcwd(origin, sizeof(origin)) || !mkdtemp(top) || chdir(top) < 0;
}

static int teardown(void **state)
{
    return chdir(origin) < 0 || fd_remove_tree(AT_FDCWD, top) < 0;
}

static void put(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
    assert_int_equal(fchmod(fd, mode), 0);
    fd_close(fd);
}

/* ---- .fndignore ---- */

static bool ignored(const char *rules, const char *path, bool directory)
{
    struct ignore *g = NULL;
    struct diag d = {0};
    bool r;

    if (ignore_parse("x", rules, false, &g, &d) < 0)
        fail_msg("%s", d.text);
    r = ignore_match(g, path, directory);
    ignore_free(g);
    return r;
}

static void test_patterns(void **state)
{
    static const struct {
        const char *rules, *path;
        bool directory, ignored;
    } rows[] = {
        {"*.o\n", "a.o", false, true},
        {"*.o\n", "deep/er/a.o", false, true},
        {"*.o\n", "a.oo", false, false},
        {"/a\n", "a", false, true},
        {"/a\n", "b/a", false, false},
        {"doc/x\n", "doc/x", false, true},
        {"doc/x\n", "b/doc/x", false, false},
        {"doc/*\n", "doc/x", false, true},
        {"doc/*\n", "doc/x/y", false, false},
        {"tmp/\n", "tmp", true, true},
        {"tmp/\n", "tmp", false, false},
        {"tmp/\n", "b/tmp", true, true},
        {"a?c\n", "abc", false, true},
        {"a?c\n", "a/c", false, false},
        {"[a-c]x\n", "bx", false, true},
        {"[a-c]x\n", "dx", false, false},
        {"**/x\n", "x", false, true},
        {"**/x\n", "a/b/x", false, true},
        {"a/**\n", "a/b/c", false, true},
        {"a/**\n", "a", true, false},
        {"a/**/z\n", "a/z", false, true},
        {"a/**/z\n", "a/b/c/z", false, true},
        {"a/**/z\n", "b/a/z", false, false},
        {"*\n!keep\n", "keep", false, false},
        {"*\n!keep\n", "other", false, true},
        {"!keep\n*\n", "keep", false, true},
        {"# *\n\n  \n", "x", false, false},
        {"\\#x\n", "#x", false, true},
        {"\\!x\n", "!x", false, true},
        {"a.txt  \r\n", "a.txt", false, true},
        {"x", "x", false, true}, /* no newline at the end */
        {"", "x", false, false},
    };

    for (size_t i = 0; i < COUNT(rows); i++)
        if (ignored(rows[i].rules, rows[i].path, rows[i].directory) != rows[i].ignored)
            fail_msg("%s against %s", rows[i].rules, rows[i].path);
}

static void test_bad_patterns(void **state)
{
    static const struct {
        const char *rules, *message;
    } rows[] = {
        {"a\n../b\n", "x:2: \"../b\": a pattern cannot leave the directory"},
        {"a/../b\n", "x:1: \"a/../b\": a pattern cannot leave the directory"},
        {"\n/\n", "x:2: \"\" names nothing: a pattern is a name or a path below the directory"},
        {"a//b\n", "x:1: \"a//b\" names nothing: a pattern is a name or a path below the directory"},
        {"**/a/**/b/**/c\n", "x:1: \"**/a/**/b/**/c\": at most 2 ** in one pattern"},
    };
    char *line = malloc(300);

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct ignore *g = NULL;
        struct diag d = {0};

        assert_int_equal(ignore_parse("x", rows[i].rules, false, &g, &d), -EINVAL);
        assert_string_equal(d.text, rows[i].message);
    }
    assert_non_null(line);
    memset(line, 'a', 299);
    line[299] = '\0';
    assert_int_equal(ignore_parse("x", line, false, &(struct ignore *){NULL}, &(struct diag){0}), -EINVAL);
    free(line);
}

/* Whatever the bytes: an answer, soon. */
static void test_garbage(void **state)
{
    static const char alphabet[] = "*?[]!/\\.#a \n";
    unsigned seed = 1;

    for (unsigned round = 0; round < 3000; round++) {
        char text[65];
        struct ignore *g = NULL;

        for (unsigned i = 0; i < 64; i++) {
            seed = seed * 1103515245 + 12345;
            text[i] = alphabet[(seed >> 16) % (sizeof(alphabet) - 1)];
        }
        text[64] = '\0';
        if (ignore_parse("x", text, true, &g, NULL) == 0) {
            ignore_match(g, "a/.git/aa/a", false);
            ignore_match(g, ".git", true);
        }
        ignore_free(g);
    }
}

/* What is never wanted of code; lines can take it back. Of what is a root filesystem, all is wanted. */
static void test_of_code(void **state)
{
    static const struct {
        const char *path;
        bool directory;
    } rows[] = {{".git", true}, {"sub/.hg", true}, {".svn", true}, {"a/__pycache__", true}, {"m.pyc", false}, {".DS_Store", false}, {IGNORE_FILE, false}};
    struct ignore *g = NULL, *root = NULL, *back = NULL;

    assert_int_equal(
        ignore_parse("x", "", true, &g, NULL) | ignore_parse("x", "", false, &root, NULL) | ignore_parse("x", "!*.pyc\n!.git/\n", true, &back, NULL), 0);
    for (size_t i = 0; i < COUNT(rows); i++)
        if (!ignore_match(g, rows[i].path, rows[i].directory) || ignore_match(root, rows[i].path, rows[i].directory))
            fail_msg("%s", rows[i].path);
    assert_false(ignore_match(back, "m.pyc", false));
    assert_false(ignore_match(back, ".git", true));
    assert_false(ignore_match(g, ".git", false)); /* of a work tree elsewhere: a file */
    ignore_free(g);
    ignore_free(root);
    ignore_free(back);
}

static const struct source ign = {.kind = SOURCE_DIRECTORY, .path = "ign"};

static void refuse_file(int err, const char *message)
{
    struct ignore *g = NULL;
    struct diag d = {0};

    assert_int_equal(ignore_read(&ign, false, &g, &d), -err);
    assert_string_equal(d.text, message);
    assert_int_equal(unlink("ign/.fndignore"), 0);
}

static void test_files_that_are_no_rules(void **state)
{
    struct strbuf many cleanup_strbuf = {0};
    int fd;

    assert_int_equal(mkdir("ign", 0755), 0);
    fd = open("ign/.fndignore", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(fd_write_all(fd, "a\0b\n", 4), 0);
    fd_close(fd);
    refuse_file(EINVAL, "ign/.fndignore: is no text");
    fd = open("ign/.fndignore", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(ftruncate(fd, 65537), 0);
    fd_close(fd);
    refuse_file(EFBIG, "ign/.fndignore: is larger than 65536 bytes");
    assert_int_equal(symlink(".fndignore", "ign/.fndignore"), 0);
    refuse_file(ELOOP, "ign/.fndignore: Too many levels of symbolic links");
    for (unsigned i = 0; i < 513; i++)
        strbuf_puts(&many, "a\n");
    put("ign/.fndignore", many.data, 0644);
    refuse_file(E2BIG, "ign/.fndignore:513: more than 512 patterns");
    assert_int_equal(mkfifo("ign/.fndignore", 0644), 0);
    alarm(30); /* one that waits for somebody who writes ends here */
    refuse_file(EINVAL, "ign/.fndignore: is no file");
    alarm(0);
}

/* ---- packing ---- */

static void read_names(struct body *b, struct strbuf *out, struct strbuf *tar)
{
    struct archive *a = archive_read_new();
    struct archive_entry *e;
    char buf[777];
    ssize_t n;

    while ((n = b->read(b, buf, sizeof(buf))) > 0)
        strbuf_add(tar, buf, (size_t)n);
    assert_int_equal(n, 0);
    ctl_body_done(b);
    archive_read_support_format_tar(a);
    assert_int_equal(archive_read_open_memory(a, tar->data, tar->len), ARCHIVE_OK);
    while (archive_read_next_header(a, &e) == ARCHIVE_OK) {
        char text[64] = "";

        if (archive_entry_filetype(e) == AE_IFREG)
            archive_read_data(a, text, sizeof(text) - 1);
        strbuf_printf(out, "%o %d %s %s\n", (unsigned)archive_entry_perm(e), (int)archive_entry_uid(e), archive_entry_pathname(e), text);
    }
    archive_read_free(a);
}

static void names(const char *dir, const struct pack_options *o, struct strbuf *out, struct strbuf *tar)
{
    struct diag d = {0};
    struct body b;

    if (ctl_pack_with(&b, dir, o, &d) < 0)
        fail_msg("%s", d.text);
    read_names(&b, out, tar);
}

static void test_pack_options(void **state)
{
    const struct source p = {.kind = SOURCE_DIRECTORY, .path = "p"};
    struct strbuf text cleanup_strbuf = {0}, tar cleanup_strbuf = {0}, again cleanup_strbuf = {0}, unused cleanup_strbuf = {0};
    struct ignore *g = NULL;
    struct stat skip;

    assert_int_equal(mkdir("p", 0700) | mkdir("p/.git", 0755) | mkdir("p/lib", 0700), 0);
    put("p/.git/config", "x", 0644);
    put("p/function.ini", "theirs", 0644);
    put("p/.fndignore", "*.md\nfunction.ini\n", 0644);
    put("p/README.md", "x", 0644);
    put("p/a.py", "a", 0640);
    put("p/run", "r", 0700);
    put("p/lib/b", "b", 0600);
    put("p/out.tar.gz", "o", 0644);
    put("p/Z", "z", 0604);
    assert_int_equal(symlink("a.py", "p/link"), 0);
    assert_int_equal(stat("p/out.tar.gz", &skip), 0);
    assert_int_equal(ignore_read(&p, true, &g, NULL), 0);
    names("p", &(struct pack_options){.ignore = g, .ini = "ours", .uniform = true, .skip = &skip, .nskip = 1}, &text, &tar);
    assert_string_equal(
        text.data,
        "644 0 function.ini ours\n644 0 Z z\n644 0 a.py a\n755 0 lib/ \n644 0 lib/b b\n777 0 link \n755 0 run r\n"); /* by their bytes, whatever the locale */

    /* function.ini is never ignored; without `code` the rest is as it stands */
    text.len = tar.len = 0;
    ignore_free(g);
    assert_int_equal(ignore_read(&p, false, &g, NULL), 0);
    names("p", &(struct pack_options){.ignore = g}, &text, &tar);
    assert_non_null(strstr(text.data, ".git/config x\n"));
    assert_non_null(strstr(text.data, "644 0 function.ini theirs\n"));
    assert_non_null(strstr(text.data, "640 0 a.py a\n"));
    assert_null(strstr(text.data, "README"));

    /* uniform: what a umask changes does not show */
    tar.len = 0;
    names("p", &(struct pack_options){.ignore = g, .uniform = true}, &unused, &tar);
    assert_int_equal(chmod("p/a.py", 0664) | chmod("p/lib", 0775) | chmod("p/run", 0777), 0);
    names("p", &(struct pack_options){.ignore = g, .uniform = true}, &unused, &again);
    assert_int_equal(tar.len, again.len);
    assert_memory_equal(tar.data, again.data, tar.len);
    ignore_free(g);
}

static void add_up(void *arg, uint64_t done, uint64_t total)
{
    uint64_t *seen = arg;

    assert_true(done > seen[0] && done <= total);
    seen[0] = done;
    seen[1] = total;
}

static void test_pack_progress(void **state)
{
    struct strbuf text cleanup_strbuf = {0}, tar cleanup_strbuf = {0};
    uint64_t seen[2] = {0, 0};

    assert_int_equal(mkdir("q", 0755), 0);
    put("q/a", "12345", 0644);
    put("q/b", "1234567", 0644);
    names("q", &(struct pack_options){.on_bytes = add_up, .arg = seen}, &text, &tar);
    assert_int_equal(seen[0], 12);
    assert_int_equal(seen[1], 12);
}

/* ---- templates ---- */

static void assert_file(const char *path, const char *text)
{
    char buf[256];

    assert_true(fd_read_file(AT_FDCWD, path, buf, sizeof(buf)) >= 0);
    assert_string_equal(buf, text);
}

static void test_template(void **state)
{
    struct diag d = {0};
    struct stat st;

    assert_int_equal(mkdir("t", 0755) | mkdir("t/sub", 0755), 0);
    put("t/function.ini", "name = @NAME@ @NAME@\n@NAME", 0644);
    put("t/sub/run", "", 0755);
    assert_int_equal(template_copy("t", "made", "greet", &d), 0);
    assert_file("made/function.ini", "name = greet greet\n@NAME");
    assert_file("made/sub/run", "");
    assert_int_equal(stat("made/sub/run", &st), 0);
    assert_true(st.st_mode & 0100);
    assert_int_equal(stat("made/function.ini", &st), 0);
    assert_false(st.st_mode & 0111);

    put("made/function.ini", "mine", 0644);
    assert_int_equal(template_copy("t", "made", "other", &d), -EEXIST);
    assert_file("made/function.ini", "mine");
}

/* What cannot be copied leaves nothing. */
static void test_template_that_fails(void **state)
{
    struct diag d = {0};

    assert_int_equal(mkdir("u", 0755), 0);
    put("u/a", "x", 0644);
    assert_int_equal(symlink("/etc/passwd", "u/link"), 0);
    assert_int_equal(template_copy("u", "half", "half", &d), -EINVAL);
    assert_non_null(strstr(d.text, "link: a template consists of files and directories"));
    assert_int_equal(access("half", F_OK), -1);
    assert_int_equal(template_copy("nowhere", "half", "half", &d), -ENOENT);
    assert_int_equal(mkdir("deep", 0755) | chdir("deep"), 0);
    for (unsigned i = 0; i < 18; i++)
        assert_int_equal(mkdir("d", 0755) | chdir("d"), 0);
    assert_int_equal(chdir(top), 0);
    assert_int_equal(template_copy("deep", "half", "half", &d), -EINVAL);
    assert_non_null(strstr(d.text, "nested up to 16 deep"));
    assert_int_equal(access("half", F_OK), -1);
}

/* ---- function.ini, looked at from outside of the jail ---- */

static int load(const char *ini, bool check, struct project *p, struct diag *d)
{
    struct source s = {.kind = SOURCE_DIRECTORY, .path = "proj"};

    mkdir("proj", 0755);
    if (ini)
        put("proj/function.ini", ini, 0644);
    else
        unlink("proj/function.ini");
    return project_load(&s, check ? PROJECT_CHECKED : PROJECT_UNCHECKED, NULL, p, d);
}

static void test_project(void **state)
{
    struct project p;
    struct diag d = {0};

    assert_int_equal(load("[function]\nname = a\ncommand = /x\n", true, &p, &d), 0);
    assert_string_equal(p.facts.name, "a");
    assert_string_equal(p.name, "");
    project_done(&p);
    assert_int_equal(load("[limits]\nmemory = 64M\n", true, &p, &d), 0);
    assert_string_equal(p.name, "proj");
    project_done(&p);
    assert_int_equal(load(NULL, true, &p, &d), 0);
    assert_null(p.ini);
    assert_string_equal(p.name, "proj");
    project_done(&p);
    assert_int_equal(load("[limits]\n\nmemory = much\n", true, &p, &d), -EINVAL);
    assert_string_equal(d.text, "proj/function.ini:3: [limits] memory: \"much\" is not a size (128M, 1G)");
    project_done(&p);
    assert_int_equal(load("[limits]\n\nmemory = much\n", false, &p, &d), 0);
    project_done(&p);
    assert_int_equal(load("[limits]\nmemory\n", false, &p, &d), -EINVAL);
    assert_memory_equal(d.text, "proj/function.ini:2:", 20);
    project_done(&p);
}

/* ---- a directory that is a stranger's ---- */

#define STACK "provider: {name: openfaas}\nfunctions:\n  one:\n    image: x/one\n    handler: ./code\n"

static int load_stranger(struct project *p, struct diag *d)
{
    struct source s = {.kind = SOURCE_DIRECTORY, .path = "guest/proj"};

    project_done(p);
    *d = (struct diag){0};
    return project_load(&s, PROJECT_UNCHECKED, NULL, p, d);
}

static void begin_stranger(void)
{
    fd_remove_tree(AT_FDCWD, "guest");
    assert_int_equal(mkdir("guest", 0755), 0);
    assert_int_equal(mkdir("guest/proj", 0755), 0);
    assert_int_equal(mkdir("guest/proj/in", 0755), 0);
    assert_int_equal(mkdir("guest/home", 0755), 0);
    put("guest/home/secret", "password = swordfish\n", 0644);
}

/* Whatever fnctl reads of it: nothing of what lies beside it, and nothing but files. */
static void test_links_out(void **state)
{
    static const char *const names[] = {"function.ini", ".fndignore", "stack.yml", "funko.yml", "serverless.yml"};
    struct project p = {0};
    struct diag d;
    char path[64];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        begin_stranger();
        snprintf(path, sizeof(path), "guest/proj/%s", names[i]);
        assert_int_equal(symlink("../home/secret", path), 0);
        assert_int_equal(load_stranger(&p, &d), -EINVAL);
        assert_non_null(strstr(d.text, "leads out of the directory"));
        assert_null(strstr(d.text, "password"));
        assert_int_equal(unlink(path), 0);
        assert_int_equal(symlink("/dev/null", path), 0);
        assert_int_equal(load_stranger(&p, &d), -EINVAL);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkfifo(path, 0644), 0);
        assert_int_equal(load_stranger(&p, &d), -EINVAL);
        assert_non_null(strstr(d.text, "is no file"));
    }
    begin_stranger();
    put("guest/proj/function.ini", "[function]\nruntime = python\n", 0644);
    assert_int_equal(symlink("../home/secret", "guest/proj/requirements.txt"), 0);
    assert_int_equal(load_stranger(&p, &d), 0);
    assert_null(needs_builder(&p));
    assert_int_equal(unlink("guest/proj/requirements.txt"), 0);
    put("guest/proj/in/all.txt", "flask\n", 0644);
    assert_int_equal(symlink("in/../in/all.txt", "guest/proj/requirements.txt"), 0);
    assert_string_equal(needs_builder(&p), "requirements.txt");
    project_done(&p);
}

static int send(const struct project *p, struct diag *d)
{
    struct body b;
    int r = project_open(p, &(struct pack_options){0}, &b, d);

    ctl_body_done(&b);
    return r;
}

/* The directory below that stack.yml names, also when it becomes a link after it was looked at. */
static void test_code_elsewhere(void **state)
{
    struct project p = {0};
    struct diag d;

    begin_stranger();
    put("guest/proj/stack.yml", STACK, 0644);
    assert_int_equal(symlink("../home", "guest/proj/code"), 0);
    assert_int_equal(load_stranger(&p, &d), -EINVAL);
    assert_non_null(strstr(d.text, "guest/proj/code: is a symlink that leads out of the directory"));
    assert_int_equal(unlink("guest/proj/code"), 0);
    assert_int_equal(load_stranger(&p, &d), -ENOENT);
    assert_int_equal(symlink("in", "guest/proj/code"), 0);
    assert_int_equal(load_stranger(&p, &d), 0);
    assert_int_equal(send(&p, &d), 0);
    assert_int_equal(unlink("guest/proj/code"), 0);
    assert_int_equal(symlink("../home", "guest/proj/code"), 0);
    assert_int_equal(send(&p, &d), -EINVAL);
    assert_int_equal(beneath_dir(p.source.path, p.source.said), -EXDEV);
    project_done(&p);
}

/* Code has no owners and no modes but one bit: what is sent is the same whoever has it. */
static void test_code_is_uniform(void **state)
{
    struct strbuf text cleanup_strbuf = {0}, tar cleanup_strbuf = {0};
    struct diag d = {0};
    struct project p;
    struct body b;

    assert_int_equal(load("[function]\nname = a\nruntime = python\nhandler = a.b\n", true, &p, &d), 0);
    put("proj/a.py", "a", 0600);
    assert_int_equal(project_open(&p, &(struct pack_options){0}, &b, &d), 0);
    read_names(&b, &text, &tar);
    assert_memory_equal(text.data, "644 0 a.py a\n644 0 function.ini ", 32);
    project_done(&p);
}

/* Another system's file: what is made of it is judged here, and its directory must be there. */
static void test_project_of_another_system(void **state)
{
    static const struct {
        const char *stack, *message;
        int err;
    } rows[] = {
        {"functions: {f: {limits: {memory: '1'}}}\n",
         "other: what was made of another system's file (fnctl deploy --print-ini shows it): function.ini:5: [limits] memory: 1 is too small", EINVAL},
        {"functions: {f: {handler: ./nowhere}}\n", "other/stack.yml: other/nowhere is not there", ENOENT},
        {"functions: [\n", "other/stack.yml:2: did not find expected node content", EINVAL},
    };
    struct source s = {.kind = SOURCE_DIRECTORY, .path = "other"};
    struct project p;
    struct diag d = {0};

    assert_int_equal(mkdir("other", 0755) | mkdir("other/code", 0755), 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        put("other/stack.yml", rows[i].stack, 0644);
        assert_int_equal(project_load(&s, PROJECT_MADE, NULL, &p, &d), -rows[i].err);
        assert_string_equal(d.text, rows[i].message);
        project_done(&p);
    }
    put("other/stack.yml", "functions: {f: {handler: ./code}}\n", 0644);
    assert_int_equal(project_load(&s, PROJECT_MADE, NULL, &p, &d), 0);
    assert_string_equal(p.source.path, "other/code");
    assert_string_equal(p.facts.name, "f");
    project_done(&p);
    put("other/stack.yml", "functions: {f: {handler: .}}\n", 0644);
    assert_int_equal(project_load(&s, PROJECT_MADE, NULL, &p, &d), 0);
    assert_string_equal(p.source.path, "other");
    project_done(&p);
}

/* The stack of OpenFaaS by another name; what else is YAML is left alone, readable or not. */
static void test_stack_of_another_name(void **state)
{
    struct source s = {.kind = SOURCE_DIRECTORY, .path = "named"};
    struct project p;
    struct diag d = {0};

    assert_int_equal(mkdir("named", 0755) | mkdir("named/hello", 0755) | mkdir("named/dir.yml", 0755), 0);
    put("named/compose.yml", "services: {a: {}}\n", 0644);
    put("named/other.yml", "provider: {name: aws}\nfunctions: {g: {}}\n", 0644);
    put("named/no-functions.yml", "provider: {name: openfaas}\n", 0644);
    put("named/broken.yaml", "a: [\n", 0644);
    put("outside.yml", "provider: {name: openfaas}\nfunctions: {o: {}}\n", 0644);
    assert_int_equal(symlink("../outside.yml", "named/link.yml"), 0);
    assert_int_equal(project_load(&s, PROJECT_MADE, NULL, &p, &d), 0);
    assert_false(p.converted);
    project_done(&p);
    put("named/hello.yml", "provider: {name: openfaas}\nfunctions: {hello: {handler: ./hello, lang: python3, colour: red}}\n", 0644);
    assert_int_equal(project_load(&s, PROJECT_MADE, NULL, &p, &d), 0);
    assert_string_equal(p.facts.name, "hello");
    assert_string_equal(p.source.path, "named/hello");
    assert_non_null(strstr(p.notes, "named/hello.yml:2: colour: not taken over"));
    project_done(&p);
    put("named/old.yaml", "provider: {name: faas}\nfunctions: {old: {}}\n", 0644);
    assert_int_equal(project_load(&s, PROJECT_MADE, NULL, &p, &d), -EINVAL);
    assert_true(strstr(d.text, "named/hello.yml") && strstr(d.text, "named/old.yaml"));
    assert_non_null(strstr(d.text, "are both OpenFaaS': name the one that is meant stack.yml"));
    project_done(&p);
    put("named/stack.yml", "functions: {mine: {}}\n", 0644);
    assert_int_equal(project_load(&s, PROJECT_MADE, NULL, &p, &d), 0);
    assert_string_equal(p.facts.name, "mine");
    project_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_bad_patterns),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_of_code),
        cmocka_unit_test(test_files_that_are_no_rules),
        cmocka_unit_test(test_pack_options),
        cmocka_unit_test(test_pack_progress),
        cmocka_unit_test(test_template),
        cmocka_unit_test(test_template_that_fails),
        cmocka_unit_test(test_project),
        cmocka_unit_test(test_links_out),
        cmocka_unit_test(test_code_elsewhere),
        cmocka_unit_test(test_code_is_uniform),
        cmocka_unit_test(test_project_of_another_system),
        cmocka_unit_test(test_stack_of_another_name),
    };

    return cmocka_run_group_tests_name("project", tests, setup, teardown);
}
