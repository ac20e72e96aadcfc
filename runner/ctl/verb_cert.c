#include "ctl.h"
#include "ctl_cert.h"

#include "certdir.h"
#include "clock.h"
#include "config.h"
#include "fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CONFIG_FILE FND_SYSCONF "/fnd.ini"
#define NAMES_MAX   100U
#define DAY_S       86400

/* What the daemon's configuration says, or would. */
static void find_dir(const struct ctl *ctl, char *buf, size_t size)
{
    struct config_source *source = NULL;
    struct config c = {.tls_dir = ""};

    if (!ctl->o->dir && config_load(access(CONFIG_FILE, R_OK) == 0 ? CONFIG_FILE : NULL, NULL, 0, &c, &source, NULL) < 0)
        config_load(NULL, NULL, 0, &c, &source, NULL);
    config_source_free(source);
    snprintf(buf, size, "%s", ctl->o->dir ? ctl->o->dir : c.tls_dir);
}

static void format_day(int64_t seconds, char *buf, size_t size)
{
    time_t t = (time_t)seconds;
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(buf, size, "%Y-%m-%d", &tm);
}

/* ---- self-signed ---- */

/* Without names: the host's own, and those that it has for itself. */
static unsigned choose_names(const struct text_list *args, const char **names, char *host, size_t size, struct diag *d)
{
    static const char *const own[] = {"localhost", "127.0.0.1", "::1"};
    unsigned n = 0;

    for (unsigned i = 1; i < args->count && n < NAMES_MAX; i++)
        names[n++] = args->items[i];
    if (n > 0)
        return n;
    if (gethostname(host, size) == 0 && strcmp(host, "localhost") != 0 && ctl_cert_check_name(host, d) == 0)
        names[n++] = host;
    for (unsigned i = 0; i < CTL_COUNT(own); i++)
        names[n++] = own[i];
    return n;
}

