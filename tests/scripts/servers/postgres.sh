#!/bin/bash
# PostgreSQL on a unix socket: a cluster made, pgbench against it, a crash survived, an orderly end. It refuses to be root.
# needs: /usr/lib/postgresql/15/bin/initdb setpriv
# limit: 120
set -eu
export PATH=/usr/lib/postgresql/15/bin:$PATH LC_ALL=C PGHOST=$PWD/s PGUSER=pg PGDATABASE=postgres
mkdir d s; d=$PWD/d
as=; [ "$(id -u)" = 0 ] && { as='setpriv --reuid 65534 --regid 65534 --clear-groups --'; chown 65534 d s; touch log; chown 65534 log; }
fail() { echo "$1" >&2; tail -n 40 log said >&2; exit 1; }
[ -z "$as" ] || initdb -D d >/dev/null 2>&1 && [ -n "$as" ] && fail 'initdb as root'
$as initdb -D "$d" -U pg -A trust --no-sync >said 2>&1 || fail initdb
ls d | wc -l
start() { $as pg_ctl -D "$d" -w -t 60 -l log -o "-k $PGHOST -c listen_addresses='' -c shared_buffers=16MB" start >said 2>&1 || fail start; }
start
psql -Aqtc 'select version()' | cut -d' ' -f1
psql -Aqtc 'create table t as select i, md5(i::text) m from generate_series(1, 20000) i; create index on t (m); analyze t'
psql -Aqtc "select count(*), min(m), sum(i) from t; select i from t where m = md5('777')"
psql -Aqtc 'set max_parallel_workers_per_gather = 2; set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0; select sum(length(m)), count(distinct i % 100) from t'
psql -Aqt <<'END' 2>&1 | sed 's/ from server.*//'
begin; insert into t values (0, 'rolled back'); rollback; select count(*) from t where i = 0;
listen n; notify n, 'word';
create function f(n int) returns int language plpgsql as 'begin return case when n < 2 then n else f(n - 1) + f(n - 2) end; end'; select f(15);
set statement_timeout = 200; select pg_sleep(10);
END
pgbench -i -q -s 1 --unlogged-tables >said 2>&1 || fail 'pgbench -i'
pgbench -c 4 -j 2 -t 250 >said 2>&1 || fail pgbench; grep 'actually processed\|failed' said
pgbench -n -c 4 -j 2 -T 3 -S >said 2>&1 || fail 'pgbench -S'; grep -c tps said
psql -Aqtc 'select count(*) from pgbench_history; select (select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history)'; psql -Aqtc 'vacuum full t'; psql -Aqtc 'select count(*) from t'
# A backend killed takes all of them down, and the server recovers by itself.
(psql -Aqtc 'select pg_sleep(30)' >/dev/null 2>&1 || echo "connection lost") & s=$!
for i in $(seq 100); do b=$(psql -Aqtc "select pid from pg_stat_activity where query like '%pg_sleep(30)' and pid <> pg_backend_pid()"); [ -n "$b" ] && break; sleep 0.05; done
$as kill -9 "$b"; wait $s
for i in $(seq 200); do [ "$(psql -Aqtc 'select count(*) from t' 2>/dev/null)" = 20000 ] && echo recovered && break; sleep 0.1; done
# And the whole server, at once.
$as pg_ctl -D "$d" -w -m immediate stop >said 2>&1 || fail 'immediate stop'; start
psql -Aqtc "select count(*) from t; select i from t where m = md5('12345')"
$as pg_ctl -D "$d" -w -m fast stop >said 2>&1 || fail stop; grep -c 'database system is shut down' log; ls s | wc -l
