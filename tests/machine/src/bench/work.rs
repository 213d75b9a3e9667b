//! Macro rows: real programs at real work, timed by a shell.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{Effort, LIMIT, Row, Target};
use crate::lab::{Lab, Place, find_program};
use crate::outcome::run;

/// Work for bash, in a directory that both sides see; what the machine changes in it stays in the machine.
///
/// On each side the command runs twice and the second time counts, so that neither is compared with cold caches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    pub name: &'static str,
    /// Programs without which the row is not measured; a word with a slash is a path, from the cache if relative.
    needs: &'static [&'static str],
    /// Done once, natively. `$FIXTURES` is the directory of what the tests' set-up fetched.
    prepare: &'static str,
    /// Before the command, on each side; not timed.
    before: &'static str,
    command: &'static str,
    /// Undoes the command.
    undo: &'static str,
    /// After all, on each side.
    after: &'static str,
    target: Target,
}

const PLAIN: Work = Work {
    name: "",
    needs: &[],
    prepare: "",
    before: "",
    command: "",
    undo: "",
    after: "",
    target: Target::None,
};

/// The rows.
pub(super) const WORK: &[Work] = &[
    Work {
        name: "bash 300 fork+exec",
        command: "for i in {1..300}; do /bin/true; done",
        target: Target::Ratio(1.6),
        ..PLAIN
    },
    Work { name: "bash 500 subshells", command: "for i in {1..500}; do (:); done", ..PLAIN },
    Work {
        name: "tar c /usr/share",
        command: "tar cf - -C /usr/share doc perl 2>/dev/null | cat >/dev/null",
        target: Target::Ratio(1.5),
        ..PLAIN
    },
    Work {
        name: "tar x",
        prepare: "tar cf t.tar -C /usr/share doc perl 2>/dev/null",
        command: "mkdir x; tar xf t.tar -C x",
        undo: "rm -rf x",
        target: Target::Ratio(1.5),
        ..PLAIN
    },
    Work {
        name: "grep -r",
        command: "grep -r nowheretobefound /usr/share/doc /usr/share/perl || true",
        target: Target::Ratio(1.5),
        ..PLAIN
    },
    Work { name: "find /usr", command: "find /usr >/dev/null", target: Target::Ratio(2.5), ..PLAIN },
    Work {
        name: "dpkg -l",
        needs: &["dpkg"],
        command: "dpkg -l >/dev/null",
        target: Target::Ratio(2.5),
        ..PLAIN
    },
    Work {
        name: "gcc -O2",
        prepare: C_SOURCE,
        command: "gcc -O2 -c a.c && gcc a.c -o a",
        undo: "rm -f a a.o",
        target: Target::Ratio(1.5),
        ..PLAIN
    },
    Work {
        name: "make -j2 of zlib",
        needs: &["make", "gcc", "zlib/"],
        prepare: "tar xf \"$FIXTURES\"/zlib/*.orig.tar.* && mv zlib-* zlib && cd zlib && ./configure >configured",
        command: "make -s -j2 -C zlib",
        undo: "make -s -C zlib clean",
        target: Target::Ratio(1.5),
        ..PLAIN
    },
    Work {
        name: "git status, 20000 files",
        needs: &["git"],
        prepare: "mkdir tree && cd tree && git init -q && \
            for d in {1..200}; do mkdir -p $((d % 20))/$d; for f in {1..100}; do echo $d $f >$((d % 20))/$d/$f; done; done && \
            git add -A && git -c gc.auto=0 -c user.name=a -c user.email=b@c commit -qm tree && touch new 1/1/new",
        command: "git -C tree status --short",
        target: Target::Ratio(1.5),
        ..PLAIN
    },
    Work {
        name: "python start",
        needs: &["/usr/bin/python3"],
        command: "for i in 1 2 3 4 5; do /usr/bin/python3 -c 'import json, re'; done",
        ..PLAIN
    },
    Work {
        name: "python start, imports",
        needs: &["/usr/bin/python3"],
        command: "for i in 1 2 3 4 5; do /usr/bin/python3 -c 'import asyncio, sqlite3, unittest.mock, http.client, \
            xml.dom.minidom, multiprocessing.pool, ctypes, decimal, email.message, logging.handlers'; done",
        target: Target::Ratio(1.5),
        ..PLAIN
    },
    Work {
        // Without fsync(2): it is the machine that is measured, not the disk.
        name: "pgbench, 2000 transactions",
        needs: &["/usr/lib/postgresql/15/bin/initdb", "pgbench", "setpriv"],
        before: "export PATH=/usr/lib/postgresql/15/bin:$PATH PGHOST=$PWD/pg LC_ALL=C; d=$PWD/pg/data; mkdir -m 777 pg; \
            as=; if [ \"$(id -u)\" = 0 ]; then as='setpriv --reuid 65534 --regid 65534 --clear-groups --'; fi; \
            $as initdb -D \"$d\" -U pg -A trust --no-sync >pg/said && \
            $as pg_ctl -D \"$d\" -w -l pg/log -o \"-k $PGHOST -c listen_addresses='' -c fsync=off\" start >pg/said && \
            pgbench -U pg -i -q -s 2 postgres 2>pg/said",
        command: "pgbench -U pg -n -c 4 -j 2 -t 500 postgres 2>pg/said",
        after: "$as pg_ctl -D \"$d\" -w -m immediate stop >pg/said; rm -rf pg",
        target: Target::Ratio(1.5),
        ..PLAIN
    },
];

