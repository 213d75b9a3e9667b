//! Users of a tree: passwd(5) and group(5), read from the machine's own root.

/// Who runs the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    /// Login name, if it has one.
    pub name: Option<String>,
    pub home: Option<String>,
    pub shell: Option<String>,
}

/// Resolves `--user`: a name, or UID[:GID]. `passwd` and `group` are the files' texts, empty if missing.
pub fn resolve(spec: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (who, gid) = match spec.split_once(':') {
        Some((w, g)) => {
            let gid = g.parse().map_err(|_| format!("--user {spec}: `{g}` is not a group number"))?;
            (w, Some(gid))
        }
        None => (spec, None),
    };
    let number: Option<u32> = who.parse().ok();
    let entry = passwd.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|f| {
        f.len() >= 7 && (f[0] == who || number.is_some() && f[2].parse() == Ok(number.unwrap_or_default()))
    });
    let mut user = match (&entry, number) {
        (Some(f), _) => User {
            uid: f[2].parse().map_err(|_| format!("--user {spec}: bad entry in /etc/passwd"))?,
            gid: f[3].parse().map_err(|_| format!("--user {spec}: bad entry in /etc/passwd"))?,
            groups: Vec::new(),
            name: Some(f[0].into()),
            home: Some(f[5].into()),
            shell: Some(f[6].trim_end().into()).filter(|s: &String| !s.is_empty()),
        },
        (None, Some(uid)) => {
            User { uid, gid: gid.unwrap_or(uid), groups: Vec::new(), name: None, home: None, shell: None }
        }
        (None, None) => return Err(format!("--user {spec}: no such user in the machine's /etc/passwd")),
    };
    if let Some(g) = gid {
        user.gid = g;
    }
    if let Some(name) = &user.name {
        user.groups = group
            .lines()
            .filter_map(|l| {
                let f: Vec<_> = l.split(':').collect();
                let member = f.len() >= 4 && f[3].trim_end().split(',').any(|m| m == name);
                if member { f[2].parse().ok() } else { None }
            })
            .filter(|g| *g != user.gid)
            .collect();
    }
    Ok(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000:Ann:/home/ann:/bin/sh\n";
    const GROUP: &str = "root:x:0:\naudio:x:29:ann,bob\nann:x:1000:ann\n";

    #[test]
    fn names_numbers_and_groups() {
        let ann = resolve("ann", PASSWD, GROUP).unwrap();
        assert_eq!((ann.uid, ann.gid, ann.groups.as_slice()), (1000, 1000, &[29][..]));
        assert_eq!(resolve("1000:5", PASSWD, GROUP).unwrap().gid, 5);
        assert_eq!(resolve("7", PASSWD, GROUP).unwrap().gid, 7);
        assert_eq!(resolve("0", PASSWD, GROUP).unwrap().shell.as_deref(), Some("/bin/bash"));
        assert!(resolve("nobody", PASSWD, GROUP).is_err());
        assert!(resolve("1:x", PASSWD, GROUP).is_err());
    }
}
