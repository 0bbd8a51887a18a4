//! A mount from its beginning to its end, and commands that talk to it.

use std::io::Write;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::{Answer, Sandbox, can_mount, wait_for};

fn is_mounted(path: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

/// Law: the parent exits 0 only once the mount answers; umount returns once everything is gone.
#[test]
fn a_mount_answers_at_once_and_is_really_gone_afterwards() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    sandbox.write("mnt/file", "content");
    let status = sandbox.json("status mnt --json");
    assert_eq!(status["mount"]["mount_point"], sandbox.path("mnt").to_str().unwrap());
    assert_eq!(status["alias"], "alias/aws/fs");
    assert_eq!(status["key_state"], "Enabled");
    assert!(status["mount"]["requests"]["write"].as_u64().unwrap() >= 1, "{status}");
    assert_eq!(status["mount"]["recent"].as_array().unwrap().len(), 0, "{status}");
    // The same volume by its lower directory, and by its id.
    let id = status["volume_id"].as_str().unwrap();
    for name in ["lower", id] {
        assert_eq!(sandbox.json(&format!("status {name} --json"))["volume_id"], id);
    }
    sandbox.line("status mnt/absent").assert_refused(1, "absent: no such file or directory");
    let text = sandbox.ok("umount mnt");
    assert!(text.contains("is unmounted.\nnext: kmsfs mount "), "{text}");
    assert!(!is_mounted(&sandbox.path("mnt")));
    // The lock is free and the volume was closed cleanly: a command can open it now.
    assert_eq!(sandbox.ok("cat lower file --keyfile key"), "content");
    assert!(std::fs::read_dir(sandbox.path("run/kmsfs")).unwrap().next().is_none());
    sandbox.line("umount mnt").assert_refused(1, "no volume is mounted there");
}

/// Law: the table of descriptors does not grow while files are opened, which would hold up all of them.
#[test]
fn a_mount_has_room_for_the_files_that_it_opens() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    let pid = sandbox.json("status mnt --json")["mount"]["pid"].as_u64().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let number = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    assert!(number("FDSize:") >= 1024, "{status}");
    assert!(number("Threads:") > 1, "{status}");
}

/// Rewraps until nothing is left: the mount's own worker may be at the same file.
fn rewrap_all(sandbox: &Sandbox) {
    wait_for("end of rewrapping", || sandbox.json("rewrap mnt --json")["left"] == 0);
}

/// The session of rotation on a live mount.
#[test]
fn rotation_of_a_mounted_volume() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    for no in 0..3 {
        sandbox.write(&format!("mnt/{no}"), "content");
    }
    let text = sandbox.ok("rotate mnt");
    assert!(text.starts_with("alias/aws/fs -> key "), "{text}");
    // The mount's own worker may have rewrapped all of them already.
    let is_done = text.contains("\nnext: kmsfs usage mnt");
    assert!(is_done || text.contains("\nnext: kmsfs rewrap mnt"), "{text}");
    assert_eq!(sandbox.json("rewrap mnt/1 --json")["seen"], 1);
    assert_eq!(sandbox.json("rewrap mnt 0 /2 mnt/1 --json")["seen"], 3);
    rewrap_all(&sandbox);
    let usage = sandbox.json("usage mnt --json");
    assert_eq!(usage["rows"].as_array().unwrap().len(), 1, "{usage}");
    assert_eq!(usage["rows"][0]["files"], 3);
    assert_eq!(usage["rows"][0]["current"], true);
    let rotated = sandbox.json("rotate mnt --rewrap --json");
    assert_eq!(rotated["rewrap"]["seen"], 3, "{rotated}");
    rewrap_all(&sandbox);
    let file = sandbox.json("status mnt/1 --json");
    assert_eq!(file["material"], rotated["material"]);
    assert_eq!((&file["stale"], &file["schema"]), (&false.into(), &"kmsfs.file/1".into()));
    assert_eq!(sandbox.read("mnt/1").unwrap(), "content");
}

#[test]
fn mount_points_that_cannot_be_used_are_refused() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_volume();
    for dir in ["full", "mnt", "above/lower/mnt"] {
        std::fs::create_dir_all(sandbox.path(dir)).unwrap();
    }
    sandbox.write("full/file", "x");
    let mount = |line: &str| -> Answer { sandbox.line(&format!("mount {line} --keyfile key")) };
    mount("lower absent").assert_refused(10, "does not exist");
    mount("lower full").assert_refused(10, "is not empty");
    mount("lower full/file").assert_refused(10, "not a directory");
    mount("lower lower").assert_refused(10, "lower");
    std::fs::remove_dir(sandbox.path("above/lower/mnt")).unwrap();
    sandbox.ok("init above/lower/vol --keyfile key");
    mount("above/lower/vol above/lower").assert_refused(10, "lies inside the mount point");
    mount("lower lower/inside --create").assert_refused(10, "inside the lower directory");
    mount("new new/inside --create").assert_refused(10, "inside the lower directory");
    assert!(!sandbox.path("lower/inside").exists() && !sandbox.path("new").exists());
    mount("full mnt").assert_refused(23, "neither a volume nor a mount");
    mount("lower mnt -o ro,frobnicate").assert_refused(2, "unknown mount option: frobnicate");
    mount("full mnt --create").assert_refused(23, "neither a volume nor a mount");
    assert!(!is_mounted(&sandbox.path("mnt")));
}

