//! Real programs at work on a mount: git, SQLite, rsync, tar, fio, a C compiler, cargo.
//!
//! One that is not installed is skipped with a word; where CI is set that is a failure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on ends"
)]

#[path = "common/mount.rs"]
mod mount;

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use mount::{MountedVolume, skip};

/// Whether a program can be started at all.
fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    if !found {
        skip(&format!("no {program}"));
    }
    found
}

/// Runs a shell script in a directory; it must succeed. Gives what it printed.
fn run(dir: &Path, script: &str) -> String {
    let ran = start(dir, script);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{script}\n{}{said}", String::from_utf8_lossy(&ran.stdout));
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

fn start(dir: &Path, script: &str) -> Output {
    Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_AUTHOR_NAME", "a")
        .env("GIT_AUTHOR_EMAIL", "a@example.org")
        .env("GIT_COMMITTER_NAME", "a")
        .env("GIT_COMMITTER_EMAIL", "a@example.org")
        .env("LC_ALL", "C")
        .output()
        .unwrap()
}

#[test]
fn git_clones_commits_packs_and_stays_clean() {
    if !has("git") {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    run(
        source.path(),
        "git init -q -b main .
         for d in a b/c d; do mkdir -p $d; for n in $(seq 40); do
           seq $n $((n * 20)) >$d/file-$n.txt; done; done
         ln -s a/file-1.txt link; touch run; chmod +x run
         git add . && git commit -qm one
         for n in $(seq 10); do echo $n >>a/file-$n.txt; git commit -qam $n; done",
    );
    MountedVolume::both(|volume| {
        let root = volume.root().to_path_buf();
        run(&root, &format!("git clone -q --no-hardlinks {} work", source.path().display()));
        let work = root.join("work");
        let check = "test -z \"$(git status --porcelain)\" && git fsck --full --strict 2>&1";
        run(&work, check);
        run(
            &work,
            "git checkout -qb other && echo new >d/new && git add . && git commit -qm new
             git checkout -q main && git merge -q other && git repack -adq && git gc -q --prune=now
             git worktree add -q ../second HEAD~3 && rm -rf ../second && git worktree prune",
        );
        run(&work, check);
        volume.remount();
        run(&work, check);
        run(&work, "git mv d moved && git stash -q && git stash pop -q && git reset -q --hard");
        run(&work, check);
    });
}

#[test]
fn sqlite_in_wal_mode_with_two_writing_processes() {
    if !has("sqlite3") {
        return;
    }
    MountedVolume::both(|volume| {
        let root = volume.root().to_path_buf();
        run(&root, "sqlite3 db 'PRAGMA journal_mode = WAL; CREATE TABLE t (w, n, x);'");
        run(
            &root,
            "work() { for n in $(seq 25); do
               sqlite3 -cmd '.timeout 20000' db \
                 \"INSERT INTO t VALUES ($1, $n, randomblob(3000)); UPDATE t SET x = randomblob(900)
                   WHERE n = $n - 3;\" >/dev/null
             done; }
             work 1 & first=$!; work 2; wait $first",
        );
        let seen = "sqlite3 db 'PRAGMA integrity_check; SELECT w, count(*) FROM t GROUP BY w;'";
        assert_eq!(run(&root, seen), "ok\n1|25\n2|25\n");
        volume.remount();
        assert_eq!(run(&root, seen), "ok\n1|25\n2|25\n");
        run(&root, "sqlite3 db 'PRAGMA journal_mode = DELETE; DELETE FROM t; VACUUM;' >/dev/null");
        assert!(run(&root, seen).starts_with("ok\n"));
    });
}

/// A tree with everything that archives have to keep.
fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("d/sub")).unwrap();
    for len in [0, 1, 4096, 70_000] {
        fs::write(root.join(format!("d/len{len}")), vec![b'x'; len]).unwrap();
    }
    fs::hard_link(root.join("d/len4096"), root.join("d/sub/linked")).unwrap();
    symlink("../len1", root.join("d/sub/symlink")).unwrap();
    symlink("x".repeat(3000), root.join("long symlink")).unwrap();
    fs::write(root.join("n".repeat(255)), "long name").unwrap();
    fs::write(root.join("od\u{ef}d \n name"), "odd name").unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(40 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 20 << 20).unwrap();
    drop(sparse);
    let set = |path: &str, mode| {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    set("d/len1", 0o4755);
    set("d/len0", 0o000);
    set("d/sub", 0o2775);
    for path in ["d/len1", "d/len0", "d/sub", "sparse"] {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(root.join(path), "user.note", b"kept", flags).unwrap();
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(root.join("d/len4096"), Some(1234), Some(4321)).unwrap();
        run(root, "mkfifo fifo; mknod null c 1 3");
    }
    if has("setfacl") {
        run(root, "setfacl -m u:1234:rw d/len4096; setfacl -d -m g:4321:rx d/sub");
    }
    run(
        root,
        "touch -d '1960-02-03 04:05:06.789' d/len1; touch -d '2039-01-02 03:04:05.6' d d/sub",
    );
}

