#!/usr/bin/env python3
"""How the cost of a mount of kmsfs grows: with the number of files, the size of a file, the number of threads; and what
a rewrap of everything costs those who read and write meanwhile.

    cargo build --release --bin kmsfs
    python3 benches/scale.py [--lower DIR] [--files 1000,10000,100000] [--kmsfs BIN] [--parts files,sizes,threads,rewrap]

Needs root and fio, as benches/peers.py does, which it is made of. Prints tables for docs/BENCHMARKS.md. What stays flat in a
row, or in a column, does not depend on what grows there.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from peers import PAGE, ROOT, Kmsfs, Native, fio, run

GIB = 1 << 30


def each(count, work):
    """Microseconds for each of `count`."""
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) / count * 1e6


def directories(top, count, is_flat):
    """Where so many files go: one directory, or a hundred files in each."""
    if is_flat:
        return [top] * count
    return [top / f"{no // 10000}" / f"{no // 100 % 100}" for no in range(count)]


def of_files(fs, count, is_flat):
    """Costs of making, listing, looking at, reading and removing a file."""
    top, page = fs.root / "top", os.urandom(PAGE)
    places = directories(top, count, is_flat)

    def create():
        for directory in sorted(set(places)):
            directory.mkdir(parents=True, exist_ok=True)
        for no, directory in enumerate(places):
            file = os.open(directory / f"file{no}", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o644)
            os.write(file, page)
            os.close(file)

    def listing():
        found = sum(len(files) for _, _, files in os.walk(top))
        assert found == count, found

    # Of many, a thousand tell enough.
    some = range(0, count, max(1, count // 1000))

    def look():
        for no in some:
            os.stat(places[no] / f"file{no}")

    def read():
        for no in some:
            file = os.open(places[no] / f"file{no}", os.O_RDONLY)
            assert os.read(file, PAGE) == page
            os.close(file)

    figures = [each(count, create)]
    fs.again(cold=True)
    figures.append(each(len(some), look))
    figures.append(each(len(some), read))
    figures.append(each(count, listing))
    figures.append(fs.memory("VmRSS") if fs.name == "kmsfs" else None)
    figures.append(each(count, lambda: shutil.rmtree(top)))
    return figures


def of_sizes(fs, size):
    """A sparse file: making it, reading and writing pages of it anywhere."""
    path = fs.root / "large"

    def truncate():
        path.touch()
        os.truncate(path, size)

    made = each(1, truncate)
    at_random = dict(filename="large", size=size, bs="4k", norandommap=1, allow_file_create=0)
    written = fio(fs.root, rw="randwrite", number_ios=4000, end_fsync=1, **at_random)
    fs.again(cold=False)
    job = fio(fs.root, rw="randread", number_ios=8000, **at_random)
    room = path.stat().st_blocks * 512 / 2**20
    removed = each(1, path.unlink)
    figures = [made, written["write"]["clat_ns"]["mean"] / 1e3, job["read"]["clat_ns"]["mean"] / 1e3, room, removed]
    return figures


def of_threads(fs, jobs):
    """Operations a second of so many at once, each on a file of its own."""
    # Every page once: none is in the kernel's cache.
    own = dict(numjobs=jobs, filename_format="of.$jobnum", size=f"{512 // jobs}m", bs="4k", runtime=5)
    fio(fs.root, **dict(own, bs="1m"), rw="write", end_fsync=1)
    fs.again(cold=False)
    read = fio(fs.root, rw="randread", allow_file_create=0, **own)
    written = fio(fs.root, rw="randwrite", allow_file_create=0, end_fsync=1, **own)
    rate = lambda job, way: job[way]["total_ios"] / (job[way]["runtime"] / 1e3)

    def create(no):
        directory = fs.root / f"made{no}"
        directory.mkdir()
        for each_file in range(4000 // jobs):
            (directory / str(each_file)).write_bytes(b"x" * PAGE)

    def together():
        threads = [threading.Thread(target=create, args=[no]) for no in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return [rate(read, "read"), rate(written, "write"), 1e6 / each(4000, together)]


def while_rewrapping(fs, turns):
    """Reads and writes of 4 KiB a second: without, and while 20,000 headers are rewrapped, in turns."""
    files = fs.root / "files"
    files.mkdir()
    for no in range(20_000):
        if no % 1000 == 0:
            (files / str(no // 1000)).mkdir()
        (files / str(no // 1000) / str(no)).write_bytes(b"x" * 100)
    fio(fs.root, filename="f", size="256m", bs="1m", rw="write", end_fsync=1)
    work = dict(filename="f", size="256m", bs="4k", rw="randrw", rwmixread=70, runtime=2, time_based=1, allow_file_create=0)
    rate = lambda job: (job["read"]["total_ios"] + job["write"]["total_ios"]) / (job["read"]["runtime"] / 1e3)
    quiet, busy, seconds = [], [], []
    for _ in range(turns):
        quiet.append(rate(fio(fs.root, **work)))
        run(fs.program, "rotate", fs.mnt)
        begin = time.monotonic()
        rewrap = subprocess.Popen([fs.program, "rewrap", fs.mnt], stdout=subprocess.DEVNULL)
        busy.append(rate(fio(fs.root, **work)))
        rewrap.wait()
        seconds.append(time.monotonic() - begin)
    return [statistics.median(quiet), statistics.median(busy), 20_000 / statistics.median(seconds)]


def row(name, figures):
    shown = ["" if figure is None else f"{figure:,.0f}" if figure >= 10 else f"{figure:.2g}" for figure in figures]
    print("| " + " | ".join([name, *shown]) + " |", flush=True)


def heads(*names):
    print("\n| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lower", default=tempfile.gettempdir())
    parser.add_argument("--files", default="1000,10000,100000")
    parser.add_argument("--sizes", default="1,4,16,64", help="of a sparse file, in GiB")
    parser.add_argument("--threads", default="1,2,4,8,16")
    parser.add_argument("--parts", default="files,sizes,threads,rewrap")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--kmsfs", default=ROOT / "target/release/kmsfs")
    args = parser.parse_args()
    Kmsfs.program = str(args.kmsfs)
    numbers = lambda text: [int(number) for number in text.split(",")]
    parts = args.parts.split(",")

    def on(kind, work, *words):
        place = Path(tempfile.mkdtemp(prefix="kmsfs-scale-", dir=args.lower))
        fs = kind(place / kind.name)
        try:
            fs.mount()
            return work(fs, *words)
        finally:
            fs.unmount()
            shutil.rmtree(place)

    if "files" in parts:
        heads("files", "create (us)", "stat, cold (us)", "read, cold (us)", "list (us)", "memory (MiB)", "remove (us)")
        for count in numbers(args.files):
            for is_flat, words in ((True, "in one directory"), (False, "in a tree")):
                for kind in (Native, Kmsfs):
                    row(f"{count:,} {words}, {kind.name}", on(kind, of_files, count, is_flat))
    if "sizes" in parts:
        heads("sparse file", "truncate (us)", "write 4 KiB (us)", "read 4 KiB (us)", "room (MiB)", "remove (us)")
        for size in numbers(args.sizes):
            row(f"{size} GiB", on(Kmsfs, of_sizes, size * GIB))
    if "threads" in parts:
        heads("threads", "random read (IOPS)", "random write and fsync (IOPS)", "create (files/s)")
        for jobs in numbers(args.threads):
            row(f"{jobs}", on(Kmsfs, of_threads, jobs))
    if "rewrap" in parts:
        heads("read and write 4 KiB, 70:30", "alone (IOPS)", "while all is rewrapped (IOPS)", "headers/s")
        row("kmsfs", on(Kmsfs, while_rewrapping, args.turns))


main()
