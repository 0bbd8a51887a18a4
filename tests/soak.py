#!/usr/bin/env python3
"""An hour of mixed load on a mount, with a rotation every minute.

    tests/soak.py KMSFS [MINUTES]        60 minutes unless said

Workers write, read, append, cut, rename and remove files and compare what they read with what they
wrote. Once a minute the key is rotated, every other minute all headers are rewrapped, and memory and
descriptors of the mount are sampled. In the end the volume is unmounted, checked, mounted again and
compared. One line a minute; the exit code is 0 if nothing was lost and nothing has grown.
"""
import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

KMSFS = pathlib.Path(sys.argv[1]).resolve()
MINUTES = float(sys.argv[2]) if len(sys.argv) > 2 else 60
WORKERS = 4
FILES = 120
# What the last sample may be above the one after warming up.
GROWTH_MAX_KIB = 24 * 1024
DESCRIPTORS_MAX = 64


class Worker(threading.Thread):
    """Owns the files of one directory, and knows what is in them."""

    def __init__(self, place, seed):
        super().__init__(daemon=True)
        self.place, self.random = place, random.Random(seed)
        self.content, self.operations, self.error = {}, 0, None
        self.stop = threading.Event()
        place.mkdir()

    def run(self):
        try:
            while not self.stop.is_set():
                self.step()
                self.operations += 1
        except Exception as error:  # Told in the end, whatever it is.
            self.error = error

    def step(self):
        name = f"f{self.random.randrange(FILES)}"
        path, known = self.place / name, self.content.get(name)
        act = self.random.randrange(10)
        if known is None or act == 0:
            data = self.random.randbytes(self.random.choice((10, 3000, 9000, 200_000)))
            path.write_bytes(data)
            self.content[name] = bytearray(data)
        elif act < 5:
            self.compare(path, known)
        elif act == 5:
            at, data = self.random.randrange(len(known) + 5000), self.random.randbytes(700)
            with path.open("r+b") as file:
                file.seek(at)
                file.write(data)
                if self.random.randrange(4) == 0:
                    os.fsync(file.fileno())
            known.extend(bytes(max(0, at + len(data) - len(known))))
            known[at : at + len(data)] = data
        elif act == 6:
            data = self.random.randbytes(500)
            with path.open("ab") as file:
                file.write(data)
            known.extend(data)
        elif act == 7:
            size = self.random.randrange(len(known) + 1)
            os.truncate(path, size)
            del known[size:]
        elif act == 8:
            other = f"f{self.random.randrange(FILES)}"
            path.rename(self.place / other)
            self.content[other] = self.content.pop(name)
        else:
            path.unlink()
            del self.content[name]

    def compare(self, path, known):
        found = path.read_bytes()
        if found != known:
            raise AssertionError(f"{path}: {len(found)} bytes are not the {len(known)} written")

    def compare_all(self):
        names = {entry.name for entry in self.place.iterdir()}
        if names != set(self.content):
            raise AssertionError(f"{self.place}: other names than were made")
        for name, known in self.content.items():
            self.compare(self.place / name, known)


def main():
    with tempfile.TemporaryDirectory() as base:
        return soak(pathlib.Path(base).resolve())


def soak(base):
    lower, mount, key = base / "lower", base / "mnt", base / "key"
    (base / "run").mkdir()
    key.write_bytes(hashlib.sha256(b"soak").digest())
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(base / "run")}

    def kmsfs(*arguments):
        done = subprocess.run([KMSFS, *arguments], env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(f"kmsfs {arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    kmsfs("mount", "--create", lower, mount, "--keyfile", key)
    samples, failures = [], []
    try:
        workers = [Worker(mount / f"d{no}", no) for no in range(WORKERS)]
        for worker in workers:
            worker.start()
        pid = json.loads(kmsfs("status", mount, "--json"))["mount"]["pid"]
        end, minute = time.monotonic() + MINUTES * 60, 0
        while time.monotonic() < end and not any(worker.error for worker in workers):
            time.sleep(min(60, max(0, end - time.monotonic())))
            minute += 1
            kmsfs("rotate", mount)
            if minute % 2 == 0:
                kmsfs("rewrap", mount)
            samples.append(sample(pid))
            done = sum(worker.operations for worker in workers)
            print(f"minute {minute}: {done} operations, {samples[-1]}", flush=True)
        for worker in workers:
            worker.stop.set()
        for worker in workers:
            worker.join()
            if worker.error:
                failures.append(repr(worker.error))
            else:
                worker.compare_all()
        kmsfs("umount", mount)
        kmsfs("fsck", lower, "--keyfile", key)
        kmsfs("mount", lower, mount, "--keyfile", key)
        for worker in workers:
            if not worker.error:
                worker.compare_all()
        files = sum(len(worker.content) for worker in workers)
        done = sum(worker.operations for worker in workers)
        print(f"{done} operations, {minute} rotations, {files} files compared after fsck and remount")
    finally:
        subprocess.run([KMSFS, "umount", "--lazy", mount], env=environment, capture_output=True)
    if len(samples) > 4:
        warm, last = samples[2], samples[-1]
        if last["rss_kib"] > warm["rss_kib"] + GROWTH_MAX_KIB:
            failures.append(f"memory has grown: {warm} {last}")
        if last["descriptors"] > max(warm["descriptors"] * 2, DESCRIPTORS_MAX):
            failures.append(f"descriptors have grown: {warm} {last}")
    for failure in failures:
        print(f"error: {failure}")
    return 1 if failures else 0


def sample(pid):
    """Memory, descriptors and threads of the mount."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return {
        "rss_kib": int(fields["VmRSS"].split()[0]),
        "anonymous_kib": int(fields["RssAnon"].split()[0]),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(fields["Threads"]),
    }


sys.exit(main())
