#!/usr/bin/env python3
"""What it costs that files are bound to their names: the same work on a volume that binds them and on one that does not
(`kmsfs init --no-name-binding`), in turns.

    cargo build --release --bin kmsfs
    python3 benches/names.py [--lower DIR] [--turns 15] [--files 2000] [--kmsfs BIN] [--boost] [--frozen]

Needs root, git and tar. Prints a table for docs/BENCHMARKS.md: medians in milliseconds, and of the ratios of each turn,
bound to free, the median and the middle half. `--boost` gives mounts and clients real-time priority, for a machine that has
other work. `--frozen` takes the frozen volumes of testdata/ in place of new ones.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = os.urandom(4096)
GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "gc.auto=0", "-c", "core.fsync=none"]


def run(*words, **more):
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)


class Mount:
    def __init__(self, args, home, name):
        self.args, self.lower, self.mnt, self.key = args, home / f"{name}.lower", home / f"{name}.mnt", home / "key"
        self.mnt.mkdir()
        if args.frozen:
            self.lower.mkdir()
            archive = {"bound": "v1-bound.tar.gz", "free": "v1-basic.tar.gz"}[name]
            run("tar", "xzf", ROOT / "testdata/volumes" / archive, "-C", self.lower)
            self.key.write_text("frozen test volume\n")
            self.unlock = ["--passfile", self.key]
        else:
            self.key.write_bytes(os.urandom(32))
            self.unlock = ["--keyfile", self.key]
            free = ["--no-name-binding"] if name == "free" else []
            run(args.kmsfs, "init", self.lower, *self.unlock, "--no-recovery-kit", *free)
        run(args.kmsfs, "mount", self.lower, self.mnt, *self.unlock)
        self.top = self.mnt / "bench"
        self.top.mkdir()

    def end(self):
        run(self.args.kmsfs, "umount", self.mnt)


def timed(work):
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1e3


def storms(top, count):
    """Renames: in a directory, to another, and of a new file over an old one."""
    one, two = top / "one", top / "two"
    one.mkdir()
    two.mkdir()
    for no in range(count):
        (one / f"a{no}").write_bytes(PAGE)
    os.sync()

    def inside():
        for no in range(count):
            os.rename(one / f"a{no}", one / f"b{no}")

    def across():
        for no in range(count):
            os.rename(one / f"b{no}", two / f"b{no}")

    def replace():
        for no in range(count):
            (two / "new").write_bytes(PAGE)
            os.rename(two / "new", two / f"b{no}")

    def directories():
        for no in range(count // 4):
            os.rename(one / f"d{no}", one / f"e{no}")

    yield "rename in a directory", timed(inside)
    yield "rename to another directory", timed(across)
    yield "write a file and rename it over another", timed(replace)
    for no in range(count // 4):
        (one / f"d{no}").mkdir()
    yield "rename a directory (a quarter of the files)", timed(directories)


def programs(top, archive):
    tree = top / "tree"
    tree.mkdir()
    yield "untar", timed(lambda: run("tar", "xf", archive, "-C", tree))
    run(*GIT, "init", "-q", cwd=tree)
    yield "git add", timed(lambda: run(*GIT, "add", ".", cwd=tree))
    yield "git commit", timed(lambda: run(*GIT, "commit", "-qm", "a", cwd=tree))
    for entry in tree.iterdir():
        if entry.name != ".git":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    yield "git checkout", timed(lambda: run(*GIT, "checkout", "-q", ".", cwd=tree))
    assert not subprocess.run([*GIT, "status", "--porcelain"], cwd=tree, capture_output=True, check=True).stdout


def pack(path, count):
    """So many files of Python's library."""
    library = Path(sysconfig.get_path("stdlib"))
    files = sorted(file for file in library.rglob("*.py") if "site-packages" not in file.parts)[:count]
    with tarfile.open(path, "w") as archive:
        for file in files:
            archive.add(file, file.relative_to(library))
    return len(files)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lower", type=Path, default=None)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--kmsfs", type=Path, default=ROOT / "target/release/kmsfs")
    parser.add_argument("--boost", action="store_true")
    parser.add_argument("--frozen", action="store_true")
    args = parser.parse_args()
    if args.boost:
        # Inherited by the mounts and by every client.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    with tempfile.TemporaryDirectory(dir=args.lower, prefix="names") as home:
        home = Path(home)
        packed = pack(home / "tree.tar", args.files)
        mounts = {}
        try:
            for name in ("bound", "free"):
                mounts[name] = Mount(args, home, name)
            taken = {}
            for turn in range(args.turns):
                for name in sorted(mounts, reverse=turn % 2 == 1):
                    for work in (storms, programs):
                        top = mounts[name].top / work.__name__
                        top.mkdir()
                        for what, ms in work(top, args.files if work is storms else home / "tree.tar"):
                            taken.setdefault(what, {}).setdefault(name, []).append(ms)
                        shutil.rmtree(top)
                        os.sync()
                print(f"turn {turn + 1} of {args.turns}", file=sys.stderr)
        finally:
            for mount in mounts.values():
                mount.end()
    print(f"{args.files} files, untar and git: {packed}\n")
    print("| work | free (ms) | bound (ms) | bound / free | middle half |\n|---|---|---|---|---|")
    for what, each in taken.items():
        free, bound = (statistics.median(each[name]) for name in ("free", "bound"))
        ratios = [bound / free for bound, free in zip(each["bound"], each["free"])]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"| {what} | {free:.0f} | {bound:.0f} | {middle:.2f} | {low:.2f}..{high:.2f} |")


main()
