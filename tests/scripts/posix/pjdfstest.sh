#!/bin/bash
# pjdfstest: what POSIX says of the calls on names and attributes, on the tree itself and on tmpfs.
# fixture: tools
# limit: 60
# compare: passed
# places: host machine
# except: tree link::link_count_max  files in memory may have as many names as they like
set -u
# On the host in mounts of its own.
if [ -z "${OWN:-}" ] && unshare -m true 2>/dev/null; then
	OWN=1 exec unshare -m bash "$0"
fi
cat >config <<'END'
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
stat_st_birthtime = {}
[settings]
naptime = 0.01
allow_remount = ALLOW
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
END
# Users that are not root work below.
chmod 755 .
mkdir tree
shm=$(mktemp -d /dev/shm/pjdfstest.XXXXXX)
trap 'rm -rf "$shm"' EXIT
chmod 755 "$shm" tree
run() {
	sed "s/ALLOW/$1/" config >config.now
	"$FIXTURE/bin/pjdfstest" -c config.now -p "$2" -s "$3" >out 2>out.errors
	sed -n "s/^\([a-z0-9_]*::[^ ]*\) *ok$/ok $4 \1/p; s/^\([a-z0-9_]*::[^ ]*\) *FAILED$/failed $4 \1/p" out | sort
	sed -n "/FAILED/,+2p" out >&2
}
run false "$PWD/tree" "$shm" tree
run false "$shm" "$PWD/tree" tmpfs
# Where one may mount: what is refused on a file system that was made read-only.
mkdir mounted
mount -t tmpfs none mounted || exit 0
run true "$PWD/mounted" "$shm" mounted
umount mounted
