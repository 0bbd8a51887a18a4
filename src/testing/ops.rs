//! Operations on a volume, drawn by chance.
//!
//! Targets are positions in lists of what exists at that moment, taken modulo their length: so a
//! sequence keeps its meaning when proptest shrinks it.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

use crate::fs::{AllocateHow, RenameHow, SeekTo, XattrHow};

/// A position in the list of what exists; taken modulo its length.
pub type Pick = u8;

/// One operation.
#[expect(missing_docs, reason = "the fields are the arguments of the operation")]
#[derive(Clone, Debug)]
pub enum Op {
    Create {
        dir: Pick,
        name: Pick,
    },
    Mkdir {
        dir: Pick,
        name: Pick,
    },
    Mkfifo {
        dir: Pick,
        name: Pick,
    },
    Symlink {
        dir: Pick,
        name: Pick,
        target_len: u16,
    },
    Readlink {
        node: Pick,
    },
    Write {
        file: Pick,
        at: u64,
        len: u32,
        fill: u8,
    },
    Read {
        file: Pick,
        at: u64,
        len: u32,
    },
    SetSize {
        file: Pick,
        size: u64,
    },
    Allocate {
        file: Pick,
        at: u64,
        len: u32,
        how: AllocateHow,
    },
    Seek {
        file: Pick,
        at: u64,
        to: SeekTo,
    },
    CopyRange {
        from: Pick,
        at: u64,
        to: Pick,
        to_at: u64,
        len: u32,
    },
    Rename {
        entry: Pick,
        dir: Pick,
        name: Pick,
        how: RenameHow,
    },
    Link {
        node: Pick,
        dir: Pick,
        name: Pick,
    },
    Unlink {
        entry: Pick,
    },
    Rmdir {
        entry: Pick,
    },
    SetXattr {
        node: Pick,
        name: Pick,
        len: u16,
        how: XattrHow,
    },
    FindXattr {
        node: Pick,
        name: Pick,
    },
    ListXattrs {
        node: Pick,
    },
    RemoveXattr {
        node: Pick,
        name: Pick,
    },
    SetMode {
        node: Pick,
        mode: u16,
    },
    SetMtime {
        node: Pick,
        secs: u32,
        nanos: u32,
    },
    ReadDir {
        dir: Pick,
        at_once: u8,
    },
    Sync {
        node: Pick,
    },
    /// The kernel forgets everything.
    Forget,
    /// All data keys leave the caches.
    DropKeys,
    /// The clean end and a new beginning.
    Reopen,
    /// The process is killed.
    Kill,
    Checkpoint,
    RotateKey,
    /// The alias points to the other key.
    MoveAlias,
    /// Rewraps every file; nothing but headers may change.
    RewrapTree,
    /// Rewraps every file and destroys old material.
    RetireMaterial,
    /// The next operation finds the key service out of reach.
    Refuse(Box<Op>),
}

/// Names that collide often, of every length that matters.
pub fn name(pick: Pick) -> Vec<u8> {
    match pick % 10 {
        0 => vec![b'l'; 176],
        1 => vec![b'm'; 255],
        2 => vec![0xff, 0xfe, b' ', b'\n'],
        3 => vec![b's'; 175],
        other => vec![b'a' + other],
    }
}

/// Names of attributes, short and long.
pub fn xattr_name(pick: Pick) -> Vec<u8> {
    match pick % 4 {
        0 => [&b"user."[..], &[b'x'; 200]].concat(),
        other => [&b"user."[..], &[b'a' + other]].concat(),
    }
}

/// The target of a symbolic link.
pub fn target(len: u16) -> Vec<u8> {
    (0..len).map(|at| b'a' + u8::try_from(at % 23).unwrap_or(0)).collect()
}

/// Plaintext positions, most of them at the edge of a block.
pub fn position() -> impl Strategy<Value = u64> {
    let edge = prop_oneof![Just(0_u64), (0..5_u64).prop_map(|block| 2512 + block * 4048)];
    let near = (edge, 0..3_u64).prop_map(|(edge, off)| (edge + off).saturating_sub(1));
    prop_oneof![
        6 => near,
        1 => (1..6_u64).prop_map(|page| page * 4096),
        3 => 0..30_000_u64,
        1 => 0..300_000_u64,
    ]
}

/// Positions, a few of them far away.
fn far_position() -> impl Strategy<Value = u64> {
    prop_oneof![20 => position(), 1 => (1_u64 << 30)..(1 << 40)]
}

fn len() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0..20_u32, 3 => 1..9000_u32, 1 => 1..65_536_u32]
}

fn allocate_how() -> impl Strategy<Value = AllocateHow> {
    prop_oneof![
        1 => Just(AllocateHow::Grow),
        1 => Just(AllocateHow::KeepSize),
        3 => Just(AllocateHow::PunchHole),
        1 => Just(AllocateHow::ZeroRange),
        1 => Just(AllocateHow::ZeroRangeKeepSize),
    ]
}

