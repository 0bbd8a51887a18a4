//! Fifos, sockets and devices.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::errno;
use crate::mount::{How, MountedVolume, skip};
use crate::user::is_root;

fn mknod(path: &Path, kind: FileType, dev: u64) -> std::io::Result<()> {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o666), dev).map_err(Into::into)
}

#[test]
fn fifos_and_sockets_carry_bytes() {
    MountedVolume::both(|volume| {
        let fifo = volume.path("fifo");
        mknod(&fifo, FileType::Fifo, 0).unwrap();
        assert!(fifo.metadata().unwrap().file_type().is_fifo());
        std::thread::scope(|scope| {
            scope.spawn(|| File::create(&fifo).unwrap().write_all(b"through").unwrap());
            let mut text = String::new();
            File::open(&fifo).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "through");
        });
        let socket = volume.path("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| UnixStream::connect(&socket).unwrap().write_all(b"hello").unwrap());
            let mut text = String::new();
            listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
            assert_eq!(text, "hello");
        });
        drop(listener);
        volume.remount();
        assert!(socket.metadata().unwrap().file_type().is_socket());
        assert_eq!(errno(UnixStream::connect(&socket)), libc::ECONNREFUSED);
        fs::rename(&fifo, volume.path("moved")).unwrap();
        assert!(volume.path("moved").metadata().unwrap().file_type().is_fifo());
    });
}

#[test]
fn devices_keep_their_numbers_and_work_where_allowed() {
    if !is_root() {
        return skip("not root");
    }
    MountedVolume::both(|volume| {
        let numbers = [(1, 3), (4095, 1_048_575), (8, 300), (259, 70_000)];
        for (major, minor) in numbers {
            for (kind, name) in [(FileType::CharacterDevice, "c"), (FileType::BlockDevice, "b")] {
                let path = volume.path(format!("{name}{major}"));
                mknod(&path, kind, makedev(major, minor)).unwrap();
            }
        }
        volume.remount();
        for (major, minor) in numbers {
            for name in ["c", "b"] {
                let seen = volume.path(format!("{name}{major}")).metadata().unwrap();
                assert_eq!(seen.rdev(), makedev(major, minor));
                assert_eq!(seen.file_type().is_char_device(), name == "c");
            }
        }
        let null = volume.path("c1");
        File::create(&null).unwrap().write_all(b"gone").unwrap();
        assert_eq!(fs::read(&null).unwrap(), b"");
        volume.remount_with(How { privileged: false, ..volume.how });
        assert_eq!(errno(File::open(&null)), libc::EACCES);
    });
}
