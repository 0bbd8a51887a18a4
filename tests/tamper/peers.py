#!/usr/bin/env python3
"""The tamper table of kmsfs beside other encrypting filesystems.

    tests/tamper/peers.py KMSFS [TARGET..]      kmsfs gocryptfs securefs encfs, unless said

For each target: a small volume, and for each change of one list a fresh copy of it. One change of the
lower tree while nothing is mounted; the target's own check, if it has one (kmsfs fsck, gocryptfs
-fsck); a mount; everything is read. What came of it:

    refused    the volume does not mount
    detected   nothing that is read is wrong, and an error or the check tells
    harmless   everything reads as it was written
    accepted   something reads otherwise, or is gone, and no read tells; `+` if the check tells

Default settings, but for the cost of a passphrase: it changes nothing here. Blocks are those of the
target's own format. A change of what a target does not have (a sidecar, an extended attribute) is not
counted. Needs root, and the targets (Debian: gocryptfs securefs encfs). Prints two tables in Markdown:
every change, and how many were accepted.
"""
import errno
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

PATIENCE = 60
BIG = 20000
LONG = "n" * 200


class Target:
    """How a filesystem is made, mounted and checked, and where its blocks lie."""

    sidecar = None  # Of a directory.
    config = ()
    has_check = False

    def __init__(self, home):
        self.home = home
        for name, text in (("old", "o" * 32), ("new", "n" * 32)):
            (home / name).write_text(text + "\n")

    def run(self, *words, stdin=""):
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=PATIENCE,
                              env={**os.environ, "XDG_RUNTIME_DIR": str(self.home)})
        return done.returncode, done.stdout + done.stderr

    def must(self, *words, **more):
        code, said = self.run(*words, **more)
        if code != 0:
            raise AssertionError(f"{words}: {said}")

    def secret(self, name):
        return (self.home / name).read_text().strip()

    def block(self, number):
        """Position and length of a block of content."""
        return self.header + number * self.stored, self.stored

    def last(self, length):
        """Number of the last block of a lower file of this length."""
        return (length - self.header - 1) // self.stored

    def finds(self, lower):
        """Whether the target's own check tells."""
        return False


class Kmsfs(Target):
    name, header = "kmsfs", 1536
    sidecar, config, has_check = ".kmsfs.dir", (".kmsfs/keys.db", ".kmsfs/keys.db-journal"), True
    settings = ".kmsfs/volume.toml"
    program = None

    def create(self, lower):
        self.must(self.program, "init", lower, "--keyfile", self.home / "old")

    def command(self, lower, point, key):
        return [self.program, "mount", "-f", lower, point, "--keyfile", self.home / key]

    def change_secret(self, lower):
        self.must(self.program, "passwd", lower, "--keyfile", self.home / "old",
                  "--new-keyfile", self.home / "new")

    def block(self, number):
        return (4096 * number, 4096) if number else (1536, 2560)

    def last(self, length):
        # Behind the last record lie as many bytes as it has content; they hold nothing.
        return length // 4096 - 1

    def finds(self, lower):
        return self.run(self.program, "fsck", lower, "--keyfile", self.home / "old")[0] != 0


class Gocryptfs(Target):
    name, header, stored = "gocryptfs", 18, 4128
    sidecar, config, has_check = "gocryptfs.diriv", ("gocryptfs.conf",), True
    settings = "gocryptfs.conf"

    def create(self, lower):
        self.must("gocryptfs", "-init", "-q", "-scryptn", "10", "-passfile", self.home / "old", lower)

    def command(self, lower, point, key):
        return ["gocryptfs", "-fg", "-q", "-nosyslog", "-passfile", self.home / key, lower, point]

    def change_secret(self, lower):
        self.must("gocryptfs", "-passwd", "-q", "-scryptn", "10", "-passfile", self.home / "old", lower,
                  stdin=self.secret("new") + "\n")

    def finds(self, lower):
        return self.run("gocryptfs", "-fsck", "-q", "-passfile", self.home / "old", lower)[0] != 0


class Securefs(Target):
    name, header, stored = "securefs", 16, 4124
    config, settings = (".securefs.json",), ".securefs.json"

    def create(self, lower):
        self.must("securefs", "create", "-r", "1", "--pass", self.secret("old"), lower)

    def command(self, lower, point, key):
        return ["securefs", "mount", "--pass", self.secret(key), lower, point]

    def change_secret(self, lower):
        self.must("securefs", "chpass", "-r", "1", "--oldpass", self.secret("old"),
                  "--newpass", self.secret("new"), lower)


