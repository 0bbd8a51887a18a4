#!/usr/bin/env python3
"""Requests a second and latencies of KMS servers on the wire, in turns, one core for the server.

    cargo build --release --example kms_load --bin kmsfs
    python3 benches/wire.py [--rounds N] [--seconds S] [--kmsfs BIN] [--load BIN]
                            [--moto BIN] [--local-kms BIN]

Every server that is named by its program (moto: `moto_server`) is started on loopback, pinned to
processor 0; the load is pinned to processor 1. Each round asks every server for every case, one
after another, so that what disturbs the machine disturbs all of them. Prints a table for
docs/BENCHMARKS.md: medians over the rounds, and the spread. "CPU" is the processor time of the server
for one request, all its threads and the kernel's work for it included: what one core can do at
most, and little disturbed by other programs.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
import tomllib
import urllib.error
import urllib.request

CASES = [(op, n) for op in ("GenerateDataKey", "Decrypt", "Encrypt") for n in (1, 16)]
REGION = "us-east-1"


class Server:
    def __init__(self, name, command, port, **environment):
        self.name, self.address = name, f"127.0.0.1:{port}"
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", *command],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.key, self.secret = "AKIAIOSFODNN7EXAMPLE", "secret"
        self.results = {case: [] for case in CASES}

    def wait(self):
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://{self.address}/", timeout=1)
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit(f"{self.name} has ended")
                time.sleep(0.1)
        raise SystemExit(f"{self.name} does not answer")

    def processor_time(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


def start_kmsfs(binary, directory):
    key_file = os.path.join(directory, "key")
    with open(key_file, "wb") as file:
        file.write(os.urandom(64))
    kms = os.path.join(directory, "kms")
    command = [binary, "serve", "--kms", kms, "--create", "--keyfile", key_file]
    server = Server("kmsfs", [*command, "--listen", "127.0.0.1:8741"], 8741)
    server.wait()
    with open(os.path.join(kms, "credentials.toml"), "rb") as file:
        principal = tomllib.load(file)["principal"][0]
    server.key, server.secret = principal["access_key_id"], principal["secret_access_key"]
    return server


def measure(server, load, operation, connections, seconds):
    command = ["taskset", "-c", "1", load, server.address, server.key, server.secret, REGION]
    command += [operation, str(connections), str(seconds)]
    before = server.processor_time()
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result = json.loads(output)
    used = server.processor_time() - before
    result["cpu_us"] = used * 1e6 / result["requests_and_before"]
    return result


def table(servers):
    def median(server, case, name):
        return statistics.median(result[name] for result in server.results[case])

    def spread(server, case, name):
        values = [result[name] for result in server.results[case]]
        return f"{min(values):.0f}..{max(values):.0f}"

    yield "| operation, connections | server | requests/s | spread | p50 (us) | p99 (us) | CPU (us) | spread | kmsfs is, by requests/s | by CPU |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for case in CASES:
        for server in servers:
            rate, cpu = (
                median(servers[0], case, "per_second") / median(server, case, "per_second"),
                median(server, case, "cpu_us") / median(servers[0], case, "cpu_us"),
            )
            cells = [
                f"{case[0]}, {case[1]}",
                server.name,
                f"{median(server, case, 'per_second'):.0f}",
                spread(server, case, "per_second"),
                f"{median(server, case, 'p50_us'):.0f}",
                f"{median(server, case, 'p99_us'):.0f}",
                f"{median(server, case, 'cpu_us'):.0f}",
                spread(server, case, "cpu_us"),
                "" if server is servers[0] else f"{rate:.1f}",
                "" if server is servers[0] else f"{cpu:.1f}",
            ]
            yield "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--kmsfs", default="target/release/kmsfs")
    parser.add_argument("--load", default="target/release/examples/kms_load")
    parser.add_argument("--moto", help="moto_server")
    parser.add_argument("--local-kms", help="local-kms")
    parser.add_argument("--directory", default="/dev/shm", help="for kmsfs' database and log")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.directory) as directory:
        servers = [start_kmsfs(args.kmsfs, directory)]
        try:
            if args.local_kms:
                data = os.path.join(directory, "local-kms")
                environment = {"PORT": "8742", "KMS_DATA_PATH": data, "REGION": REGION}
                servers.append(Server("local-kms", [args.local_kms], 8742, **environment))
            if args.moto:
                command = [args.moto, "-H", "127.0.0.1", "-p", "8743"]
                servers.append(Server("moto", command, 8743))
            for server in servers:
                server.wait()
            for _ in range(args.rounds):
                for operation, connections in CASES:
                    for server in servers:
                        result = measure(server, args.load, operation, connections, args.seconds)
                        server.results[operation, connections].append(result)
            print("\n".join(table(servers)))
        finally:
            for server in servers:
                server.stop()


if __name__ == "__main__":
    main()
