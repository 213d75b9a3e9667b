#!/bin/bash
# Pipelines: long, wide, broken, with files and fifos between.
# limit: 60
set -euo pipefail
seq 1 100000 | awk '{s += $1} END {print s}'
seq 1 20000 | sort -R | sort -n | uniq | tail -1
set +o pipefail; yes | head -c 1000000 | wc -c; yes | head -1; set -o pipefail
p=cat; for i in $(seq 30); do p="$p | cat"; done; echo through | eval "$p"
seq 1000 | tee >(wc -l >lines) >(md5sum >sum) | tail -1; sleep 0.3; cat lines sum
mkfifo fifo; (seq 1 500 >fifo) & paste -sd+ fifo | bc; wait
mkfifo in out; (tr a-z A-Z <in >out) & (echo shout >in) & cat out; wait
dd if=/dev/zero bs=1M count=50 2>/dev/null | md5sum
dd if=/dev/zero bs=4096 count=2000 2>/dev/null | dd bs=777 2>/dev/null | wc -c
head -c 3000000 /dev/zero | gzip -1 | gzip -d | cksum
for i in $(seq 100); do echo line $i | sed s/line/Line/ | cut -c1-7; done | tail -2
printf '%s\n' {1..200} | xargs -n 5 -P 4 sh -c 'echo $#' sh | sort | uniq -c | awk '{print $1,$2}'
find /etc -maxdepth 1 -name 'host*' -print0 2>/dev/null | xargs -0 -n1 basename | sort
(echo 1; sleep 0.1; echo 2) | while read -r x; do echo "got $x"; done
cat /dev/null | wc -c; : | cat; echo empty | grep -c . 
ls /usr/bin | wc -l | xargs test 100 -lt && echo many
exec 5< <(seq 3); cat <&5; exec 5<&-
{ { echo out; echo err >&2; } 2>&1 1>&3 | sed 's/^/2:/'; } 3>&1 | sort