fn rename_how() -> impl Strategy<Value = RenameHow> {
    prop_oneof![
        3 => Just(RenameHow::Replace),
        1 => Just(RenameHow::NoReplace),
        1 => Just(RenameHow::Exchange),
    ]
}

fn xattr_how() -> impl Strategy<Value = XattrHow> {
    prop_oneof![
        2 => Just(XattrHow::Set),
        1 => Just(XattrHow::Create),
        1 => Just(XattrHow::Replace),
    ]
}

/// What changes or reads content.
fn content_op() -> impl Strategy<Value = Op> {
    let pick = any::<Pick>;
    prop_oneof![
        6 => (pick(), far_position(), len(), 1..255_u8)
            .prop_map(|(file, at, len, fill)| Op::Write { file, at, len, fill }),
        3 => (pick(), far_position(), len()).prop_map(|(file, at, len)| Op::Read { file, at, len }),
        3 => (pick(), far_position()).prop_map(|(file, size)| Op::SetSize { file, size }),
        2 => (pick(), position(), len(), allocate_how())
            .prop_map(|(file, at, len, how)| Op::Allocate { file, at, len, how }),
        1 => (pick(), position(), prop_oneof![Just(SeekTo::Data), Just(SeekTo::Hole)])
            .prop_map(|(file, at, to)| Op::Seek { file, at, to }),
        1 => (pick(), position(), pick(), position(), len())
            .prop_map(|(from, at, to, to_at, len)| Op::CopyRange { from, at, to, to_at, len }),
    ]
}

/// What changes or reads names and attributes.
fn tree_op() -> impl Strategy<Value = Op> {
    let pick = any::<Pick>;
    let links = prop_oneof![1..60_u16, 2990..3100_u16, 4000..4096_u16];
    prop_oneof![
        4 => (pick(), pick()).prop_map(|(dir, name)| Op::Create { dir, name }),
        2 => (pick(), pick()).prop_map(|(dir, name)| Op::Mkdir { dir, name }),
        1 => (pick(), pick()).prop_map(|(dir, name)| Op::Mkfifo { dir, name }),
        1 => (pick(), pick(), links)
            .prop_map(|(dir, name, target_len)| Op::Symlink { dir, name, target_len }),
        1 => pick().prop_map(|node| Op::Readlink { node }),
        4 => (pick(), pick(), pick(), rename_how())
            .prop_map(|(entry, dir, name, how)| Op::Rename { entry, dir, name, how }),
        2 => (pick(), pick(), pick()).prop_map(|(node, dir, name)| Op::Link { node, dir, name }),
        2 => pick().prop_map(|entry| Op::Unlink { entry }),
        1 => pick().prop_map(|entry| Op::Rmdir { entry }),
        2 => (pick(), pick(), 0..300_u16, xattr_how())
            .prop_map(|(node, name, len, how)| Op::SetXattr { node, name, len, how }),
        1 => (pick(), pick()).prop_map(|(node, name)| Op::FindXattr { node, name }),
        1 => pick().prop_map(|node| Op::ListXattrs { node }),
        1 => (pick(), pick()).prop_map(|(node, name)| Op::RemoveXattr { node, name }),
        1 => (pick(), 0..0o1000_u16).prop_map(|(node, mode)| Op::SetMode { node, mode }),
        1 => (pick(), any::<u32>(), 0..1_000_000_000_u32)
            .prop_map(|(node, secs, nanos)| Op::SetMtime { node, secs, nanos }),
        1 => (pick(), 1..5_u8).prop_map(|(dir, at_once)| Op::ReadDir { dir, at_once }),
    ]
}

/// What must not be seen from outside.
fn invisible_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => any::<Pick>().prop_map(|node| Op::Sync { node }),
        2 => Just(Op::Forget),
        2 => Just(Op::DropKeys),
        1 => Just(Op::Reopen),
        2 => Just(Op::Kill),
        1 => Just(Op::Checkpoint),
        2 => Just(Op::RotateKey),
        1 => Just(Op::MoveAlias),
        2 => Just(Op::RewrapTree),
        1 => Just(Op::RetireMaterial),
    ]
}

/// Any operation.
pub fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => content_op(),
        8 => tree_op(),
        3 => invisible_op(),
        1 => content_op().prop_map(|op| Op::Refuse(Box::new(op))),
    ]
}

/// A sequence of operations. It begins with two files, so that few are idle.
pub fn sequence(max: usize) -> impl Strategy<Value = Vec<Op>> {
    vec(op(), 1..max).prop_map(|ops| {
        let begin = [4, 5].map(|name| Op::Create { dir: 0, name });
        begin.into_iter().chain(ops).collect()
    })
}
