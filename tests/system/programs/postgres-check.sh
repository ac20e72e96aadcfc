#!/bin/sh
psql=$(echo /usr/lib/postgresql/*/bin/psql)
sql() { "$psql" -X -A -t -q -d postgres "$@" 2>&1; }
check() { printf '%s"%s": "%s"' "$separator" "$1" "$2"; separator=", "; }
printf 'Content-Type: application/json\r\n\r\n{'
sql -h /tmp -c 'drop table if exists t; create table t as select generate_series(1, 20000) as n' >/dev/null
check sum "$(sql -h 127.0.0.1 -c 'select sum(n) from t')"
check index "$(sql -h /tmp -c 'create index on t (n); select n from t where n = 777')"
check parallel "$(sql -h /tmp -c 'set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0; select count(*) from t')"
check vacuum "$(sql -h /tmp -c 'vacuum full analyze t')"
check checkpoint "$(sql -h localhost -c 'checkpoint')"
check function "$(sql -h /tmp -c "create or replace function f() returns int language plpgsql as 'begin return 6 * 7; end'; select f()")"
printf '}\n'
