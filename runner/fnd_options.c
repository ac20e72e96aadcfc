#include "fnd_options.h"

#include "version.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] = "usage: fnd [--config FILE] [--set SECTION.KEY=VALUE ...] [--check | --sweep] [-v]\n"
                            "       fnd --hold | --version | --help\n"
                            "\n"
                            "  --config FILE    read the configuration from FILE (the service uses /etc/fnd/fnd.ini); without it all defaults apply\n"
                            "  --set S.K=VALUE  set one key; wins over the file; may be repeated\n"
                            "  --check          check the configuration, print every key, and exit\n"
                            "  --sweep          end and remove what a killed daemon left behind, and exit\n"
                            "  --hold           hold the cgroup of this unit for instances until SIGTERM (fnd-instances.service)\n"
                            "  -v, --verbose    log more\n";

int fnd_options_parse(int argc, char **argv, struct options *ret)
{
    static const struct option longs[] = {
        {"config", required_argument, NULL, 'c'}, {"set", required_argument, NULL, 's'}, {"check", no_argument, NULL, 'k'},
        {"sweep", no_argument, NULL, 'w'},        {"hold", no_argument, NULL, 'o'},      {"verbose", no_argument, NULL, 'v'},
        {"version", no_argument, NULL, 'V'},      {"help", no_argument, NULL, 'h'},      {NULL, 0, NULL, 0},
    };
    int opt;

    while ((opt = getopt_long(argc, argv, "c:s:vh", longs, NULL)) != -1) {
        switch (opt) {
        case 'c':
            ret->config = optarg;
            break;
        case 's':
            if (ret->nsets == SETS_MAX)
                return 2;
            ret->sets[ret->nsets++] = optarg;
            break;
        case 'k':
            ret->check = true;
            break;
        case 'w':
            ret->sweep = true;
            break;
        case 'o':
            ret->hold = true;
            break;
        case 'v':
            ret->verbose = true;
            break;
        case 'V':
            puts("fnd " FND_VERSION);
            exit(0);
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "fnd: unexpected argument \"%s\"\n%s", argv[optind], usage);
        return 2;
    }
    return 0;
}