/// Law: whatever rsync can carry goes in and out again without a difference.
#[test]
fn rsync_carries_a_tree_in_and_out_again() {
    if !has("rsync") {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    make_tree(source.path());
    MountedVolume::both(|volume| {
        let root = volume.root().to_path_buf();
        let from = format!("{}/", source.path().display());
        run(&root, &format!("rsync -aHAXS {from} in/"));
        let difference = format!("rsync -aHAXnic --delete {from} in/");
        assert_eq!(run(&root, &difference), "");
        volume.remount();
        assert_eq!(run(&root, &difference), "");
        let back = tempfile::tempdir().unwrap();
        run(&root, &format!("rsync -aHAXS in/ {}/", back.path().display()));
        let difference = format!("rsync -aHAXnic --delete {from} {}/", back.path().display());
        assert_eq!(run(&root, &difference), "");
        // A second run has nothing to do, and one in place changes what it should.
        let again = run(&root, &format!("rsync -aHAXSi {from} in/"));
        assert_eq!(again, "");
        run(&root, "printf more >>in/d/len70000");
        run(&root, &format!("rsync -aHAX --inplace --no-whole-file {from} in/"));
        assert_eq!(run(&root, &format!("rsync -aHAXnic --delete {from} in/")), "");
    });
}

#[test]
fn tar_keeps_sparse_files_attributes_and_links() {
    if !has("tar") || !has("rsync") {
        return;
    }
    let source = tempfile::tempdir().unwrap();
    make_tree(source.path());
    MountedVolume::both(|volume| {
        let root = volume.root().to_path_buf();
        let from = source.path().display();
        let pack = "tar --xattrs --xattrs-include='*' --acls --sparse --numeric-owner";
        run(&root, &format!("mkdir in && {pack} -C {from} -cf - . | {pack} -C in -xpf -"));
        volume.remount();
        run(
            &root,
            &format!("mkdir out && {pack} -C in -cf all.tar . && {pack} -C out -xpf all.tar"),
        );
        for copy in ["in", "out"] {
            assert_eq!(
                run(&root, &format!("rsync -aHAXnic --delete {from}/ {copy}/")),
                "",
                "{copy}"
            );
        }
        let sparse = root.join("in/sparse").metadata().unwrap();
        assert!(sparse.blocks() < 2000, "{} blocks", sparse.blocks());
    });
}

#[test]
fn fio_verifies_what_it_writes() {
    if !has("fio") {
        return;
    }
    MountedVolume::both(|volume| {
        let root = volume.root().to_path_buf();
        for (no, options) in [
            "--ioengine=psync --rw=randwrite --bs=4k",
            "--ioengine=psync --rw=randrw --bsrange=512-70k --bs_unaligned --fsync=16",
            "--ioengine=mmap --rw=randwrite --bs=4k",
            "--ioengine=psync --rw=write --bs=64k --direct=1",
        ]
        .into_iter()
        .enumerate()
        {
            run(
                &root,
                &format!(
                    "fio --name=f{no} --size=3m --verify=crc32c --verify_fatal=1 --thread \
                     --randseed=7 --end_fsync=1 --fallocate=none {options} >fio.log 2>&1 || \
                     {{ cat fio.log; exit 1; }}"
                ),
            );
        }
    });
}

#[test]
fn compiler_builds_and_the_program_runs() {
    if !has("cc") {
        return;
    }
    MountedVolume::both(|volume| {
        let root = volume.root().to_path_buf();
        fs::write(
            root.join("main.c"),
            "#include <stdio.h>\nint twice(int n);\nint main(void) { printf(\"%d\\n\", twice(21)); }\n",
        )
        .unwrap();
        fs::write(root.join("twice.c"), "int twice(int n) { return 2 * n; }\n").unwrap();
        let built = run(
            &root,
            "cc -g -c main.c && cc -g -c twice.c && ar rcs libtwice.a twice.o &&
             cc -o program main.o -L. -ltwice && ./program",
        );
        assert_eq!(built, "42\n");
        volume.remount();
        assert_eq!(run(&root, "./program"), "42\n");
    });
}

/// cargo maps, locks, hard-links and renames more than most.
#[test]
fn cargo_builds_a_crate() {
    if !has("cargo") {
        return;
    }
    MountedVolume::both(|volume| {
        let root = volume.root().to_path_buf();
        fs::create_dir_all(root.join("tiny/src")).unwrap();
        let manifest = "[package]\nname = \"tiny\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
                        [workspace]\n";
        fs::write(root.join("tiny/Cargo.toml"), manifest).unwrap();
        let source = "fn main() {\n    println!(\"{}\", (1..=10).sum::<u32>());\n}\n";
        fs::write(root.join("tiny/src/main.rs"), source).unwrap();
        let build = "unset RUSTFLAGS CARGO_BUILD_TARGET; CARGO_TARGET_DIR=$PWD/target \
                     cargo run --quiet --offline";
        assert_eq!(run(&root.join("tiny"), build), "55\n");
        assert_eq!(run(&root.join("tiny"), build), "55\n");
    });
}