static int write_pair(const char *path, const char *name, const struct strbuf *certificate, const struct strbuf *key, struct diag *d)
{
    char files[2][NAME_MAX + 1];
    cleanup_fd int dir = -1;
    int r = fd_mkdir_p(AT_FDCWD, path, 0700);

    dir = r < 0 ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = r < 0 ? r : dir < 0 ? -errno : 0;
    if (r < 0)
        return diag_set(d, -r, "%s: %s%s", path, strerror(-r), r == -EACCES ? ": use sudo, or --dir DIRECTORY" : "");
    snprintf(files[0], sizeof(files[0]), "%.240s.key", name);
    snprintf(files[1], sizeof(files[1]), "%.240s.pem", name);
    for (unsigned i = 0; i < 2; i++)
        if (faccessat(dir, files[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            return diag_set(d, EEXIST, "%s/%s is there already, and is not overwritten: remove it first, or choose another first name", path, files[i]);
    r = fd_publish_file(dir, files[0], key->data, key->len, 0600);
    if (r == 0)
        r = fd_publish_file(dir, files[1], certificate->data, certificate->len, 0600);
    return r < 0 ? diag_errno(d, -r, "%s: cannot write", path) : 0;
}

static void say_what_next(const char *dir, const char *name, const struct strbuf *pem, const char *const *names, unsigned n)
{
    struct certificate c = {0};
    char day[32] = "";

    if (certificate_parse(pem->data, pem->len, NULL, 0, &c, NULL) == 0)
        format_day(c.not_after, day, sizeof(day));
    printf("certificate  %s/%s.pem\nkey          %s/%s.key\nnames       ", dir, name, dir, name);
    for (unsigned i = 0; i < n; i++)
        printf(" %s", names[i]);
    printf("\nvalid until  %s\nSHA-256      %s\n\n", day, c.fingerprint);
    printf("A daemon that runs takes it by itself. TLS is served where gateway.tls_listen says (systemd: systemctl enable fnd-tls.socket,\n"
           "systemctl restart fnd-gateway). Clients trust it when they are given the .pem: curl --cacert %s/%s.pem https://%s:8443/\n",
           dir, name, names[0]);
    certificate_done(&c);
}

static int self_signed(struct ctl *ctl, const struct text_list *args)
{
    cleanup_strbuf struct strbuf certificate = {0}, key = {0};
    char dir[CONFIG_PATH_MAX], host[65] = "", name[NAME_MAX + 1];
    const char *names[NAMES_MAX];
    struct diag d = {0};
    unsigned n;

    if (args->count - 1 > NAMES_MAX)
        return ctl_fail(CTL_USAGE, "more than %u names", NAMES_MAX);
    n = choose_names(args, names, host, sizeof(host), &d);
    d = (struct diag){0};
    for (unsigned i = 0; i < n; i++)
        if (ctl_cert_check_name(names[i], &d) < 0)
            return ctl_fail_diag(CTL_USAGE, &d);
    find_dir(ctl, dir, sizeof(dir));
    snprintf(name, sizeof(name), "%.240s", names[0]);
    if (name[0] == '*')
        name[0] = '_';
    if (ctl_cert_make(names, n, &certificate, &key, &d) < 0 || write_pair(dir, name, &certificate, &key, &d) < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    say_what_next(dir, name, &certificate, names, n);
    return CTL_OK;
}

/* ---- ls ---- */

struct listing {
    struct table table;
    json_t *json;
    unsigned bad;
};

int ctl_cert_read(int dir, const struct certdir_entry *e, struct certificate *ret, struct diag *d)
{
    cleanup_fd int fd = certdir_open(dir, e->certificate, 0, d), key_fd = fd < 0 ? -1 : certdir_open(dir, e->key, 1, d);
    cleanup_free char *pem = NULL, *key = NULL;
    ssize_t len, key_len;

    if (fd < 0 || key_fd < 0)
        return -d->err;
    len = fd_read_all(fd, CERTIFICATE_FILE_MAX, &pem);
    key_len = fd_read_all(key_fd, CERTIFICATE_FILE_MAX, &key);
    if (len < 0 || key_len < 0)
        return diag_errno(d, (int)-(len < 0 ? len : key_len), "cannot read");
    return certificate_parse(pem, (size_t)len, key, (size_t)key_len, ret, d);
}

static int list_one(void *arg, int dir, const struct certdir_entry *e)
{
    const int64_t now = (int64_t)(clock_real_ns() / NS_PER_SEC);
    cleanup_strbuf struct strbuf hosts = {0};
    struct certificate c = {0};
    struct listing *l = arg;
    struct diag d = {0};
    char day[32] = "-";
    json_t *names = json_array();
    int r = ctl_cert_read(dir, e, &c, &d);

    for (unsigned i = 0; r == 0 && i < c.nnames; i++) {
        strbuf_printf(&hosts, "%s%s", i ? " " : "", c.names[i].host);
        json_array_append_new(names, json_string(c.names[i].host));
    }
    if (r == 0) {
        format_day(c.not_after, day, sizeof(day));
        r = certificate_valid(&c, now, &d);
    }
    l->bad += r < 0;
    ctl_table_cell(&l->table, "%s", e->name);
    ctl_table_cell(&l->table, "%s", hosts.data ? hosts.data : "-");
    ctl_table_cell(&l->table, "%s", day);
    ctl_table_cell(&l->table, "%lld", c.not_after > now ? (long long)((c.not_after - now) / DAY_S) : 0LL);
    ctl_table_cell(&l->table, "%s", r < 0 ? d.text : "ok");
    json_array_append_new(l->json, json_pack("{s:s, s:o, s:I, s:s, s:s}", "name", e->name, "hosts", names, "not_after", (json_int_t)c.not_after, "sha256",
                                             c.fingerprint, "error", r < 0 ? d.text : ""));
    certificate_done(&c);
    return 0;
}

static int list(struct ctl *ctl)
{
    static const char *const heads[] = {"NAME", "HOSTS", "EXPIRES", ">DAYS", "STATE"};
    struct strbuf out cleanup_strbuf = {0};
    struct listing l = {.json = json_array()};
    json_t *answer cleanup_json = l.json;
    char dir[CONFIG_PATH_MAX];
    struct diag d = {0};
    int r;

    find_dir(ctl, dir, sizeof(dir));
    ctl_table_init(&l.table, heads, CTL_COUNT(heads));
    r = certdir_each(dir, list_one, &l, &d);
    if (r >= 0 && !ctl->o->json)
        ctl_table_format(&l.table, &out);
    ctl_table_done(&l.table);
    if (r < 0)
        return ctl_fail_diag(CTL_FAILED, &d);
    r = ctl->o->json ? ctl_print_json(ctl, answer) : ctl_flush(ctl, &out);
    return r == CTL_OK && l.bad ? CTL_FAILED : r;
}

int verb_cert(struct ctl *ctl, const struct text_list *args)
{
    if (strcmp(args->items[0], "self-signed") == 0)
        return self_signed(ctl, args);
    if (strcmp(args->items[0], "ls") == 0)
        return list(ctl);
    return ctl_fail(CTL_USAGE, "cert %.40s: `fnctl cert self-signed [NAME...]` makes one, `fnctl cert ls` shows those that there are", args->items[0]);
}
