#!/bin/bash
# A thousand processes at once.
# limit: 120
set -eu
for i in $(seq 1000); do sleep 1000 & done
n=$(jobs -pr | wc -l); echo "$n running"
[ -d /proc/$! ] && echo visible
ps -e -o comm= | grep -c '^sleep$' | awk '{print ($1 >= 1000)}'
kill $(jobs -p); wait 2>/dev/null || true
jobs -pr | wc -l
for i in $(seq 300); do (exit 0) & done; wait; echo again
