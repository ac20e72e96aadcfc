#!/bin/sh
cli() { /usr/bin/redis-cli "$@"; }
check() { printf '%s"%s": "%s"' "$separator" "$1" "$2"; separator=", "; }
printf 'Content-Type: application/json\r\n\r\n{'
check set "$(cli set a 1)"
check get "$(cli -s /tmp/redis.sock get a)"
check incr "$(cli incr a)"
check script "$(cli eval 'return redis.call("incr", KEYS[1])' 1 a)"
check save "$(cli save)"
cli bgsave >/dev/null
cli bgrewriteaof >/dev/null
until cli info persistence | grep -q '^rdb_bgsave_in_progress:0' && cli info persistence | grep -q '^aof_rewrite_in_progress:0'; do usleep 10000; done
check bgsave "$(cli info persistence | sed -n 's/\r//; s/^rdb_last_bgsave_status://p')"
check rewrite "$(cli info persistence | sed -n 's/\r//; s/^aof_last_bgrewrite_status://p')"
printf '}\n'