#[test]
fn a_volume_is_mounted_once() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    std::fs::create_dir(sandbox.path("other")).unwrap();
    sandbox.line("mount lower other --keyfile key").assert_refused(51, "is already mounted at");
    // Nor when the first mount cannot be seen: the volume itself is locked.
    let mut blind = sandbox.command(&["mount", "lower", "other", "--keyfile", "key"]);
    std::fs::create_dir(sandbox.path("run2")).unwrap();
    let answer: Answer =
        blind.env("XDG_RUNTIME_DIR", sandbox.path("run2")).output().unwrap().into();
    answer.assert_refused(51, "open elsewhere");
    // Nor two volumes on one mount point.
    sandbox.ok("init second --keyfile key");
    sandbox.line("mount second mnt --keyfile key").assert_refused(10, "is in use by");
}

#[test]
fn umount_of_a_busy_mount_names_who_uses_it() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    let mut user = std::process::Command::new("sleep")
        .arg("60")
        .current_dir(sandbox.path("mnt"))
        .spawn()
        .unwrap();
    sandbox.line("umount mnt").assert_refused(31, &format!("pid {}", user.id()));
    assert!(is_mounted(&sandbox.path("mnt")));
    sandbox.ok("umount mnt --lazy");
    assert!(!is_mounted(&sandbox.path("mnt")));
    user.kill().unwrap();
    user.wait().unwrap();
    // The last user is gone, so the mount ends and lets the volume go.
    wait_for("end of the mount", || sandbox.line("usage lower --keyfile key").code == 0);
}

/// Law: SIGTERM unmounts cleanly; a service manager is told when the mount answers.
#[test]
fn a_foreground_mount_obeys_its_service_manager() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_volume();
    std::fs::create_dir(sandbox.path("mnt")).unwrap();
    let notify = UnixDatagram::bind(sandbox.path("notify")).unwrap();
    notify.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut mount = sandbox.command(&["mount", "-f", "lower", "mnt", "--keyfile", "key"]);
    mount.env("NOTIFY_SOCKET", sandbox.path("notify")).stdout(Stdio::piped());
    let mut child = mount.spawn().unwrap();
    let mut buffer = [0; 512];
    let len = notify.recv(&mut buffer).unwrap();
    let told = std::str::from_utf8(&buffer[..len]).unwrap();
    assert!(told.starts_with(&format!("READY=1\nMAINPID={}\n", child.id())), "{told}");
    sandbox.write("mnt/file", "content");
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!is_mounted(&sandbox.path("mnt")));
    assert_eq!(sandbox.ok("cat lower file --keyfile key"), "content");
}

/// A mount that does not answer is told from a directory that is none.
#[test]
fn a_mount_without_its_socket_is_still_seen_as_one() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.ok("init lower --keyfile key");
    std::fs::create_dir(sandbox.path("mnt")).unwrap();
    sandbox.ok("mount lower mnt --keyfile key");
    let sockets = std::fs::read_dir(sandbox.path("run/kmsfs")).unwrap().flatten();
    sockets.for_each(|socket| std::fs::remove_file(socket.path()).unwrap());
    sandbox.line("rotate mnt").assert_refused(1, "does not answer");
    let done = std::process::Command::new("umount").arg(sandbox.path("mnt")).status().unwrap();
    assert!(done.success());
}

/// Law: mounts that are stuck hold a command up for one bounded wait, however many they are.
#[test]
fn stuck_mounts_are_waited_for_together() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_mount().unwrap();
    let sockets = ["a", "b", "c"].map(|name| sandbox.path(&format!("run/kmsfs/{name}.sock")));
    let _stuck = sockets.map(|path| std::os::unix::net::UnixListener::bind(path).unwrap());
    let start = std::time::Instant::now();
    let listed = sandbox.json("status --json");
    let took = start.elapsed();
    let mounts = listed["mounts"].as_array().unwrap();
    let mount_point = sandbox.path("mnt").to_str().unwrap().to_owned();
    assert!(mounts.iter().any(|mount| mount["mount_point"] == *mount_point), "{listed}");
    // One after another, the three would take 15 seconds.
    assert!((5..14).contains(&took.as_secs()), "{took:?}");
}

