#!/usr/bin/env python3
"""What a mount of kmsfs does beside other filesystems, in turns, on one machine.

    cargo build --release --bin kmsfs
    apt-get install fio git gocryptfs securefs cryfs encfs rclone   # peers that are not there are left out
    python3 benches/peers.py [--turns N] [--lower DIR] [--groups a,b] [--only a,b] [--json FILE]

Needs root: it mounts, and it drops caches. `native` is the lower directory itself, `passthrough` libfuse's example
`passthrough_hp`, which does not encrypt; it has to be built, and named by --passthrough. In every turn every
filesystem gets a fresh directory for every group of workloads, one after another, so that what disturbs the machine
disturbs all of them. Results are checked: a filesystem that answers wrongly has no figure.

Prints the table of docs/BENCHMARKS.md: medians over the turns, the spread of kmsfs, and how many times better it is
(above 1 is better, whichever way the unit goes).

Words: *cold* is unmounted, all caches dropped, mounted again; *lower warm* is mounted again with the lower files still
in memory.
"""

import argparse
import json
import mmap
import os
import random
import re
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PASSPHRASE = "a passphrase for benchmarks"
TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
PAGE = 4096


class Wrong(Exception):
    """A filesystem has answered something else than it was told."""


def run(*command, **options):
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{words[0]}: {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def drop_caches():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


# -- Filesystems ---------------------------------------------------------------------------------------------


class Native:
    """The lower directory itself."""

    name = "native"

    def __init__(self, place):
        self.place, self.lower, self.mnt = place, place / "lower", place / "mnt"
        for directory in (self.lower, self.mnt):
            directory.mkdir(parents=True)
        self.peak = 0

    @classmethod
    def is_here(cls):
        return True

    @property
    def root(self):
        return self.lower

    def mount(self):
        pass

    def unmount(self):
        pass

    def again(self, cold):
        """Unmounts and mounts again."""
        self.unmount()
        if cold:
            drop_caches()
        self.mount()

    def processor_time(self):
        return 0.0


class Mounted(Native):
    """Whatever has a process behind a mount."""

    program = ""
    environment = {}

    @classmethod
    def is_here(cls):
        return shutil.which(cls.program) is not None

    @property
    def root(self):
        return self.mnt

    def command(self):
        raise NotImplementedError

    def mount(self):
        begin = time.monotonic()
        # In the foreground, so that it is known who serves.
        with open(self.place / "log", "ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in self.command()], stdin=subprocess.PIPE, stdout=log, stderr=log,
                env=os.environ | self.environment)
        # EncFS and CryFS ask for it there; the others do not look.
        with suppress(BrokenPipeError), self.process.stdin as asked:
            asked.write(f"{PASSPHRASE}\n".encode())
        while not os.path.ismount(self.mnt):
            if self.process.poll() is not None or time.monotonic() - begin > 90:
                raise RuntimeError(f"{self.name} does not mount: {(self.place / 'log').read_text()[-300:]}")
            time.sleep(0.002)
        self.mount_time = time.monotonic() - begin

    def unmount(self):
        if not os.path.ismount(self.mnt):
            return
        self.peak = max(self.peak, self.memory("VmHWM"))
        for _ in range(100):
            if subprocess.run(["umount", self.mnt], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            print(f"{self.name}: has not ended 30 s after it was unmounted", file=sys.stderr)
            self.process.kill()
            self.process.wait()

    def memory(self, field):
        """In MiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M)[1]) / 1024

    def processor_time(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:13])) / TICKS


class Passthrough(Mounted):
    name = "passthrough"

    def command(self):
        return [self.program, "--foreground", self.lower, self.mnt]


class Gocryptfs(Mounted):
    name = program = "gocryptfs"

    def __init__(self, place):
        super().__init__(place)
        self.passfile = place / "pass"
        self.passfile.write_text(PASSPHRASE)
        run("gocryptfs", "-init", "-q", "-scryptn", "10", "-passfile", self.passfile, self.lower)

    def command(self):
        return ["gocryptfs", "-fg", "-q", "-passfile", self.passfile, self.lower, self.mnt]


class Securefs(Mounted):
    name = program = "securefs"

    def __init__(self, place):
        super().__init__(place)
        run("securefs", "create", "--pass", PASSPHRASE, "--pbkdf", "pkcs5-pbkdf2-hmac-sha256", "-r", "1000", self.lower)

    def command(self):
        return ["securefs", "mount", "--pass", PASSPHRASE, self.lower, self.mnt]


class Cryfs(Mounted):
    name = program = "cryfs"

    def __init__(self, place):
        super().__init__(place)
        self.environment = {
            "CRYFS_FRONTEND": "noninteractive", "CRYFS_NO_UPDATE_CHECK": "true", "CRYFS_LOCAL_STATE_DIR": str(place / "state")}

    def command(self):
        return ["cryfs", "-f", "--cipher", "aes-256-gcm", self.lower, self.mnt]


class Encfs(Mounted):
    """Its standard cipher is AES-192-CBC, not authenticated."""

    name = program = "encfs"

    def command(self):
        return ["encfs", "-f", "--standard", "--stdinpass", self.lower, self.mnt]


class Rclone(Mounted):
    """Writes go to a cache in plain text first."""

    name = program = "rclone"

    def __init__(self, place):
        super().__init__(place)
        self.environment = {
            "RCLONE_CONFIG": str(place / "rclone.conf"), "RCLONE_CONFIG_PEER_TYPE": "crypt",
            "RCLONE_CONFIG_PEER_REMOTE": str(self.lower),
            "RCLONE_CONFIG_PEER_PASSWORD": run("rclone", "obscure", PASSPHRASE).strip()}

    def command(self):
        return ["rclone", "mount", "peer:", self.mnt, "--vfs-cache-mode", "writes", "--vfs-write-back", "0s",
                "--cache-dir", self.place / "cache"]


class Kmsfs(Mounted):
    name = "kmsfs"

    def __init__(self, place):
        super().__init__(place)
        self.key = place / "key"
        self.key.write_bytes(os.urandom(32))
        run(self.program, "init", "--quiet", self.lower, "--keyfile", self.key)

    def command(self):
        return [self.program, "mount", "--foreground", "--keyfile", self.key, self.lower, self.mnt]


KINDS = [Native, Passthrough, Gocryptfs, Securefs, Cryfs, Encfs, Rclone, Kmsfs]


# -- Workloads -----------------------------------------------------------------------------------------------


def fio(root, **options):
    """One job of fio, as its JSON."""
    words = [f"--{name}={value}" for name, value in options.items()]
    text = run("fio", "--name=job", f"--directory={root}", "--ioengine=psync", "--fallocate=none", "--fadvise_hint=0",
               "--invalidate=0", "--group_reporting", "--randseed=7", "--output-format=json", *words, timeout=300)
    return json.loads(text[text.index("{"):])["jobs"][0]


class Turn:
    """The figures of one filesystem in one turn of one group."""

    def __init__(self, fs, sizes, place):
        self.fs, self.sizes, self.place, self.figures = fs, sizes, place, {}

    def note(self, row, value):
        self.figures[row] = value

    def timed(self, row, work, value):
        """`value` makes the figure from what `work` answers, and the seconds."""
        begin = time.perf_counter()
        answer = work()
        self.note(row, value(answer, time.perf_counter() - begin))

    def seconds(self, row, work):
        self.timed(row, work, lambda _, seconds: seconds)

    def shell(self, command, expected=None, **options):
        answer = run("bash", "-o", "pipefail", "-c", command, cwd=self.fs.root, timeout=300, **options).strip()
        if expected is not None and answer != str(expected):
            raise Wrong(f"{command}: {answer[:80]!r}, not {expected!r}")


def sequential(turn):
    fs, size = turn.fs, turn.sizes["sequential"]
    rate = lambda way: lambda job, _: job[way]["bw_bytes"] / 1e6
    write = dict(bs="1m", rw="write", end_fsync=1)
    read = dict(bs="1m", rw="read", allow_file_create=0)
    one = dict(filename="one", size=f"{size}m")
    two = dict(numjobs=2, filename_format="two.$jobnum", size=f"{size // 2}m")
    used = fs.processor_time()
    turn.timed("sequential write (MB/s)", lambda: fio(fs.root, **one, **write), rate("write"))
    turn.note("CPU of the daemon, sequential write (s)", fs.processor_time() - used)
    fs.again(cold=True)
    used = fs.processor_time()
    turn.timed("sequential read, cold (MB/s)", lambda: fio(fs.root, **one, **read), rate("read"))
    turn.note("CPU of the daemon, sequential read (s)", fs.processor_time() - used)
    fs.again(cold=False)
    turn.timed("sequential read, lower warm (MB/s)", lambda: fio(fs.root, **one, **read), rate("read"))
    turn.timed("read again from the page cache (MB/s)", lambda: fio(fs.root, **one, **read), rate("read"))
    (fs.root / "one").unlink()
    turn.timed("sequential write, 2 jobs (MB/s)", lambda: fio(fs.root, **two, **write), rate("write"))
    fs.again(cold=True)
    turn.timed("sequential read, 2 jobs, cold (MB/s)", lambda: fio(fs.root, **two, **read), rate("read"))
    fs.unmount()
    turn.note("memory of the daemon, peak, sequential (MiB)", fs.peak)


def at_random(turn):
    fs, size, seconds = turn.fs, turn.sizes["random"], turn.sizes["seconds"]
    rate = lambda way: lambda job, _: job[way]["total_ios"] / (job[way]["runtime"] / 1000)
    fio(fs.root, filename="f", size=f"{size}m", bs="1m", rw="write", end_fsync=1)
    some = dict(filename="f", bs="4k", runtime=seconds, allow_file_create=0)
    quarter = dict(size=f"{size // 4}m", offset_increment=f"{size // 4}m", numjobs=4)
    for cold, words in ((True, "cold"), (False, "lower warm")):
        if not cold:
            turn.shell("cat f >/dev/null")
        fs.again(cold)
        turn.timed(f"random 4 KiB read, queue depth 1, {words} (IOPS)",
                   lambda: fio(fs.root, rw="randread", size=f"{size}m", **some), rate("read"))
        fs.again(cold)
        turn.timed(f"random 4 KiB read, 4 jobs, {words} (IOPS)",
                   lambda: fio(fs.root, rw="randread", **quarter, **some), rate("read"))
    fs.again(cold=False)
    turn.timed("random 4 KiB write and one fsync (IOPS)",
               lambda: fio(fs.root, filename="f", size=f"{size}m", io_size=f"{size // 4}m", bs="4k", rw="randwrite",
                           end_fsync=1, allow_file_create=0, runtime=20), rate("write"))


def synced(turn):
    def append():
        times = []
        with open(turn.fs.root / "log", "wb", buffering=0) as file:
            for _ in range(turn.sizes["appends"]):
                begin = time.perf_counter()
                file.write(b"x" * PAGE)
                os.fsync(file.fileno())
                times.append(time.perf_counter() - begin)
        return sorted(times)

    times = append()
    turn.note("append 4 KiB and fsync, p50 (us)", times[len(times) // 2] * 1e6)
    turn.note("append 4 KiB and fsync, p99 (us)", times[len(times) * 99 // 100] * 1e6)


def small_files(turn):
    fs, count = turn.fs, turn.sizes["files"]
    top = fs.root / "small"
    each = lambda _, seconds: count / seconds
    bytes_ = os.urandom(PAGE)

    def create():
        top.mkdir()
        for no in range(count):
            directory = top / f"{no // 1000}" / f"{no // 100 % 10}"
            if no % 100 == 0:
                directory.mkdir(parents=True)
            file = os.open(directory / f"file{no}", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o644)
            os.write(file, bytes_)
            os.close(file)

    look = lambda: turn.shell("ls -lR small | grep -c 'file[0-9]*$'", count)
    read = lambda: turn.shell("find small -type f -print0 | xargs -0 cat | wc -c", count * PAGE)

    def miss():
        for no in range(count):
            if os.path.exists(top / f"none{no % 100}"):
                raise Wrong("a name that was not made is there")

    turn.timed("create 4 KiB files (files/s)", create, each)
    fs.again(cold=True)
    turn.timed("ls -lR, cold (files/s)", look, each)
    turn.timed("ls -lR, warm (files/s)", look, each)
    fs.again(cold=True)
    turn.timed("read small files, cold (files/s)", read, each)
    turn.timed("read small files, warm (files/s)", read, each)
    miss()
    turn.timed("absent names, warm (names/s)", miss, each)
    fs.again(cold=False)
    turn.timed("rm -rf of small files (files/s)", lambda: turn.shell("rm -rf small; test ! -e small"), each)


def source_tree(turn):
    fs, archive = turn.fs, turn.place / "tree.tar"
    with tarfile.open(archive) as tar:
        files = sum(1 for member in tar if member.isreg())
    top = fs.root / "tree"
    top.mkdir()
    who = {name: "bench" for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")}
    settings = dict(os.environ, GIT_CONFIG_NOSYSTEM="1", HOME=str(turn.place), **who)
    git = lambda words, expected=None: turn.shell(f"cd tree && git {words}", expected, env=settings)
    grep = lambda: turn.shell("(grep -rc zzqqnomatch tree --exclude-dir=.git || test $? = 1) | wc -l", files)
    turn.seconds("untar a source tree (s)", lambda: turn.shell(f"tar xf '{archive}' -C tree"))
    fs.again(cold=True)
    turn.seconds("grep the tree, cold (s)", grep)
    turn.seconds("grep the tree, warm (s)", grep)
    turn.seconds("git add (s)", lambda: git("init -q . && git config gc.auto 0 && git add ."))
    turn.seconds("git commit (s)", lambda: git("commit -q -m x"))
    turn.seconds("git status (s)", lambda: git("status --short", ""))
    fs.again(cold=True)
    turn.seconds("git status, cold (s)", lambda: git("status --short", ""))
    turn.seconds("rm -rf of the tree (s)", lambda: turn.shell("rm -rf tree; test ! -e tree"))
    fs.unmount()
    turn.note("memory of the daemon, peak, tree (MiB)", fs.peak)


def sqlite(turn):
    count = turn.sizes["transactions"]
    for mode in ("WAL", "DELETE"):
        database = sqlite3.connect(turn.fs.root / mode, isolation_level=None)
        if database.execute(f"pragma journal_mode={mode}").fetchone()[0] != mode.lower():
            raise Wrong(f"no {mode}")
        database.execute("create table t(k integer primary key, v text)")

        def insert():
            for _ in range(count):
                database.execute("insert into t(v) values(?)", ("x" * 200,))

        turn.timed(f"SQLite, {mode} (transactions/s)", insert, lambda _, seconds: count / seconds)
        found = database.execute("select count(*) from t").fetchone(), database.execute("pragma integrity_check").fetchone()
        database.close()
        if found != ((count,), ("ok",)):
            raise Wrong(f"SQLite, {mode}: {found}")


def mapped(turn):
    fs, size = turn.fs, turn.sizes["mapped"] * MIB
    path, page = fs.root / "mapped", os.urandom(PAGE)

    def write():
        with open(path, "w+b") as file:
            file.truncate(size)
            with mmap.mmap(file.fileno(), size) as memory:
                for at in range(0, size, PAGE):
                    memory[at:at + PAGE] = page
                memory.flush()
            os.fsync(file.fileno())

    def read():
        with open(path, "rb") as file, mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as memory:
            if any(memory[at] != page[0] for at in range(0, size, PAGE)):
                raise Wrong("mapped bytes differ")

    rate = lambda _, seconds: size / 1e6 / seconds
    turn.timed("mmap write (MB/s)", write, rate)
    fs.again(cold=True)
    turn.timed("mmap read, cold (MB/s)", read, rate)
    turn.note("mount (s)", getattr(fs, "mount_time", None))


GROUPS = {"sequential": sequential, "random": at_random, "synced": synced, "small": small_files, "tree": source_tree,
          "sqlite": sqlite, "mapped": mapped}
SIZES = dict(sequential=1024, random=512, seconds=2, appends=2000, files=5000, transactions=2000, mapped=64, tree=5000)
QUICK = dict(sequential=128, random=64, seconds=1, appends=200, files=500, transactions=200, mapped=8, tree=500)


def make_tree(archive, files_max):
    """Text of many small files that every machine has: the Python library."""
    source, count = Path(os.__file__).parent, 0
    with tarfile.open(archive, "w") as tar:
        for path in sorted(source.rglob("*")):
            if path.is_file() and not path.is_symlink() and path.stat().st_size < MIB and count < files_max:
                tar.add(path, arcname=path.relative_to(source), recursive=False)
                count += 1


# -- Report --------------------------------------------------------------------------------------------------


def shown(value):
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.1 else f"{value:.3f}"


def is_more_better(row):
    return "/s)" in row or "IOPS" in row


def table(samples, names):
    """`samples`: row -> filesystem -> figures."""
    bases = [name for name in names if name not in ("native", "kmsfs")]
    heads = ["workload", *names, "spread", *(f"/ {base}" for base in bases)]
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for row, found in samples.items():
        medians = {name: statistics.median(figures) for name, figures in found.items() if figures}
        ours = found.get("kmsfs") or []
        spread = f"{shown(min(ours))}..{shown(max(ours))}" if ours else ""
        ratios = []
        for base in bases:
            pair = medians.get("kmsfs"), medians.get(base)
            ratio = "" if not all(pair) else f"{pair[0] / pair[1] if is_more_better(row) else pair[1] / pair[0]:.2f}"
            ratios.append(ratio)
        cells = [row, *(shown(medians.get(name)) for name in names), spread, *ratios]
        yield "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--lower", default=tempfile.gettempdir(), help="where lower directories are made")
    parser.add_argument("--groups", default=",".join(GROUPS), help="of workloads")
    parser.add_argument("--only", default="native,passthrough,gocryptfs,securefs,kmsfs",
                        help="filesystems, by name; cryfs, encfs and rclone take long")
    parser.add_argument("--kmsfs", default=ROOT / "target/release/kmsfs")
    parser.add_argument("--passthrough", default="passthrough_hp")
    parser.add_argument("--quick", action="store_true", help="small sizes: to try the script, not to quote")
    parser.add_argument("--json", help="writes all figures into this file")
    args = parser.parse_args()
    Kmsfs.program, Passthrough.program = str(args.kmsfs), args.passthrough
    kinds = [kind for kind in KINDS if kind.name in args.only.split(",") and kind.is_here()]
    place = Path(tempfile.mkdtemp(prefix="kmsfs-peers-", dir=args.lower))
    sizes = QUICK if args.quick else SIZES
    samples = {}
    # Ends through `finally`, with nothing left mounted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        make_tree(place / "tree.tar", sizes["tree"])
        for no in range(args.turns):
            for group in args.groups.split(","):
                for kind in kinds:
                    print(f"turn {no + 1}: {group}: {kind.name}", file=sys.stderr, flush=True)
                    fs = kind(place / kind.name)
                    turn = Turn(fs, sizes, place)
                    try:
                        fs.mount()
                        GROUPS[group](turn)
                    except (Wrong, RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                        print(f"{kind.name}: {error}", file=sys.stderr)
                    finally:
                        fs.unmount()
                        shutil.rmtree(fs.place)
                    for row, value in turn.figures.items():
                        if value:
                            samples.setdefault(row, {}).setdefault(kind.name, []).append(value)
            if args.json:
                Path(args.json).write_text(json.dumps(samples, indent=1))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(*table(samples, [kind.name for kind in kinds]), sep="\n")


if __name__ == "__main__":
    main()
