#!/bin/sh
# A cluster of its own in /tmp, then a server whose scripts are psql.
set -e
bin=$(echo /usr/lib/postgresql/*/bin)
"$bin/initdb" -D /tmp/db --locale=C --encoding=UTF8 --auth=trust --wal-segsize=1 >/tmp/initdb.log 2>&1 || { cat /tmp/initdb.log; exit 1; }
"$bin/postgres" -D /tmp/db -k /tmp -c listen_addresses=127.0.0.1 -c shared_buffers=8MB -c max_connections=10 -c max_wal_size=8MB -c min_wal_size=2MB &
until "$bin/psql" -h /tmp -d postgres -c 'select 1' >/dev/null 2>&1; do usleep 20000; done
exec /bin/busybox httpd -f -p 3000 -h /www
