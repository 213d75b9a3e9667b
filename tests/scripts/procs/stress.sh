#!/bin/bash
# stress-ng's own checks: processors, pipes, futexes, signals, processes, threads, the scheduler.
# needs: stress-ng
# limit: 60
# places: host machine plain
set -u
for class in cpu pipe futex signal sigq sigrt fork clone pthread yield nice schedpolicy kill; do
	if timeout 20 stress-ng --verify --$class 1 --timeout 1 >out 2>&1; then
		echo "$class passed"
	else
		echo "$class failed: $?"
		tail -n 10 out >&2
	fi
done
