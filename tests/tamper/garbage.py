#!/usr/bin/env python3
"""Broken volumes by the hundred, of kmsfs and of others: what reads them must live.

    tests/tamper/garbage.py KMSFS [VOLUMES [TARGET..]]      100 of kmsfs gocryptfs securefs encfs, unless said

For each target one small volume, and for each number of 1..VOLUMES a copy with one to eight random changes
of the lower tree: bits, runs of garbage and of zeros, cut, lengthened, swapped, copied over another, removed,
replaced by another kind of thing, renamed; every fifth volume in its configuration too. Then a mount, a read of
everything, and a use of everything: written to, renamed, removed. The same numbers make the same changes.

    refused    the volume does not mount
    died       the process ended while it was in use
    hung       something did not answer for a minute
    wrong      something that was read is not what was written, and no error told

Needs root, and the targets. Prints a table in Markdown; the exit code is 0 if kmsfs did not die or hang.
"""
import multiprocessing
import os
import pathlib
import random
import shutil
import stat
import subprocess
import sys
import tempfile

from peers import (PATIENCE, Encfs, Gocryptfs, Kmsfs, Lab, Mounted, Securefs, is_error, look, mounts,
                   new_dir)

CHANGES_MAX = 8
FAR = 1 << 26


def things(lower, config):
    """All lower entries; those of the configuration only if they are to be changed too."""
    found = sorted(path for path in lower.rglob("*") if path.name != "lock")
    is_config = lambda path: ".kmsfs" in path.parts or path.name in config
    return found, [path for path in found if not is_config(path)]


def change_bytes(draw, path):
    data = bytearray(path.read_bytes())
    if not data:
        return
    at = draw.randrange(len(data))
    run = min(draw.choice((1, 16, 500, 5000)), len(data) - at)
    kind = draw.randrange(4)
    if kind == 0:
        data[at] ^= 1 << draw.randrange(8)
    elif kind == 1:
        data[at : at + run] = draw.randbytes(run)
    elif kind == 2:
        data[at : at + run] = bytes(run)
    else:
        data[:16] = draw.randbytes(16)
    with open(path, "r+b") as file:
        file.write(data)


def change(draw, path, others):
    if not os.path.lexists(path):
        return
    is_file = path.is_file() and not path.is_symlink()
    kind = draw.randrange(12)
    other = draw.choice(others)
    if kind < 5 and is_file:
        change_bytes(draw, path)
    elif kind == 5 and is_file:
        os.truncate(path, draw.randrange(path.stat().st_size + 1))
    elif kind == 6 and is_file:
        os.truncate(path, draw.choice((path.stat().st_size + draw.randrange(9000), FAR)))
    elif kind == 7 and is_file and other.is_file() and not other.is_symlink() and other != path:
        shutil.copyfile(other, path)
    elif kind == 8:
        remove(path)
    elif kind == 9:
        remove(path)
        draw.choice((os.mkfifo, os.mkdir, pathlib.Path.touch, lambda p: os.symlink("A" * 60, p)))(path)
    elif kind == 10 and os.path.lexists(other) and path not in other.parents and other not in path.parents:
        between = path.with_name("between")
        path.rename(between)
        if os.path.lexists(other):
            other.rename(path)
            between.rename(other)
    else:
        letters = list(path.name)
        letters[draw.randrange(len(letters))] = draw.choice("Aa0-_.=+")
        name = path.with_name("".join(letters) if "".join(letters) not in (".", "..") else "x")
        if not os.path.lexists(name):
            path.rename(name)


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def use(point):
    """Writes to, renames and removes whatever there is; errors are answers."""
    def attempt(work, *words):
        try:
            return work(*words)
        except OSError:
            return None

    def append(path):
        if stat.S_ISREG(path.lstat().st_mode):
            with open(path, "ab") as file:
                file.write(b"x" * 5000)
            os.truncate(path, 100)

    for top, dirs, files in os.walk(point, topdown=False):
        top = pathlib.Path(top)
        for name in files + dirs:
            attempt(append, top / name)
            attempt(os.rename, top / name, top / "renamed")
            attempt(os.unlink, top / "renamed")
            attempt(os.rmdir, top / "renamed")
    attempt((point / "after").write_bytes, b"x")


def in_time(work, *words):
    """Whether something ended within the time; what it gave."""
    queue = multiprocessing.Queue()
    process = multiprocessing.Process(target=lambda: queue.put(work(*words)), daemon=True)
    process.start()
    try:
        return True, queue.get(timeout=PATIENCE)
    except Exception:  # Empty, or the process failed.
        process.kill()
        return False, None


def try_one(target, lab, place, number, before):
    draw = random.Random(number)
    lab = lab.copy(place / "copy")
    everything, content = things(lab.lower, target.config)
    of = everything if number % 5 == 0 else content
    for _ in range(draw.randrange(1, CHANGES_MAX + 1)):
        try:
            change(draw, draw.choice(of), everything)
        except (OSError, ValueError):
            pass
    mount = Mounted(target, lab.lower)
    outcome = []
    if not mount.live:
        outcome.append("refused")
    else:
        ended, after = in_time(look, mount.point)
        if ended and any(not is_error(value) and before.get(path, value) != value
                         for path, value in after.items()):
            outcome.append("wrong")
        ended = ended and in_time(use, mount.point)[0]
        if mount.process.poll() is not None:
            outcome.append("died")
        elif not ended:
            outcome.append("hung")
            mount.process.kill()
        if "died" in outcome or "hung" in outcome:
            subprocess.run(["umount", "-l", mount.point], capture_output=True, check=False)
    mount.__exit__()
    if mounts(mount.point):
        raise AssertionError(f"{mount.point} stays mounted")
    shutil.rmtree(lab.lower)
    return outcome


def main():
    Kmsfs.program = pathlib.Path(sys.argv[1]).resolve()
    volumes = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    kinds = {kind.name: kind for kind in (Kmsfs, Gocryptfs, Securefs, Encfs)}
    failed = False
    print("| target | volumes | refused | died | hung | wrong |\n|---|---|---|---|---|---|")
    for name in sys.argv[3:] or list(kinds):
        with tempfile.TemporaryDirectory() as place:
            place = pathlib.Path(place).resolve()
            target = kinds[name](new_dir(place / "home"))
            target.create(lower := new_dir(place / "lower"))
            lab = Lab(target, lower)
            lab.fill()
            with Mounted(target, lower) as mount:
                before = look(mount.point)
            counts = dict.fromkeys(("refused", "died", "hung", "wrong"), 0)
            for number in range(1, volumes + 1):
                outcome = try_one(target, lab, place, number, before)
                for what in outcome:
                    counts[what] += 1
                    if what in ("died", "hung"):
                        print(f"{name}: volume {number} {what}", file=sys.stderr)
        failed |= name == "kmsfs" and counts["died"] + counts["hung"] > 0
        cells = " | ".join(str(count) for count in counts.values())
        print(f"| {name} | {volumes} | {cells} |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
