#!/bin/bash
# Job control in a script.
set -eu
set -m
sleep 100 & p=$!
jobs | sed 's/ \+/ /g'
kill -STOP %1; sleep 0.2; jobs | grep -c Stopped
[ "$(ps -o stat= -p $p 2>/dev/null | cut -c1)" = T ] && echo T || echo "no T"
bg %1 >/dev/null; sleep 0.1; jobs | grep -c Running
kill %1; wait %1 2>/dev/null || echo "ended $?"
(sleep 0.1; exit 5) & wait $! || echo "job $?"
sleep 50 | cat & kill -- -$! 2>/dev/null || kill %+; wait 2>/dev/null || true; jobs >/dev/null; jobs | wc -l
for i in 1 2 3 4 5; do (sleep 1.$i; exit $i) & done; s=0; for j in $(jobs -p); do wait $j || s=$((s + $?)); done; echo $s
sleep 0.2 & fg %% >/dev/null; echo "fg $?"
trap 'echo chld' CHLD; (exit 0) & wait; trap - CHLD
set +m
setsid sh -c 'test $(ps -o sid= -p $$) -eq $$ && echo own session' | cat
timeout 0.2 sleep 5 || echo "timeout $?"
timeout -s KILL 0.2 sleep 5 || echo "timeout $?"
nohup sh -c 'echo nohup' 2>/dev/null </dev/null | cat
disown -a; echo done
