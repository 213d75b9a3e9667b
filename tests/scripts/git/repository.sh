#!/bin/bash
# git on a local repository: commits, branches, merges, clone, gc, fsck.
# needs: git
# limit: 90
set -eu
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@x GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@x
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z' GIT_PAGER=cat HOME=$PWD
git config --global init.defaultBranch main; git config --global advice.detachedHead false
git config --global gc.auto 0
git init -q one; cd one
for i in $(seq 40); do mkdir -p d$((i % 7)); seq $i $((i * 30)) >d$((i % 7))/f$i; git add -A; git commit -qm "Commit $i"; done
git log --oneline | md5sum; git rev-parse HEAD; git status --short | wc -l
git checkout -qb side HEAD~10; echo side >side; git add side; git commit -qm side
git checkout -q main; git merge -q side -m merged; git log --graph --oneline | head -5
echo change >>d1/f1; git diff --stat; git stash -q; git stash list | wc -l; git stash pop -q; git commit -qam changed
git tag -a v1 -m v1; git describe; git blame d2/f2 | wc -l; git show --stat HEAD | tail -1; git grep -c 100 | wc -l
git rebase -q --onto HEAD~1 HEAD~1 main; git rev-parse HEAD
cd ..; git clone -q one two; git clone -q --bare one bare.git; git clone -q "file://$PWD/bare.git" three
git -C two log --oneline | md5sum; git -C three rev-parse HEAD; git -C two fsck --full 2>&1 | tail -1
cd two; echo pushed >pushed; git add pushed; git commit -qm pushed; git remote set-url origin ../bare.git; git push -q origin main; cd ..
git -C three pull -q; cat three/pushed; git -C three gc -q; git -C three count-objects -v | grep -E 'packs|^count'
git -C three fsck --full --strict && echo sound; git -C three worktree add -q ../four; ls four | wc -l
git -C three archive HEAD | tar t | wc -l; git -C three bundle create -q ../b HEAD main; git clone -q -b main b five; diff -r -x .git three five && echo equal