class Encfs(Target):
    name, header, stored = "encfs", 8, 1024
    config, settings = (".encfs6.xml",), ".encfs6.xml"

    def create(self, lower):
        point = self.home / "made"
        point.mkdir(exist_ok=True)
        self.must("encfs", "--standard", "-S", lower, point, stdin=self.secret("old") + "\n")
        self.must("fusermount", "-u", point)

    def command(self, lower, point, key):
        return ["encfs", "-f", f"--extpass=cat {self.home / key}", lower, point]

    def change_secret(self, lower):
        self.must("encfsctl", "autopasswd", lower,
                  stdin=self.secret("old") + "\n" + self.secret("new") + "\n")


def mounts(point):
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return any(line.split()[4] == str(point) for line in table)


class Mounted:
    """A mount for as long as a block of code needs it; `live` is false if there is none."""

    def __init__(self, target, lower, key="old"):
        self.target, self.point = target, target.home / "point"
        self.point.mkdir(exist_ok=True)
        words = [str(word) for word in target.command(lower, self.point, key)]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL,
                                        env={**os.environ, "XDG_RUNTIME_DIR": str(target.home)})
        end = time.monotonic() + PATIENCE
        while not mounts(self.point) and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        self.live = mounts(self.point)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end = time.monotonic() + PATIENCE
        while mounts(self.point) and time.monotonic() < end:
            subprocess.run(["umount", self.point], capture_output=True, check=False)
            time.sleep(0.01)
        if self.process.poll() is None and not self.live:
            self.process.kill()
        self.process.wait(PATIENCE)


def entries(lower):
    return {path for path in lower.rglob("*") if ".kmsfs" not in path.relative_to(lower).parts}


class Lab:
    """A volume with known content, and where each plain path lies below."""

    def __init__(self, target, lower):
        self.target, self.lower, self.places, self.sidecars = target, lower, {"": lower}, {}
        # What reads otherwise since its owner changed it, and whether nothing should open any more.
        self.expect, self.is_stale = {}, False

    def fill(self):
        draw = random.Random(1)
        with Mounted(self.target, self.lower) as mount:
            if not mount.live:
                raise AssertionError(f"{self.target.name} does not mount")
            point = mount.point
            for name in ("d1", "d2"):
                self.note(name, lambda path: path.mkdir(), point)
            for name, length in (("big", BIG), ("twin", BIG), ("d1/same", 9000), ("d2/same", 9000),
                                 ("d1/only", 3000), (LONG, 9000), ("n" * 190, 9000)):
                content = draw.randbytes(length)
                try:
                    self.note(name, lambda path: path.write_bytes(content), point)
                except OSError:
                    if len(name) < 100:
                        raise
            for name in ("link", "other link"):
                self.note(name, lambda path: path.symlink_to(f"target of {path.name[:5]}"), point)
            for name in ("big", "twin"):
                for attribute in ("user.a", "user.b"):
                    value = f"{attribute} of {name}".encode()
                    try:
                        os.setxattr(point / name, attribute, value)
                    except OSError:
                        pass

    def note(self, name, make, point):
        """Makes an entry, and finds it below: what is new, and largest."""
        before = entries(self.lower)
        make(point / name)
        fd = os.open(point / name, os.O_RDONLY) if not (point / name).is_symlink() else None
        if fd is not None:
            os.fsync(fd)
            os.close(fd)
        above = self.places[name.rpartition("/")[0]]
        fresh = [path for path in entries(self.lower) - before if path.parent == above]
        fresh.sort(key=lambda path: path.lstat().st_size)
        self.places[name] = fresh[-1]
        if len(fresh) > 1:
            self.sidecars[name] = fresh[0]

    def copy(self, lower):
        shutil.copytree(self.lower, lower, symlinks=True)
        lab = Lab(self.target, lower)
        moved = lambda table: {k: lower / v.relative_to(self.lower) for k, v in table.items()}
        lab.places, lab.sidecars = moved(self.places), moved(self.sidecars)
        return lab

    def at(self, name):
        if name not in self.places:
            raise NotThere
        return self.places[name]

    def side(self, name):
        if name not in self.sidecars:
            raise NotThere
        return self.sidecars[name]

    def marker(self, name):
        if not self.target.sidecar:
            raise NotThere
        return self.at(name) / self.target.sidecar

    def live(self, work):
        """Changes the volume as its owner does."""
        with Mounted(self.target, self.lower) as mount:
            assert mount.live
            work(mount.point)


class NotThere(Exception):
    """The target does not have what is to be changed."""


