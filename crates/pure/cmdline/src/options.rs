//! The options themselves: those taken out of the arguments, and those of the kernel command line.

use crate::{
    Config, Error, MAX_CPUS, MAX_MEMORY, MIN_MEMORY, Seccomp, UMID_MAX, lossy, net, number, ubd,
    whole_number, words::Word,
};

/// Which options that stay on the line were seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) root: bool,
    pub(crate) console: bool,
}

/// Words of former UML versions that choose how it runs guests; they mean nothing any more.
const FORMER: [&[u8]; 5] = [b"mode=tt", b"mode=skas", b"skas0", b"nosysemu", b"mode=skas0"];
/// Options for devices and methods that this machine does not have.
const UNUSED: [&[u8]; 4] = [b"dtb=", b"dsp=", b"mixer=", b"iomem="];

/// Looks at one argument before the kernel does; true if it is taken out.
pub(crate) fn early(config: &mut Config, seen: &mut Seen, arg: &[u8]) -> Result<bool, Error> {
    let Some(at) = arg.iter().position(|&b| b == b'=') else {
        match arg {
            b"noreboot" => config.no_reboot = true,
            b"quiet" => {
                config.quiet = true;
                return Ok(false);
            }
            a if FORMER.contains(&a) => config.without_effect.push(lossy(a)),
            _ => return Ok(false),
        }
        return Ok(true);
    };
    let (name, value) = (&arg[..at], &arg[at + 1..]);
    match name {
        b"mem" => config.memory = memory(value)?,
        b"ncpus" => {
            let n =
                whole_number(value).ok_or_else(|| bad("ncpus", value, "is not a number of processors"))?;
            config.ncpus = Some(u32::try_from(n).unwrap_or(u32::MAX).clamp(1, MAX_CPUS));
        }
        b"umid" => return umid(config, value),
        b"uml_dir" => {
            if value.is_empty() {
                config.problems.push("uml_dir= cannot be empty; the default is used".into());
            } else {
                config.uml_dir = Some(value.to_vec());
            }
        }
        b"initrd" => config.initrd = Some(value.to_vec()),
        b"hostfs" => hostfs(config, value),
        b"xterm" => config.xterm.set(value),
        b"seccomp" => {
            config.seccomp = match value {
                b"on" => Seccomp::On,
                b"auto" => Seccomp::Auto,
                b"off" => Seccomp::Off,
                v => {
                    let v = lossy(v);
                    return Err(Error(format!("Invalid seccomp option '{v}', expected on/auto/off")));
                }
            };
        }
        b"root" => {
            seen.root = true;
            return Ok(false);
        }
        b"console" => {
            seen.console = true;
            return Ok(false);
        }
        _ if UNUSED.contains(&&arg[..=at]) || FORMER.contains(&arg) => {
            config.without_effect.push(lossy(arg));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn bad(option: &str, value: &[u8], what: &str) -> Error {
    Error(format!("{option}={}: '{}' {what}", lossy(value), lossy(value)))
}

/// A size in bytes, rounded up to pages.
fn memory(value: &[u8]) -> Result<u64, Error> {
    let wrong = || bad("mem", value, "is not a size: use a number with K, M or G");
    let (n, suffix) = number(value).ok_or_else(wrong)?;
    let (unit, rest) = match suffix {
        [] => (0, suffix),
        [b'k' | b'K', rest @ ..] => (10, rest),
        [b'm' | b'M', rest @ ..] => (20, rest),
        [b'g' | b'G', rest @ ..] => (30, rest),
        [b't' | b'T', rest @ ..] => (40, rest),
        _ => return Err(wrong()),
    };
    if !matches!(rest, [] | [b'b' | b'B'] | [b'i', b'b' | b'B']) {
        return Err(wrong());
    }
    let bytes = n.checked_mul(1 << unit).filter(|b| *b <= MAX_MEMORY);
    let bytes = bytes.ok_or_else(|| bad("mem", value, "is more than a machine can have"))?;
    if bytes < MIN_MEMORY {
        return Err(Error(format!("Too few physical memory! Needed={MIN_MEMORY}, given={bytes}")));
    }
    Ok(bytes.next_multiple_of(4096))
}

/// The first name counts; a second one is passed on to init.
fn umid(config: &mut Config, value: &[u8]) -> Result<bool, Error> {
    if config.umid.is_some() {
        config.problems.push("umid already set".into());
        return Ok(false);
    }
    let is_name = |b: &u8| !matches!(b, b'/' | b' ') && !b.is_ascii_control();
    match core::str::from_utf8(value) {
        Ok("." | "..") | Err(_) => return Err(bad("umid", value, "cannot be the name of a directory")),
        Ok(_) if !value.iter().all(is_name) => {
            return Err(bad("umid", value, "cannot be the name of a directory"));
        }
        Ok("") => config.problems.push("umid= is empty; a random name is used".into()),
        Ok(name) if name.len() > UMID_MAX => {
            config
                .problems
                .push(format!("umid={name} is longer than {UMID_MAX} bytes; a random name is used"));
        }
        Ok(name) => config.umid = Some(name.to_owned()),
    }
    Ok(true)
}

fn hostfs(config: &mut Config, value: &[u8]) {
    let mut words = value.split(|&b| b == b',');
    config.hostfs.dir = words.next().unwrap_or_default().to_vec();
    for word in words {
        match word {
            b"append" => config.hostfs.append = true,
            w => config.problems.push(format!("hostfs_args - unsupported option - {}", lossy(w))),
        }
    }
}

/// Parameters of Linux that are accepted and change nothing here.
const LINUX_UNUSED: [&str; 34] = [
    "acpi",
    "apparmor",
    "audit",
    "cgroup_disable",
    "cgroup_enable",
    "cgroup_no_v1",
    "clocksource",
    "cpuidle",
    "elevator",
    "fake_ide",
    "fb",
    "hugepages",
    "idle",
    "log_buf_len",
    "lsm",
    "maxcpus",
    "mitigations",
    "nmi_watchdog",
    "noapic",
    "noinitrd",
    "nokaslr",
    "nopti",
    "nosmp",
    "nr_cpus",
    "printk_time",
    "raid",
    "rdinit",
    "resume",
    "security",
    "selinux",
    "splash",
    "swapaccount",
    "transparent_hugepage",
    "vga",
];

/// Handles a parameter of the kernel line; false if it is for init.
pub(crate) fn kernel(config: &mut Config, word: &Word) -> Result<bool, Error> {
    let value = word.value.as_deref();
    if devices(config, word) {
        return Ok(true);
    }
    let is = |name: &str| word.is(name);
    match value {
        None if is("ro") => config.root_rw = false,
        None if is("rw") => config.root_rw = true,
        None if is("rootwait") => config.rootwait = true,
        None if is("quiet") => config.quiet = true,
        None if is("debug") => config.loglevel = Some(10),
        None if is("ignore_loglevel") => config.ignore_loglevel = true,
        None if is("ssl-non-raw") => config.ssl_non_raw = true,
        _ if is("earlyprintk") => config.earlyprintk = true,
        Some(v) if is("root") => config.root = v.to_vec(),
        Some(v) if is("rootfstype") => config.rootfstype = Some(text("rootfstype", v)?),
        Some(v) if is("rootflags") => config.rootflags = v.to_vec(),
        Some(v) if is("rootdelay") => config.rootdelay = int("rootdelay", v)?,
        Some(v) if is("init") => {
            config.init = Some(v.to_vec());
            // What came before may be a boot loader's own word (init/main.c, init_setup).
            config.init_args.clear();
        }
        Some(v) if is("console") => config.consoles.push(text("console", v)?),
        Some(v) if is("loglevel") => config.loglevel = Some(int::<u8>("loglevel", v)?.min(15)),
        Some(v) if is("panic") => config.panic = Some(signed("panic", v)?),
        Some(v) if is("hostname") => config.hostname = Some(text("hostname", v)?),
        Some(v) if is("stderr") => config.stderr_console = int::<u32>("stderr", v)? != 0,
        Some(v) if is("mconsole") => match v.strip_prefix(b"notify:") {
            Some(path) if !path.is_empty() => config.mconsole_notify = Some(path.to_vec()),
            _ => config.problems.push(format!("mconsole={}: only mconsole=notify:SOCKET is known", lossy(v))),
        },
        _ if LINUX_UNUSED.iter().any(|n| is(n)) => config.without_effect.push(lossy(&word.whole())),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Options of drivers, which hold their unit in the name.
fn devices(config: &mut Config, word: &Word) -> bool {
    let whole = word.whole();
    let numbered = |rest: &[u8]| rest.first().is_some_and(|b| *b == b'=' || b.is_ascii_digit());
    if let Some(rest) = whole.strip_prefix(b"con").filter(|r| numbered(r)) {
        if let Err(problem) = config.con.set(rest) {
            config.problems.push(problem);
        }
    } else if let Some(rest) = whole.strip_prefix(b"ssl").filter(|r| numbered(r)) {
        if let Err(problem) = config.ssl.set(rest) {
            config.problems.push(problem);
        }
    } else if let Some(rest) = whole.strip_prefix(b"ubd") {
        ubd::option(config, rest);
    } else if whole.starts_with(b"udb") && (word.value.is_some() || word.name.len() == 3) {
        let whole = lossy(&whole);
        config.problems.push(format!("{whole}: udb is almost certainly a typo for ubd; it has no effect"));
    } else if let Some(rest) = whole.strip_prefix(b"eth").filter(|_| word.value.is_some()) {
        net::eth(config, rest);
    } else if let Some(rest) =
        whole.strip_prefix(b"vec").filter(|r| r.first().is_some_and(u8::is_ascii_digit))
    {
        net::vec(config, rest);
    } else {
        return false;
    }
    true
}

fn text(option: &str, value: &[u8]) -> Result<String, Error> {
    String::from_utf8(value.to_vec()).map_err(|_| bad(option, value, "is not text"))
}

fn int<T: TryFrom<u64>>(option: &str, value: &[u8]) -> Result<T, Error> {
    whole_number(value)
        .and_then(|n| T::try_from(n).ok())
        .ok_or_else(|| bad(option, value, "is not a number that it takes"))
}

fn signed(option: &str, value: &[u8]) -> Result<i32, Error> {
    let (digits, sign) = match value {
        [b'-', rest @ ..] => (rest, -1),
        _ => (value, 1),
    };
    let n: u32 = int(option, digits)?;
    i32::try_from(i64::from(n) * sign).map_err(|_| bad(option, value, "is not a number that it takes"))
}
