//! What a program finds on its stack: strings, auxiliary vector, pointers, argument count (the x86-64 ABI, getauxval(3)).

use abi::elf::*;

use super::{Cred, exec_args::Strings, exec_image::Loaded};
use hal::{HostFacts, PAGE_SIZE};

/// The bytes to store and where, and what /proc shows of them.
pub(super) struct Stack {
    /// Address of `bytes`: the program's first stack pointer.
    pub(super) sp: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) arg: (u64, u64),
    pub(super) env: (u64, u64),
    pub(super) auxv: Vec<u8>,
}

/// What the stack tells beyond strings.
pub(super) struct Facts<'a> {
    pub(super) loaded: &'a Loaded,
    pub(super) cred: &'a Cred,
    pub(super) secure: bool,
    pub(super) vdso: u64,
    pub(super) host: &'a HostFacts,
    pub(super) random: [u8; 16],
    /// How the program was named (AT_EXECFN).
    pub(super) name: &'a [u8],
}

/// Lays the stack out below `top`, which is 16-aligned.
pub(super) fn build(top: u64, args: &Strings, env: &Strings, f: &Facts<'_>) -> Stack {
    // From the top: a null word, the name, the environment, the arguments.
    let name_at = top - 8 - (f.name.len() as u64 + 1);
    let env_at = name_at - env.bytes.len() as u64;
    let arg_at = env_at - args.bytes.len() as u64;
    let platform = f.host.platform.as_bytes();
    let platform_at = (arg_at - (platform.len() as u64 + 1)) & !15;
    let random_at = platform_at - 16;
    let auxv = auxv(f, name_at, platform_at, random_at);
    let words = 1 + args.count + 1 + env.count + 1;
    let sp = (random_at - auxv.len() as u64 - 8 * words as u64) & !15;

    let mut bytes = vec![0; (top - sp) as usize];
    let mut put = |at: u64, data: &[u8]| {
        let from = (at - sp) as usize;
        bytes[from..from + data.len()].copy_from_slice(data);
    };
    put(name_at, f.name);
    put(env_at, &env.bytes);
    put(arg_at, &args.bytes);
    put(platform_at, platform);
    put(random_at, &f.random);
    let mut at = sp;
    let mut word = |v: u64| {
        put(at, &v.to_le_bytes());
        at += 8;
    };
    word(args.count as u64);
    for (strings, base) in [(args, arg_at), (env, env_at)] {
        let mut p = base;
        for s in strings.iter() {
            word(p);
            p += s.len() as u64 + 1;
        }
        word(0);
    }
    let auxv_at = sp + 8 * words as u64;
    put(auxv_at, &auxv);
    Stack { sp, bytes, arg: (arg_at, env_at), env: (env_at, name_at), auxv }
}

fn auxv(f: &Facts<'_>, name_at: u64, platform_at: u64, random_at: u64) -> Vec<u8> {
    let c = f.cred;
    let l = f.loaded;
    let mut list = Vec::with_capacity(24);
    if f.vdso != 0 {
        list.push((AT_SYSINFO_EHDR, f.vdso));
    }
    list.extend([
        (AT_MINSIGSTKSZ, f.host.minsigstksz),
        (AT_HWCAP, f.host.hwcap),
        (AT_PAGESZ, PAGE_SIZE),
        (AT_CLKTCK, USER_HZ),
        (AT_PHDR, l.table_addr),
        (AT_PHENT, elf::PHDR_LEN as u64),
        (AT_PHNUM, u64::from(l.table_count)),
        (AT_BASE, l.interp_base),
        (AT_FLAGS, 0),
        (AT_ENTRY, l.program_entry),
        (AT_UID, u64::from(c.uid)),
        (AT_EUID, u64::from(c.euid)),
        (AT_GID, u64::from(c.gid)),
        (AT_EGID, u64::from(c.egid)),
        (AT_SECURE, u64::from(f.secure)),
        (AT_RANDOM, random_at),
        (AT_HWCAP2, f.host.hwcap2),
        (AT_EXECFN, name_at),
        (AT_PLATFORM, platform_at),
        (AT_NULL, 0),
    ]);
    list.iter().flat_map(|(k, v)| [k.to_le_bytes(), v.to_le_bytes()].concat()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_finds_its_arguments() {
        let loaded = Loaded { table_addr: 0x40, table_count: 3, ..Loaded::default() };
        let host = HostFacts { platform: "x86_64".into(), ..HostFacts::default() };
        let cred = Cred::user(7, 8, vec![]);
        let f = Facts {
            loaded: &loaded,
            cred: &cred,
            secure: false,
            vdso: 0,
            host: &host,
            random: [9; 16],
            name: b"/bin/x",
        };
        let (args, env) = (Strings::of([&b"x"[..], b"", b"yz"]), Strings::of([&b"A=1"[..]]));
        let top = 0x7000_0000;
        let s = build(top, &args, &env, &f);
        assert_eq!(s.sp % 16, 0);
        assert_eq!(s.sp + s.bytes.len() as u64, top);
        let word = |at: u64| {
            let i = (at - s.sp) as usize;
            u64::from_le_bytes(s.bytes[i..i + 8].try_into().unwrap())
        };
        let text = |at: u64| {
            let b = &s.bytes[(at - s.sp) as usize..];
            b[..b.iter().position(|b| *b == 0).unwrap()].to_vec()
        };
        assert_eq!(word(s.sp), 3);
        assert_eq!(text(word(s.sp + 8)), b"x");
        assert_eq!(text(word(s.sp + 16)), b"");
        assert_eq!(text(word(s.sp + 24)), b"yz");
        assert_eq!(word(s.sp + 32), 0);
        assert_eq!(text(word(s.sp + 40)), b"A=1");
        assert_eq!(word(s.sp + 48), 0);
        let mut at = s.sp + 56;
        let mut seen = std::collections::BTreeMap::new();
        while word(at) != AT_NULL {
            seen.insert(word(at), word(at + 8));
            at += 16;
        }
        assert_eq!((seen[&AT_UID], seen[&AT_EGID], seen[&AT_PHNUM]), (7, 8, 3));
        assert_eq!(text(seen[&AT_EXECFN]), b"/bin/x");
        assert_eq!(text(seen[&AT_PLATFORM]), b"x86_64");
        assert_eq!(s.bytes[(seen[&AT_RANDOM] - s.sp) as usize..][..16], [9; 16]);
        assert_eq!(s.arg.1 - s.arg.0, 6);
    }
}
