use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

fn boot(args: &[&str]) -> Config {
    match parse(args) {
        Ok(Request::Boot(config)) => *config,
        other => panic!("{args:?}: {other:?}"),
    }
}

/// A configuration without complaints.
fn clean(args: &[&str]) -> Config {
    let config = boot(args);
    assert_eq!(config.problems, Vec::<String>::new(), "{args:?}");
    config
}

fn problem(arg: &str) -> String {
    match &boot(&[arg]).problems[..] {
        [one] => one.clone(),
        other => panic!("{arg}: {other:?}"),
    }
}

fn error(args: &[&str]) -> String {
    parse(args).expect_err("an error").0
}

fn strings(list: &[Vec<u8>]) -> Vec<&str> {
    list.iter().map(|a| core::str::from_utf8(a).unwrap()).collect()
}

#[test]
fn nothing_given() {
    let c = clean(&[]);
    assert_eq!(c.command_line, b"root=98:0 console=tty0");
    assert_eq!((c.memory, c.root_rw, c.quiet, c.no_reboot), (64 << 20, false, false, false));
    assert_eq!(c.root, b"98:0");
    assert_eq!(c.consoles, ["tty0"]);
    assert_eq!(strings(&c.init_env), ["HOME=/", "TERM=linux"]);
    assert_eq!(c.init_args.len(), 0);
    assert_eq!(*c.con.get(0), LineConfig::Pair(Channel::Fd(0), Channel::Fd(1)));
    assert_eq!(*c.con.get(15), LineConfig::Both(Channel::Xterm));
    assert_eq!(*c.con.get(16), LineConfig::None);
    assert_eq!(*c.ssl.get(63), LineConfig::Both(Channel::Pts));
}

#[test]
fn information_requests() {
    assert_eq!(parse(&["--help"]), Ok(Request::Help));
    assert_eq!(parse(&["quiet", "--version"]), Ok(Request::Version));
    assert_eq!(parse(&["--showconfig"]), Ok(Request::ShowConfig));
    // No option of ours: it boots, and init is given the word.
    assert_eq!(strings(&boot(&["-h"]).init_args), ["-h"]);
    assert_eq!(strings(&boot(&["--", "--help"]).init_args), ["--help"]);
    let help = help("6.12.0");
    assert!(help.starts_with("User Mode Linux v6.12.0\n"));
    for option in ["mem=", "umid=", "ubdN", "con[N]=", "hostfs=", "--showconfig"] {
        assert!(help.contains(option), "{option}");
    }
    let config = show_config("6.12.0", &[("HOSTFS", true), ("SOUND", false)]);
    assert!(config.contains("CONFIG_HOSTFS=y\n") && config.contains("# CONFIG_SOUND is not set\n"));
    assert!(config.contains("# Automatically generated file"));
}

#[test]
fn memory_sizes() {
    let sizes = [
        ("mem=33554432", 32 << 20),
        ("mem=32768k", 32 << 20),
        ("mem=256M", 256 << 20),
        ("mem=256MB", 256 << 20),
        ("mem=1g", 1 << 30),
        ("mem=2GiB", 2 << 30),
        ("mem=0x2000000", 32 << 20),
        ("mem=33554433", (32 << 20) + 4096),
    ];
    for (arg, bytes) in sizes {
        assert_eq!(clean(&[arg]).memory, bytes, "{arg}");
        assert!(!boot(&[arg]).command_line.starts_with(b"mem"), "{arg}");
    }
    for arg in ["mem=", "mem=M", "mem=12x", "mem=-1", "mem=64MM", "mem=99999999999999999999G", "mem=1000000T"]
    {
        assert!(error(&[arg]).starts_with("mem="), "{arg}: {}", error(&[arg]));
    }
    assert_eq!(error(&["mem=1M"]), format!("Too few physical memory! Needed={MIN_MEMORY}, given=1048576"));
}