/// A program of some size for the compiler.
const C_SOURCE: &str = "{ echo '#include <stdio.h>'; echo '#include <stdlib.h>'; echo '#include <string.h>'; \
    for i in {1..200}; do echo \"int f$i(int x) { int s = 0; for (int i = 0; i < x; i++) s += i * $i ^ s; \
    printf(\\\"%d\\\\n\\\", s); return s; }\"; done; echo 'int main(void) { return f1(1); }'; } >a.c";

impl Work {
    fn obstacle(&self, lab: &Lab) -> Option<String> {
        self.needs.iter().find_map(|need| match need.strip_suffix('/') {
            Some(fixture) => {
                (!lab.cache().join(fixture).exists()).then(|| format!("no {fixture} in the cache"))
            }
            None => find_program(need).is_none().then(|| format!("no {need} on this host")),
        })
    }

    /// Measures the row: native and inside in turn.
    pub fn measure(&self, lab: &Lab, effort: Effort) -> Result<Row> {
        if let Some(reason) = self.obstacle(lab) {
            bail!("{reason}");
        }
        let scratch = lab.scratch("bench")?;
        if !self.prepare.is_empty() {
            let mut command = lab.command(Place::Host, &[], &["bash", "-c", self.prepare]);
            command.env("FIXTURES", lab.cache()).env("HOME", &scratch);
            run(command.current_dir(&scratch), b"", LIMIT)?.expect(0)?;
        }
        let mut best = BTreeMap::new();
        for _ in 0..effort.rounds {
            for place in [Place::Host, Place::Machine] {
                let ns = self.once(lab, place, &scratch)?;
                let entry = best.entry(place.prefix()).or_insert(f64::MAX);
                *entry = ns.min(*entry);
            }
        }
        let _ = fs::remove_dir_all(&scratch);
        Ok(Row {
            name: self.name.into(),
            unit: "ms",
            native: best.get("host").map(|ns| ns / 1e6),
            inside: best.get("machine").context("no value")? / 1e6,
            target: self.target,
        })
    }

    /// Nanoseconds of the command at one place.
    fn once(&self, lab: &Lab, place: Place, dir: &Path) -> Result<f64> {
        let Self { before, command, undo, after, .. } = self;
        let script = format!(
            "set -e\nexport HOME=$PWD\n{before}\n{{ {command}; }} >/dev/null\n{undo}\ns=$(date +%s%N)\n\
             {{ {command}; }} >/dev/null\ne=$(date +%s%N)\n{undo}\n{after}\necho $((e - s))"
        );
        let mut shell = lab.command(place, &[], &["bash", "-c", &script]);
        let outcome = run(shell.current_dir(dir), b"", LIMIT)?;
        outcome.expect(0)?;
        outcome.out().trim().parse().context("no time")
    }
}
