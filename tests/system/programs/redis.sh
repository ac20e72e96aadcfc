#!/bin/sh
# redis-server beside a server whose scripts are its clients. Snapshots fork, the log of changes syncs.
/usr/bin/redis-server --port 6379 --dir /tmp --save '3600 1' --appendonly yes --io-threads 2 --daemonize no --unixsocket /tmp/redis.sock &
until /usr/bin/redis-cli ping >/dev/null 2>&1; do /bin/busybox usleep 10000; done
exec /bin/busybox httpd -f -p 3000 -h /www
