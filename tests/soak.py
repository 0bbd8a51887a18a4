#!/usr/bin/env python3
"""An hour of mixed load on a mount, with a rotation every minute.

    tests/soak.py KMSFS [MINUTES [TARGET]]        60 minutes of kmsfs unless said

Workers write, read, append, cut, rename and remove files and compare what they read with what they
wrote. Once a minute the key is rotated, every other minute all headers are rewrapped, and memory and
descriptors of the mount are sampled. In the end the volume is unmounted, checked, mounted again and
compared. One line a minute; the exit code is 0 if nothing was lost and nothing has grown.

TARGET: kmsfs, gocryptfs or securefs (Debian has both). The others get the same load, without rotations, which
they do not have, and without a limit to what they may grow by.
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
TARGET = sys.argv[3] if len(sys.argv) > 3 else "kmsfs"
PATIENCE = 60
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


class Kmsfs:
    """A volume, its key and where it is mounted."""

    def __init__(self, base):
        self.lower, self.mount, self.key = base / "lower", base / "mnt", base / "key"
        self.key.write_bytes(hashlib.sha256(b"soak").digest())
        (base / "run").mkdir()
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(base / "run")}
        self.options = ["--create"]

    def run(self, *words):
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(f"{words}: {done.stdout}{done.stderr}")
        return done.stdout

    def begin(self):
        """Mounts; gives the process."""
        self.run(KMSFS, "mount", *self.options, self.lower, self.mount, "--keyfile", self.key)
        self.options = []
        return json.loads(self.run(KMSFS, "status", self.mount, "--json"))["mount"]["pid"]

    def each_minute(self, minute):
        self.run(KMSFS, "rotate", self.mount)
        if minute % 2 == 0:
            self.run(KMSFS, "rewrap", self.mount)

    def end(self):
        self.run(KMSFS, "umount", self.mount)
        self.run(KMSFS, "fsck", self.lower, "--keyfile", self.key)


class Other(Kmsfs):
    """Another filesystem, as a process of this one."""

    def __init__(self, base):
        super().__init__(base)
        for path in (self.lower, self.mount):
            path.mkdir()
        self.key.write_text("soak\n")
        self.process = None
        self.run(*(word.format(**self.words()) for word in CREATE[TARGET].split()))

    def words(self):
        return {"lower": self.lower, "mount": self.mount, "key": self.key}

    def begin(self):
        words = [word.format(**self.words()) for word in MOUNT[TARGET].split()]
        null = subprocess.DEVNULL
        self.process = subprocess.Popen(words, stdin=null, stdout=null, stderr=null)
        end = time.monotonic() + PATIENCE
        while not os.path.ismount(self.mount):
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{TARGET} does not mount")
            time.sleep(0.05)
        return self.process.pid

    def each_minute(self, minute):
        pass

    def end(self):
        self.run("umount", self.mount)
        self.process.wait(PATIENCE)


CREATE = {
    "gocryptfs": "gocryptfs -init -q -scryptn 10 -passfile {key} {lower}",
    "securefs": "securefs create -r 1 --pass soak {lower}",
}
MOUNT = {
    "gocryptfs": "gocryptfs -fg -q -nosyslog -passfile {key} {lower} {mount}",
    "securefs": "securefs mount --pass soak {lower} {mount}",
}


def main():
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as base:
        base = pathlib.Path(base).resolve()
        return soak(Kmsfs(base) if TARGET == "kmsfs" else Other(base))


def soak(volume):
    mount, samples, failures = volume.mount, [], []
    pid = volume.begin()
    try:
        workers = [Worker(mount / f"d{no}", no) for no in range(WORKERS)]
        for worker in workers:
            worker.start()
        end, minute = time.monotonic() + MINUTES * 60, 0
        while time.monotonic() < end and not any(worker.error for worker in workers):
            time.sleep(min(60, max(0, end - time.monotonic())))
            minute += 1
            volume.each_minute(minute)
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
        volume.end()
        volume.begin()
        for worker in workers:
            if not worker.error:
                worker.compare_all()
        volume.end()
        files = sum(len(worker.content) for worker in workers)
        done = sum(worker.operations for worker in workers)
        print(f"{done} operations, {minute} minutes, {files} files compared after a remount")
    finally:
        subprocess.run(["umount", "--lazy", mount], capture_output=True)
    if len(samples) > 4 and TARGET == "kmsfs":
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