def look(point):
    """All that can be read: path to what it is, or to an error's number."""
    seen = {}

    def attempt(key, read):
        try:
            seen[key] = read()
        except OSError as error:
            seen[key] = ("error", error.errno)

    def visit(path):
        where = str(path.relative_to(point))
        try:
            names = sorted(os.listdir(path))
        except OSError as error:
            seen[where] = ("error", error.errno)
            return
        seen[where] = "directory"
        for name in names:
            entry = path / name
            key = str(entry.relative_to(point))
            try:
                mode = entry.lstat().st_mode
            except OSError as error:
                seen[key] = ("error", error.errno)
                continue
            if (mode & 0o170000) == 0o040000:
                visit(entry)
            elif (mode & 0o170000) == 0o120000:
                attempt(key, lambda: os.readlink(entry))
            elif (mode & 0o170000) != 0o100000:
                seen[key] = "of another kind"
            else:
                attempt(key, entry.read_bytes)
                try:
                    for attribute in os.listxattr(entry):
                        attempt(f"{key}#{attribute}", lambda: os.getxattr(entry, attribute))
                except OSError as error:
                    if error.errno != errno.EOPNOTSUPP:
                        seen[f"{key}#"] = ("error", error.errno)

    visit(point)
    return seen


def is_error(value):
    return isinstance(value, tuple)


def judge(target, lab, before, key="old"):
    found = target.finds(lab.lower)
    with Mounted(target, lab.lower, key) as mount:
        if not mount.live:
            return "refused"
        if lab.is_stale:
            return "accepted"
        after = look(mount.point)
    wrong = [path for path, value in after.items()
             if not is_error(value) and before.get(path) != value]
    errors = [path for path, value in after.items() if is_error(value)]
    gone = [path for path in before if path not in after]
    if wrong or (gone and not errors and not found):
        return "accepted+" if found else "accepted"
    if errors or found:
        return "detected"
    return "harmless"


# Changes.


def edit(path, how):
    """Changes the bytes of a lower file; its attributes and times stay."""
    data = bytearray(path.read_bytes())
    how(data)
    with open(path, "r+b") as file:
        file.write(data)
        file.truncate(len(data))


def flip(path, at):
    def change(data):
        data[at] ^= 1
    edit(path, change)


def swap(one, other):
    between = one.with_name("between")
    one.rename(between)
    other.rename(one)
    between.rename(other)


def span(lab, number):
    at, length = lab.target.block(number)
    return slice(at, at + length)


def on_big(change):
    return lambda lab: edit(lab.at("big"), lambda data: change(lab, data))


def first(lab):
    return lab.target.header


def replace_block(lab, data, number, new):
    data[span(lab, number)] = new


def swap_blocks(lab, data):
    one, two = span(lab, 1), span(lab, 2)
    data[one], data[two] = data[two], data[one]