#[test]
fn early_options_are_taken_out() {
    let c = clean(&[
        "mem=64M",
        "umid=box",
        "uml_dir=/run/uml",
        "quiet",
        "ncpus=4",
        "noreboot",
        "initrd=/i",
        "rw",
    ]);
    assert_eq!(c.command_line, b"quiet rw root=98:0 console=tty0");
    assert_eq!((c.umid.as_deref(), c.uml_dir.as_deref()), (Some("box"), Some(&b"/run/uml"[..])));
    assert_eq!((c.quiet, c.root_rw, c.no_reboot, c.ncpus), (true, true, true, Some(4)));
    assert_eq!(c.initrd.as_deref(), Some(&b"/i"[..]));
    assert_eq!(clean(&["ncpus=0"]).ncpus, Some(1));
    assert_eq!(clean(&["ncpus=100000"]).ncpus, Some(MAX_CPUS));
    assert!(error(&["ncpus=many"]).starts_with("ncpus=many"));
    assert_eq!(clean(&["seccomp=auto"]).seccomp, Seccomp::Auto);
    assert_eq!(error(&["seccomp=x"]), "Invalid seccomp option 'x', expected on/auto/off");
    let former = clean(&["mode=skas", "skas0", "dsp=/dev/dsp", "nosysemu"]);
    assert_eq!(former.without_effect.len(), 4);
    assert_eq!(former.command_line, b"root=98:0 console=tty0");
}

#[test]
fn umids() {
    let twice = boot(&["umid=a", "umid=b"]);
    assert_eq!(twice.umid.as_deref(), Some("a"));
    assert_eq!(twice.problems, ["umid already set"]);
    assert_eq!(strings(&twice.init_env), ["HOME=/", "TERM=linux", "umid=b"]);
    let long = format!("umid={}", "x".repeat(64));
    assert_eq!(boot(&[&long]).umid, None);
    assert_eq!(clean(&[&long[..long.len() - 1]]).umid.map(|u| u.len()), Some(63));
    for bad in ["umid=a/b", "umid=..", "umid=a b"] {
        assert!(error(&[bad]).starts_with("umid="), "{bad}");
    }
    assert_eq!(boot(&["uml_dir="]).uml_dir, None);
    assert!(problem("uml_dir=").contains("uml_dir"));
}

#[test]
fn root_and_init() {
    let c = clean(&["rootfstype=hostfs", "rootflags=/srv/tree", "rw", "init=/bin/sh"]);
    assert_eq!(c.rootfstype.as_deref(), Some("hostfs"));
    assert_eq!(c.rootflags, b"/srv/tree");
    assert_eq!(c.init.as_deref(), Some(&b"/bin/sh"[..]));
    assert!(c.root_rw);
    assert!(!clean(&["rw", "ro"]).root_rw);
    let c = clean(&["root=/dev/ubdb", "rootdelay=3", "rootwait", "panic=-1", "loglevel=4", "console=ttyS0"]);
    assert_eq!((c.root.as_slice(), c.rootdelay, c.rootwait), (&b"/dev/ubdb"[..], 3, true));
    assert_eq!((c.panic, c.loglevel), (Some(-1), Some(4)));
    assert_eq!(c.consoles, ["ttyS0"]);
    assert_eq!(c.command_line, b"root=/dev/ubdb rootdelay=3 rootwait panic=-1 loglevel=4 console=ttyS0");
    assert_eq!(error(&["loglevel=loud"]), "loglevel=loud: 'loud' is not a number that it takes");
    assert_eq!(
        error(&["panic=99999999999"]),
        "panic=99999999999: '99999999999' is not a number that it takes"
    );
}