/// A mount whose process was killed can be unmounted, and the volume mounted again.
#[test]
fn a_dead_mount_is_cleared_away() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    let status = sandbox.json("status mnt --json");
    let pid = i32::try_from(status["mount"]["pid"].as_i64().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    wait_for("end of the process", || std::fs::metadata(sandbox.path("mnt")).is_err());
    sandbox.line("mount lower mnt --keyfile key").assert_refused(10, "dead mount");
    sandbox.ok("umount mnt");
    sandbox.ok("mount lower mnt --keyfile key");
    sandbox.write("mnt/file", "content");
}

#[test]
fn an_idle_mount_leaves() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_volume();
    std::fs::create_dir(sandbox.path("mnt")).unwrap();
    sandbox.ok("mount lower mnt --keyfile key --idle 1s");
    wait_for("end of the idle mount", || !is_mounted(&sandbox.path("mnt")));
}

/// Law: mount -t fuse.kmsfs works through the helper's call.
#[test]
fn mount_calls_the_program_by_another_name() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_volume();
    std::fs::create_dir(sandbox.path("mnt")).unwrap();
    let helper = sandbox.path("mount.fuse.kmsfs");
    std::os::unix::fs::symlink(crate::sandbox::KMSFS, &helper).unwrap();
    let keyfile =
        format!("ro,noatime,_netdev,x-systemd.automount,keyfile={}", sandbox.path("key").display());
    let mut mount = std::process::Command::new(&helper);
    mount.args(["lower", "mnt", "-o", &keyfile, "-t", "fuse.kmsfs"]);
    sandbox.settle_in(&mut mount);
    assert!(mount.output().unwrap().status.success());
    assert_eq!(sandbox.json("status mnt --json")["mount"]["read_only"], true);
    let refused = std::fs::write(sandbox.path("mnt/file"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

/// Law: mount -o remount turns writing off and on; it says nothing, as mount(8) does.
#[test]
fn mount_is_made_read_only_and_writable_again() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let helper = sandbox.path("mount.fuse.kmsfs");
    std::os::unix::fs::symlink(crate::sandbox::KMSFS, &helper).unwrap();
    let remount = |at: &str, words: &str| {
        let mut mount = std::process::Command::new(&helper);
        mount.args(["lower", at, "-o", words]);
        sandbox.settle_in(&mut mount);
        mount.output().unwrap()
    };
    let write = || std::fs::write(sandbox.path("mnt/file"), "x");
    let done = remount("mnt", "remount,ro,nosuid,user_id=0,max_read=131072");
    assert!(done.status.success() && done.stdout.is_empty() && done.stderr.is_empty(), "{done:?}");
    assert_eq!(write().unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert!(remount("mnt", "remount,rw").status.success());
    write().unwrap();
    // No other mount is touched.
    std::fs::create_dir(sandbox.path("plain")).unwrap();
    assert!(!remount("plain", "remount,ro").status.success());
}

/// Law: umount(8) returns before the volume is closed; the next mount waits for that.
#[test]
fn volume_is_mounted_again_at_once() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for _ in 0..5 {
        rustix::mount::unmount(sandbox.path("mnt"), rustix::mount::UnmountFlags::empty()).unwrap();
        sandbox.ok("mount lower mnt --keyfile key");
    }
}

/// Law: nonsense at the control socket is answered, and harms nothing.
#[test]
fn nonsense_at_the_control_socket_is_refused() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    let id = sandbox.json("status mnt --json")["volume_id"].as_str().unwrap().to_owned();
    let socket = sandbox.path(&format!("run/kmsfs/{id}.sock"));
    for (request, answer) in [
        (&b"nonsense\n"[..], "not a request"),
        (b"{\"v\":2,\"verb\":\"hello\"}\n", "control protocol 2"),
        (b"{\"v\":1,\"verb\":\"frobnicate\"}\n", "not a request"),
        (b"{\"v\":1,\"verb\":\"cat\"}", "cut off"),
        (b"\xff\xfe\n", "not a request"),
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(request).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let text = std::io::read_to_string(stream).unwrap();
        assert!(text.contains("\"failed\"") && text.contains(answer), "{text}");
    }
    sandbox.ok("status mnt");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

/// Law: long work ends cleanly on Ctrl-C with 130 and can be run again.
#[test]
fn a_rewrap_can_be_interrupted_and_run_again() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    for no in 0..20 {
        sandbox.write(&format!("mnt/{no}"), "content");
    }
    sandbox.ok("umount mnt");
    sandbox.ok("rotate lower --keyfile key");
    let mut rewrap = sandbox.command(&["rewrap", "lower", "--rate", "2/s", "--keyfile", "key"]);
    let mut child = rewrap.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let some = sandbox.json("rewrap lower --keyfile key --json");
    assert!(some["rewrapped"].as_u64().unwrap() < 20, "{some}");
    assert_eq!(some["left"], 0, "{some}");
    assert_eq!(sandbox.json("rewrap lower --keyfile key --json")["stale"], 0);
}