def earlier(lab, what):
    """Brings back what a file was before its owner wrote it anew in place."""
    path = lab.at("big")
    old = path.read_bytes()

    def write(point):
        with open(point / "big", "r+b") as file:
            file.write(b"new" * (BIG // 3))
            os.fsync(file.fileno())
    lab.live(write)
    with Mounted(lab.target, lab.lower) as mount:
        lab.expect["big"] = (mount.point / "big").read_bytes()
    if what == "block":
        edit(path, lambda data: replace_block(lab, data, 1, old[span(lab, 1)]))
    else:
        edit(path, lambda data: data.__setitem__(slice(None), old))


def attributes(path):
    found = sorted(name for name in os.listxattr(path) if name.startswith("user."))
    if not found:
        raise NotThere
    return found


def flip_attribute(lab):
    path = lab.at("big")
    name = attributes(path)[0]
    value = bytearray(os.getxattr(path, name))
    value[-1] ^= 1
    os.setxattr(path, name, value)


def swap_attributes(one, other, lab):
    (path, no), (path2, no2) = one, other
    path, path2 = lab.at(path), lab.at(path2)
    name, name2 = attributes(path)[no], attributes(path2)[no2]
    value, value2 = os.getxattr(path, name), os.getxattr(path2, name2)
    os.setxattr(path, name, value2)
    os.setxattr(path2, name2, value)


def relink(path, target):
    path.unlink()
    path.symlink_to(target)


def flip_link(lab):
    path = lab.at("link")
    text = os.readlink(path)
    letter = "B" if text[10] != "B" else "C"
    relink(path, text[:10] + letter + text[11:])


def replace_by_link(lab):
    relink(lab.at("big"), lab.at("twin").name)


def roll_back_secret(lab):
    old = {name: (lab.lower / name).read_bytes() for name in lab.target.config
           if (lab.lower / name).exists()}
    lab.target.change_secret(lab.lower)
    for name, data in old.items():
        path = lab.lower / name
        path.chmod(0o600)
        path.write_bytes(data)
    lab.is_stale = True


def flip_settings(lab, part):
    path = lab.lower / lab.target.settings
    path.chmod(0o600)
    data = path.read_bytes()
    # A letter or digit, so that it stays a text of its kind.
    at = next(no for no in range(int(len(data) * part), len(data)) if data[no : no + 1].isalnum())
    new = b"A" if data[at : at + 1] != b"A" else b"B"
    path.write_bytes(data[:at] + new + data[at + 1 :])


def move_with_sidecar(lab, to):
    where = lab.at(to)
    side = lab.side(LONG)
    lab.at(LONG).rename(where / lab.at(LONG).name)
    side.rename(where / side.name)


def shuffled(name):
    """Another name of the same letters."""
    return name[:-4] + name[-3:] + name[-4]


CHANGES = [
    ("header", "first bit", lambda lab: flip(lab.at("big"), 0)),
    ("header", "last bit", lambda lab: flip(lab.at("big"), lab.target.header - 1)),
    ("header", "zeroed", on_big(lambda lab, d: d.__setitem__(slice(0, first(lab)), bytes(first(lab))))),
    ("header", "of another file", lambda lab: edit(lab.at("big"), lambda d: d.__setitem__(
        slice(0, first(lab)), lab.at("twin").read_bytes()[: first(lab)]))),
    ("content", "a bit of the first block", lambda lab: flip(lab.at("big"), first(lab) + 100)),
    ("content", "a bit in the middle", lambda lab: flip(lab.at("big"), lab.target.block(2)[0] + 99)),
    ("content", "a bit of the last block", lambda lab: flip(
        lab.at("big"), lab.target.block(lab.target.last(lab.at("big").stat().st_size))[0] + 60)),
    ("content", "the first block zeroed",
     on_big(lambda lab, d: replace_block(lab, d, 0, bytes(lab.target.block(0)[1])))),
    ("content", "a block zeroed",
     on_big(lambda lab, d: replace_block(lab, d, 2, bytes(lab.target.block(2)[1])))),
    ("content", "all blocks zeroed",
     on_big(lambda lab, d: d.__setitem__(slice(first(lab), None), bytes(len(d) - first(lab))))),
    ("content", "two blocks swapped", on_big(swap_blocks)),
    ("content", "a block over the next",
     on_big(lambda lab, d: replace_block(lab, d, 2, d[span(lab, 1)]))),
    ("content", "a block taken out", on_big(lambda lab, d: d.__delitem__(span(lab, 1)))),
    ("content", "a block put in twice", on_big(lambda lab, d: d.__setitem__(
        slice(span(lab, 2).start, span(lab, 2).start), d[span(lab, 1)]))),
    ("content", "a block of another file", lambda lab: edit(lab.at("big"), lambda d: replace_block(
        lab, d, 1, lab.at("twin").read_bytes()[span(lab, 1)]))),
    ("content", "a block put back to an earlier state", lambda lab: earlier(lab, "block")),
    ("length", "one byte less", on_big(lambda lab, d: d.__delitem__(slice(-1, None)))),
    ("length", "cut behind a block",
     on_big(lambda lab, d: d.__delitem__(slice(span(lab, 2).stop, None)))),
    ("length", "cut in a block",
     on_big(lambda lab, d: d.__delitem__(slice(span(lab, 2).start + 700, None)))),
    ("length", "cut to the header", on_big(lambda lab, d: d.__delitem__(slice(first(lab), None)))),
    ("length", "cut in the header", on_big(lambda lab, d: d.__delitem__(slice(5, None)))),
    ("length", "cut to nothing", on_big(lambda lab, d: d.clear())),
    ("length", "zeros of a block added", on_big(lambda lab, d: d.extend(bytes(4128)))),
    ("length", "garbage of a block added",
     on_big(lambda lab, d: d.extend(random.Random(2).randbytes(4128)))),
    ("length", "a block of its own added", on_big(lambda lab, d: d.extend(d[span(lab, 1)]))),
    ("files", "two swapped", lambda lab: swap(lab.at("big"), lab.at("twin"))),
    ("files", "one copied over another", lambda lab: shutil.copy(lab.at("twin"), lab.at("big"))),
    ("files", "of one name in two directories, swapped",
     lambda lab: swap(lab.at("d1/same"), lab.at("d2/same"))),
    ("files", "moved to another directory",
     lambda lab: lab.at("d1/only").rename(lab.at("d2") / lab.at("d1/only").name)),
    ("files", "copied to another directory",
     lambda lab: shutil.copy(lab.at("d1/only"), lab.at("d2") / lab.at("d1/only").name)),
    ("files", "copied beside itself under a name that is none",
     lambda lab: shutil.copy(lab.at("big"), lab.at("big").with_name(shuffled(lab.at("big").name)))),
    ("files", "put back to an earlier state", lambda lab: earlier(lab, "file")),
    ("files", "replaced by a link to another", replace_by_link),
    ("files", "removed", lambda lab: lab.at("big").unlink()),
    ("directories", "two swapped", lambda lab: swap(lab.at("d1"), lab.at("d2"))),
    ("directories", "one moved into another",
     lambda lab: lab.at("d1").rename(lab.at("d2") / lab.at("d1").name)),
    ("directories", "removed", lambda lab: shutil.rmtree(lab.at("d1"))),
    ("sidecars", "of a directory: a bit", lambda lab: flip(lab.marker("d1"), -1)),
    ("sidecars", "of a directory: removed", lambda lab: lab.marker("d1").unlink()),
    ("sidecars", "of a directory: another's",
     lambda lab: shutil.copy(lab.marker("d2"), lab.marker("d1"))),
    ("sidecars", "of a name: a bit", lambda lab: flip(lab.side(LONG), -1)),
    ("sidecars", "of a name: removed", lambda lab: lab.side(LONG).unlink()),
    ("sidecars", "of a name: another's",
     lambda lab: shutil.copy(lab.side("n" * 190), lab.side(LONG))),
    ("sidecars", "of a name: moved with its file", lambda lab: move_with_sidecar(lab, "d1")),
    ("symlinks", "a letter changed", flip_link),
    ("symlinks", "two swapped", lambda lab: swap(lab.at("link"), lab.at("other link"))),
    ("symlinks", "removed", lambda lab: lab.at("link").unlink()),
    ("attributes", "a bit of a value", flip_attribute),
    ("attributes", "removed",
     lambda lab: os.removexattr(lab.at("big"), attributes(lab.at("big"))[0])),
    ("attributes", "two of one file swapped",
     lambda lab: swap_attributes(("big", 0), ("big", 1), lab)),
    ("attributes", "one swapped with that of another file",
     lambda lab: swap_attributes(("big", 0), ("twin", 0), lab)),
    ("configuration", "a letter in the middle", lambda lab: flip_settings(lab, 0.5)),
    ("configuration", "a letter near the end", lambda lab: flip_settings(lab, 0.9)),
    ("configuration", "put back to the passphrase before", roll_back_secret),
]


def try_all(target, place):
    target.create(lower := new_dir(place / "lower"))
    lab = Lab(target, lower)
    lab.fill()
    with Mounted(target, lower) as mount:
        before = look(mount.point)
    assert not any(is_error(value) for value in before.values()) and len(before) > 9
    outcomes = []
    for group, name, change in CHANGES:
        copy = lab.copy(place / "copy")
        try:
            change(copy)
        except NotThere:
            outcomes.append("-")
        else:
            outcomes.append(judge(target, copy, {**before, **copy.expect}))
        shutil.rmtree(copy.lower)
    return outcomes


def new_dir(path):
    path.mkdir()
    return path


def main():
    Kmsfs.program = pathlib.Path(sys.argv[1]).resolve()
    kinds = {kind.name: kind for kind in (Kmsfs, Gocryptfs, Securefs, Encfs)}
    names = sys.argv[2:] or list(kinds)
    table = {}
    for name in names:
        with tempfile.TemporaryDirectory() as place:
            place = pathlib.Path(place).resolve()
            table[name] = try_all(kinds[name](new_dir(place / "home")), place)
    heading = "| changed | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|"
    print(heading)
    for no, (group, what, _) in enumerate(CHANGES):
        print(f"| {group}: {what} | " + " | ".join(table[name][no] for name in names) + " |")
    print(f"\nAccepted, of those tried:\n\n{heading}")
    groups = list(dict.fromkeys(group for group, _, _ in CHANGES))
    for group in groups + ["**all**"]:
        cells = (count(table[name], group) for name in names)
        print(f"| {group} | " + " | ".join(cells) + " |")


def count(outcomes, group):
    """How many changes of a group were accepted, and tried."""
    of_group = [outcome for outcome, (of, _, _) in zip(outcomes, CHANGES)
                if group in (of, "**all**") and outcome != "-"]
    accepted = sum(outcome.startswith("accepted") for outcome in of_group)
    return f"{accepted} of {len(of_group)}" if of_group else "-"


if __name__ == "__main__":
    main()
