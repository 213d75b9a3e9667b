#!/bin/bash
# A fork bomb under a limit of processes.
# needs: setpriv
# limit: 60
# compare: no
set -u
run=; [ "$(id -u)" = 0 ] && run="setpriv --reuid 54322 --regid 54322 --clear-groups --"
[ -z "$run" ] && { echo needs root; exit 0; }
timeout -s KILL 20 $run bash -c 'ulimit -u 120; bomb() { bomb | bomb & }; bomb; sleep 3; kill -9 -1' >/dev/null 2>&1
$run bash -c 'kill -9 -1' 2>/dev/null
for i in $(seq 50); do pgrep -u 54322 >/dev/null || break; sleep 0.1; done
pgrep -u 54322 && exit 1
[ "$(echo still | cat)" = still ] && [ "$(seq 100 | wc -l)" = 100 ]