#[test]
fn fsck_finds_what_does_not_fit() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    sandbox.write("mnt/good", "good");
    sandbox.write("mnt/bad", "bad");
    sandbox.ok("fsck mnt");
    let lower = sandbox.json("status mnt/bad --json")["lower_name"].as_str().unwrap().to_owned();
    sandbox.ok("umount mnt");
    let path = sandbox.path("lower").join(lower);
    let mut bytes = std::fs::read(&path).unwrap();
    // In the record of block 0: docs/FORMAT.md, section 3.
    bytes[1600] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let answer = sandbox.line("fsck lower --keyfile key --json");
    assert_eq!(answer.code, 26, "{}", answer.stderr);
    let report: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(report["findings"].as_array().unwrap().len(), 1, "{report}");
    for field in ["code", "lower_path", "cause", "mend"] {
        assert!(report["findings"][0][field].is_string(), "{report}");
    }
    assert_eq!(sandbox.line("fsck lower good --keyfile key").code, 0);
    assert_eq!(sandbox.line("fsck lower /bad --keyfile key").code, 26);
}

/// Law: a repair wants the volume for itself, tells what it would do, does it, and is done.
#[test]
fn fsck_mends_what_it_finds() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    sandbox.write("mnt/bad", "bad");
    let lower = sandbox.json("status mnt/bad --json")["lower_name"].as_str().unwrap().to_owned();
    sandbox.line("fsck mnt --repair").assert_refused(31, "mounted");
    sandbox.ok("fsck mnt --repair --dry-run");
    sandbox.ok("umount mnt");
    let path = sandbox.path("lower").join(&lower);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1600] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    std::fs::remove_file(sandbox.path("lower/.kmsfs/state")).unwrap();
    sandbox.line("mount lower mnt --keyfile key").assert_refused(23, "state");
    let dry = sandbox.line("fsck lower --repair --dry-run --keyfile key");
    assert_eq!(dry.code, 26, "{}", dry.stderr);
    assert!(
        dry.stderr.contains("2 findings") && dry.stdout.contains("bad-state"),
        "{}",
        dry.stdout
    );
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "a dry run changes nothing");
    let report = sandbox.json("fsck lower --repair --keyfile key --json");
    assert_eq!(report["findings"][0]["code"], "bad-state", "{report}");
    let mended = report["findings"][1]["mended"].as_str().unwrap();
    let kept = mended.rsplit(' ').next().unwrap();
    assert_eq!(std::fs::read(sandbox.path("lower").join(kept)).unwrap(), bytes, "{mended}");
    assert_eq!(sandbox.json("fsck lower --keyfile key --json")["findings"], serde_json::json!([]));
    assert_eq!(sandbox.ok("cat lower bad --keyfile key"), "\0\0\0");
}

#[test]
fn files_are_listed_and_printed_mounted_or_not() {
    let Some(sandbox) = Sandbox::with_mount() else { return };
    std::fs::create_dir(sandbox.path("mnt/dir")).unwrap();
    sandbox.write("mnt/dir/file", "content");
    let listed = sandbox.json("ls lower dir --json");
    assert_eq!(sandbox.ok("cat lower dir/file"), "content");
    sandbox.ok("umount mnt");
    assert_eq!(sandbox.json("ls lower dir --json --keyfile key"), listed);
    assert_eq!(listed["entries"][0]["name"], "file");
    assert_eq!(sandbox.ok("cat lower /dir/file --keyfile key"), "content");
    sandbox.line("cat lower dir --keyfile key").assert_refused(1, "not a regular file");
    sandbox.line("cat lower none --keyfile key").assert_refused(1, "none: no such file");
}

/// Law: measuring leaves nothing behind.
#[test]
fn bench_measures_a_mount_and_removes_it() {
    let sandbox = Sandbox::new();
    sandbox.line("bench absent").assert_refused(1, "no such file or directory");
    if !can_mount() {
        return;
    }
    std::fs::create_dir(sandbox.path("place")).unwrap();
    let report = sandbox.json("bench place --json");
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 11, "{report}");
    for row in rows {
        assert!(row["value"].as_f64().unwrap() > 0.0, "{report}");
    }
    assert!(std::fs::read_dir(sandbox.path("place")).unwrap().next().is_none());
    assert!(!std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains("kmsfs-bench"));
}
