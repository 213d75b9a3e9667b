#!/bin/bash
# redis on a unix socket: data of all kinds, persistence by forked children, its own benchmark.
# needs: redis-server redis-benchmark redis-cli redis-check-rdb
# limit: 120
set -eu
start() {
	redis-server --port 0 --unixsocket "$PWD/sock" --dir "$PWD" --appendonly yes --save '' --daemonize no >>log 2>&1 & p=$!
	for i in $(seq 200); do [ "$(redis-cli -s sock ping 2>/dev/null)" = PONG ] && return; sleep 0.05; done
	cat log >&2; exit 1
}
r() { redis-cli -s sock "$@"; }
start
r set a 1; r incrby a 41; r get a
for i in $(seq 2000); do echo "hset h field$i $i"; done | r >/dev/null; r hlen h; r hget h field1234
for i in $(seq 2000); do echo "zadd z $((i * 7919 % 2003)) m$i"; done | r >/dev/null; r zrange z 0 3 withscores
r eval 'local s = 0; for i = 1, 1000 do s = s + i end; return s' 0
r setex gone 1 x >/dev/null; r lpush l a b c; r lrange l 0 -1
r subscribe news >heard & s=$!
for i in $(seq 200); do [ "$(r publish news hello)" = 1 ] && break; sleep 0.05; done
for i in $(seq 200); do grep hello heard && break; sleep 0.05; done; kill $s; wait $s 2>/dev/null || true
(r blpop queue 20) & s=$!; sleep 0.2; r rpush queue item >/dev/null; wait $s
redis-benchmark -s sock -q -n 5000 -c 50 -P 4 --csv -t set,get,incr,lpush,lpop,sadd,mset | sed 's/,.*//'
redis-benchmark -s sock -q -n 5000 -c 20 --threads 2 --csv -t set,get | sed 's/,.*//'
r bgsave | head -c 20; echo; for i in $(seq 200); do [ "$(r info persistence | tr -d '\r' | grep -E '^rdb_(bgsave_in_progress:0|last_bgsave_status:ok)' | wc -l)" = 2 ] && [ -s dump.rdb ] && break; sleep 0.05; done; redis-check-rdb dump.rdb | grep -c 'RDB looks OK'
r bgrewriteaof | head -c 10; echo; for i in $(seq 200); do r info persistence | grep -q aof_rewrite_in_progress:0 && break; sleep 0.05; done
sleep 0.5; r exists gone; r info clients | grep -o 'blocked_clients:[0-9]*'
# Killed, it finds all it had acknowledged; asked, it ends in order.
r config set appendfsync always >/dev/null; r set last words; kill -9 $p; wait $p || echo "ended $?"
start; r get last; r hlen h; r zscore z m77
kill -TERM $p; wait $p && echo "ended $?"; [ -e sock ] || echo no socket