#[test]
fn unknown_words_go_to_init() {
    let c =
        clean(&["single", "FOO=bar", "systemd.unit=rescue.target", "TERM=vt100", "-s", "mymod.x", "FOO=baz"]);
    assert_eq!(strings(&c.init_args), ["single", "-s"]);
    assert_eq!(strings(&c.init_env), ["HOME=/", "TERM=vt100", "FOO=baz"]);
    assert_eq!(strings(&c.unknown), ["single", "FOO=bar", "TERM=vt100", "-s", "FOO=baz"]);
    // A boot loader's own words come before init= and are dropped.
    assert_eq!(strings(&clean(&["auto", "init=/bin/sh", "-l"]).init_args), ["-l"]);
    // Kernel parameters do not care about dashes.
    assert!(clean(&["ignore-loglevel"]).ignore_loglevel);
    let many: Vec<String> = (0..40).map(|i| format!("w{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(error(&many), "Too many boot init vars at `w32'");
}

#[test]
fn everything_behind_dashes_is_for_init() {
    let c = clean(&["rw", "--", "mem=1", "-c", "umid=x", "root=/dev/sda", "--"]);
    assert_eq!(strings(&c.init_args), ["mem=1", "-c", "umid=x", "root=/dev/sda", "--"]);
    assert_eq!(c.command_line, b"rw root=98:0 console=tty0 -- mem=1 -c umid=x root=/dev/sda --");
    assert_eq!((c.umid, c.memory), (None, DEFAULT_MEMORY));
    // Also when it comes inside one argument.
    assert_eq!(strings(&clean(&["rw -- a \"b c\""]).init_args), ["a", "b c"]);
}

#[test]
fn quoting() {
    let c = clean(&["A=\"x y\"", "\"B=p q\"", "C=x y", "init=\"/my init\"", "\"two words\""]);
    assert_eq!(strings(&c.init_env), ["HOME=/", "TERM=linux", "A=x y", "B=p q", "C=x"]);
    assert_eq!(c.init.as_deref(), Some(&b"/my init"[..]));
    assert_eq!(strings(&c.init_args), ["two words"]);
    // Without its end a quote reaches to the end of the line.
    let c = clean(&["root=x", "console=tty0", "unended=\"a b", "c"]);
    assert_eq!(strings(&c.init_env).last(), Some(&"unended=a b c"));
    assert_eq!(problem("\"con1=x\ny\""), "setup_one_line failed for device 1 : failed to parse channel pair");
    assert!(problem("\"con77=x\ny\"").contains("77=x\\n"), "messages stay one line");
}

#[test]
fn line_length_is_limited() {
    let long = "x".repeat(COMMAND_LINE_MAX);
    assert_eq!(error(&[&long]), "add_arg: Too many command line arguments!");
    // The defaults count too.
    assert_eq!(error(&[&long[..COMMAND_LINE_MAX - 10]]), "add_arg: Too many command line arguments!");
    assert_eq!(clean(&[&long[..4000]]).command_line.len(), 4000 + 23);
}

#[test]
fn consoles_and_serial_lines() {
    use Channel::*;
    let c = clean(&[
        "con=null",
        "con0=fd:0,fd:1",
        "con1=port:9000",
        "con0x2=tty:/dev/tty8",
        "ssl=none",
        "ssl3=pty",
    ]);
    assert_eq!(*c.con.get(0), LineConfig::Pair(Fd(0), Fd(1)));
    assert_eq!(*c.con.get(1), LineConfig::Both(Port(9000)));
    assert_eq!(*c.con.get(2), LineConfig::Both(Tty(b"/dev/tty8".to_vec())));
    assert_eq!(*c.con.get(3), LineConfig::Both(Null));
    assert_eq!((c.ssl.get(0), c.ssl.get(3)), (&LineConfig::None, &LineConfig::Both(Pts)));
    let c = clean(&["con0=null,fd:2", "con1=fd:0,fd:1", "con1=xterm", "ssl-non-raw", "stderr=1"]);
    assert_eq!(*c.con.get(0), LineConfig::Pair(Null, Fd(2)));
    assert_eq!(*c.con.get(1), LineConfig::Both(Xterm));
    assert!(c.ssl_non_raw && c.stderr_console);
    let wrong = [
        ("con16=null", "console with configuration string \"16=null\" : Device number out of range"),
        ("con1x=null", "console with configuration string \"1x=null\" : Couldn't parse device number"),
        ("ssl64=null", "serial line with configuration string \"64=null\" : Device number out of range"),
    ];
    for (arg, text) in wrong {
        assert_eq!(problem(arg), format!("Failed to set up {text}"));
    }
    let wrong = [
        ("con1=x-terminal-emulator", "failed to parse channel pair"),
        ("con1=fd", "fd_init : channel type 'fd' must specify a file descriptor"),
        ("con1=fd:x", "fd_init : couldn't parse file descriptor 'x'"),
        ("con1=null,port", "port_init : channel type 'port' must specify a port number"),
        ("con1=port:70000", "port_init : couldn't parse port '70000'"),
        ("con1=tty", "tty_init : channel type 'tty' must specify a device"),
    ];
    for (arg, text) in wrong {
        assert_eq!(problem(arg), format!("setup_one_line failed for device 1 : {text}"));
        assert_eq!(*boot(&[arg]).con.get(1), LineConfig::None, "{arg}");
    }
    // Words that only look alike.
    let c = clean(&["container=lxc", "sslmode=off", "config"]);
    assert_eq!(strings(&c.init_env)[2..], ["container=lxc", "sslmode=off"]);
    let x = clean(&["xterm=gnome-terminal,-t,--"]).xterm;
    assert_eq!((&x.program[..], &x.exec_switch[..]), (&b"gnome-terminal"[..], &b"--"[..]));
    assert_eq!(clean(&["xterm=,-title"]).xterm.program, b"xterm");
}

#[test]
fn disks() {
    let spec = |arg: &str| clean(&[arg]).ubd.remove(0);
    let file = |unit, name: &str| UbdSpec { unit, file: name.into(), ..UbdSpec::default() };
    assert_eq!(spec("ubd0=root_fs"), file(0, "root_fs"));
    assert_eq!(spec("ubdc=x"), file(2, "x"));
    assert_eq!(spec("ubd0xf=x"), file(15, "x"));
    let cow = UbdSpec { backing: Some(b"base".to_vec()), ..file(1, "cow") };
    assert_eq!(spec("ubd1=cow,base"), cow);
    assert_eq!(spec("ubd1=cow:base"), cow);
    let serial = UbdSpec { serial: Some(b"SN1".to_vec()), ..file(0, "File") };
    assert_eq!(spec("ubd0=File,,SN1"), serial);
    let all =
        UbdSpec { read_only: true, sync: true, data: true, shared: true, no_trim: true, ..file(0, "f") };
    assert_eq!(spec("ubd0rsdctr=f"), all);
    assert!(clean(&["ubd=sync"]).ubd_sync);
    let reasons = [
        ("16=x", "Device number out of range"),
        ("q=x", "Device number out of range"),
        ("_=x", "Couldn't parse device number"),
        ("0z=x", "Expected '=' or flag letter (r, s, c, t or d)"),
        ("0rrrrrrr=x", "Too many flags specified"),
        ("0r", "Missing '='"),
        ("0=", "Missing file name"),
        ("0d=x,y", "Can't specify both 'd' and a cow file"),
    ];
    for (rest, why) in reasons {
        assert_eq!(
            problem(&format!("ubd{rest}")),
            format!("Failed to initialize device with \"{rest}\" : {why}")
        );
    }
    let twice = boot(&["ubd0=a", "ubda=b"]);
    assert_eq!((twice.ubd.len(), &twice.ubd[0].file[..]), (1, &b"a"[..]));
    assert!(twice.problems[0].ends_with("Device is already configured"));
    assert!(problem("ubd=98").contains("no longer supported"));
    assert!(problem("udb0=x").contains("typo for ubd"));
}

#[test]
fn legacy_network_devices() {
    use EthTransport::*;
    let spec = |arg: &str| clean(&[arg]).eth.remove(0);
    let mac = Mac::Fixed([0xfe, 0xfd, 0, 0, 0, 1]);
    let ip = Ipv4Addr::new(192, 168, 0, 254);
    assert_eq!(
        spec("eth0=tuntap,tap0,fe:fd:0:0:0:1,192.168.0.254"),
        EthSpec { unit: 0, mac, transport: Tuntap { device: Some("tap0".into()), host_ip: Some(ip) } }
    );
    assert_eq!(spec("eth1=tuntap,,,192.168.0.254").transport, Tuntap { device: None, host_ip: Some(ip) });
    assert_eq!(spec("eth0=daemon").transport, Daemon { control: None });
    let daemon = spec("eth0=daemon,fe:fd:00:00:00:01,unix,/tmp/ctl");
    assert_eq!((daemon.mac, daemon.transport), (mac, Daemon { control: Some(b"/tmp/ctl".to_vec()) }));
    let group = Ipv4Addr::new(239, 192, 168, 1);
    assert_eq!(spec("eth0=mcast").transport, Mcast { group, port: 1102, ttl: 1 });
    assert_eq!(spec("eth0=mcast,,,9999,3").transport, Mcast { group, port: 9999, ttl: 3 });
    assert_eq!(
        spec("eth0=ucast,,192.168.0.254,5,6").transport,
        Ucast { remote: ip, listen_port: 5, remote_port: 6 }
    );
    assert_eq!(
        spec("eth0=pcap,eth1,tcp,nopromisc,optimize").transport,
        Pcap { interface: "eth1".into(), filter: Some(b"tcp".to_vec()), promiscuous: false, optimize: true }
    );
    assert_eq!(spec("eth0=slip").transport, Slip { host_ip: None });
    let command = vec![b"/usr/bin/slirp_x".to_vec(), b"redir tcp 1 2".to_vec()];
    assert_eq!(spec("eth0=slirp,,/usr/bin/slirp_x,redir_tcp_1_2").transport, Slirp { command });
    assert_eq!(spec("eth0=slirp").transport, Slirp { command: vec![b"slirp".to_vec()] });
    let Vde { port, mode, .. } = spec("eth0=vde,/tmp/vde,,3,,0770,me").transport else { panic!("not vde") };
    assert_eq!((port, mode), (3, 0o770));

    assert_eq!(problem("ethx=daemon"), "eth_setup - Couldn't parse 'x=daemon' : Bad device number");
    assert_eq!(
        problem("eth0daemon=1"),
        "eth_setup - Couldn't parse '0daemon=1' : Expected '=' after device number"
    );
    assert!(boot(&["eth0=daemon", "eth0=mcast"]).problems[0].ends_with("Device already configured"));
    for arg in [
        "eth0=nosuch",
        "eth0=daemonx",
        "eth0=ucast",
        "eth0=mcast,,1.2.3.4",
        "eth0=slip,1.2.3",
        "eth0=ethertap",
    ] {
        assert!(problem(arg).starts_with("eth0: "), "{arg}");
        assert!(boot(&[arg]).eth.is_empty(), "{arg}");
    }
    for arg in [
        "eth0=daemon,1:2:3",
        "eth0=daemon,01:00:5e:00:00:01",
        "eth0=daemon,0:0:0:0:0:0",
        "eth0=daemon,+1:2:3:4:5:6",
    ] {
        assert!(problem(arg).starts_with("eth0: "), "{arg}");
        assert_eq!(boot(&[arg]).eth[0].mac, Mac::Random, "{arg}");
    }
    assert!(problem("eth0=tuntap,a,,1.1.1.1,x").contains("Extra garbage on specification : 'x'"));
}

#[test]
fn vector_network_devices() {
    let c = clean(&["vec0:transport=tap,ifname=tap0,depth=128,gro", "vec3:transport=fd,fd=5"]);
    assert_eq!(c.vec[0].transport(), Some(&b"tap"[..]));
    assert_eq!(c.vec[0].options.len(), 3);
    assert_eq!((c.vec[1].unit, c.vec[1].get("fd")), (3, Some(&b"5"[..])));
    assert!(problem("vec0=transport=tap").ends_with("Expected ':' after device number"));
    assert_eq!(problem("vec0:a=b=c"), "vector_setup - Couldn't parse 'a=b=c'");
    assert!(problem(&format!("vec0:{}", vec!["k=v"; 21].join(","))).starts_with("vector_setup"));
    // No device, but a variable.
    assert_eq!(strings(&clean(&["vector=1"]).init_env).last(), Some(&"vector=1"));
}

#[test]
fn hostfs_and_mconsole() {
    let c = clean(&["hostfs=/srv/j,append", "mconsole=notify:/tmp/n"]);
    assert_eq!(c.hostfs, Hostfs { dir: b"/srv/j".to_vec(), append: true });
    assert_eq!(c.mconsole_notify.as_deref(), Some(&b"/tmp/n"[..]));
    assert_eq!(clean(&["hostfs=,append"]).hostfs, Hostfs { dir: Vec::new(), append: true });
    assert_eq!(problem("hostfs=/j,what"), "hostfs_args - unsupported option - what");
    assert!(problem("mconsole=x").starts_with("mconsole=x"));
}

#[test]
fn arguments_need_not_be_text() {
    let c = match parse(&[&b"init=/bin/\xff"[..], b"V=\xfe"]) {
        Ok(Request::Boot(c)) => c,
        other => panic!("{other:?}"),
    };
    assert_eq!(c.init.as_deref(), Some(&b"/bin/\xff"[..]));
    assert_eq!(c.init_env.last().map(Vec::as_slice), Some(&b"V=\xfe"[..]));
    assert!(parse(&[&b"a\0b"[..]]).is_err());
}

/// Pieces that options are made of, to get deep into the parsers.
fn argument() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "mem=",
        "umid=",
        "con",
        "ssl",
        "ubd",
        "eth",
        "vec",
        "0",
        "15",
        "99999999999999999999",
        "0x",
        "=",
        ",",
        ":",
        "fd",
        "port",
        "tty",
        "null",
        "xterm",
        "tuntap",
        "daemon",
        "slirp",
        "vde",
        "mcast",
        "ucast",
        "pcap",
        "unix",
        "r",
        "s",
        "--",
        " ",
        "\"",
        "hostfs=",
        "append",
        "init=",
        "root=",
        "console=",
        "a",
        ".",
        "-",
        "M",
        "é",
        "1.2.3.4",
        "fe:fd:0:0:0:1",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|p| p.concat())
}

proptest! {
    #[test]
    fn any_arguments_are_read_without_a_panic(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
        let _ = parse(&args);
    }

    #[test]
    fn likely_arguments_give_consistent_configurations(args in prop::collection::vec(argument(), 0..10)) {
        match parse(&args) {
            Err(Error(text)) => prop_assert!(!text.is_empty() && !text.contains('\n')),
            Ok(Request::Boot(c)) => {
                prop_assert!(c.memory >= MIN_MEMORY && c.memory.is_multiple_of(4096));
                prop_assert!(c.command_line.len() < COMMAND_LINE_MAX);
                prop_assert!(c.init_args.len() <= MAX_INIT_ARGS && c.init_env.len() <= MAX_INIT_ARGS);
                prop_assert!(c.problems.iter().all(|p| !p.contains('\n')));
                prop_assert!(c.ubd.iter().all(|u| u.unit < 16 && !u.file.is_empty()));
                prop_assert!(c.umid.is_none_or(|u| !u.contains('/') && u.len() <= UMID_MAX));
            }
            Ok(_) => {}
        }
    }

    /// A kernel line that is given again as one argument means the same to the kernel and to init.
    #[test]
    fn command_line_reads_back(args in prop::collection::vec("[a-zA-Z0-9_=./-]{1,12}", 0..8)) {
        if let Ok(Request::Boot(first)) = parse(&args) {
            let line = String::from_utf8(first.command_line.clone()).unwrap();
            prop_assume!(line.contains("root=") && line.contains("console="));
            let again: Vec<&str> = line.split(' ').collect();
            let Ok(Request::Boot(second)) = parse(&again) else { panic!("{line}") };
            prop_assert_eq!(&second.command_line, &first.command_line);
            prop_assert_eq!(&second.init_args, &first.init_args);
            prop_assert_eq!(&second.init_env, &first.init_env);
        }
    }

    #[test]
    fn words_cover_the_line(line in "[a-z=\" -]{0,60}") {
        let words: Vec<_> = words::split(line.as_bytes()).collect();
        prop_assert!(words.iter().zip(words.iter().skip(1)).all(|(a, b)| a.start < b.start));
        let letters = |s: &[u8]| s.iter().filter(|b| b.is_ascii_lowercase()).count();
        prop_assert_eq!(words.iter().map(|w| letters(&w.whole())).sum::<usize>(), letters(line.as_bytes()));
    }

    #[test]
    fn numbers_read_as_in_c(n in any::<u64>()) {
        prop_assert_eq!(whole_number(n.to_string().as_bytes()), Some(n));
        prop_assert_eq!(whole_number(format!("{n:#x}").as_bytes()), Some(n));
        prop_assert_eq!(whole_number(format!("0{n:o}").as_bytes()), Some(n));
        let tail = format!("{n}=x");
        prop_assert_eq!(number(tail.as_bytes()), Some((n, &b"=x"[..])));
    }
}
