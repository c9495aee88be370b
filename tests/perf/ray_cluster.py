"""One node of a Ray cluster, as a task of srun: ray_cluster.py FOLDER PROGRAM ARGS. Task 0 is the head and, when
all nodes are there, runs the program; the others stay until FOLDER, which all see, has the file `end`. Runs in
Ray's environment."""

import os
import pathlib
import socket
import subprocess
import sys
import time

STORE, PORT, LIMIT_S = 1_500_000_000, 6379, 120
task, tasks = int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
folder = pathlib.Path(sys.argv[1])
os.environ["RAY_AUTH_MODE"] = "disabled"  # the nodes have no file of tokens in common
for name in ("TMPDIR", "RAY_TMPDIR"):  # each node has a /tmp of its own
    os.environ.pop(name, None)
ray = pathlib.Path(sys.executable).with_name("ray")


def start(*words):
    common = ["--num-cpus=1", f"--object-store-memory={STORE}", "--disable-usage-stats"]
    subprocess.run([ray, "start", *words, *common], check=True, stdout=subprocess.DEVNULL, timeout=LIMIT_S)


def wait_for(condition, what):
    end = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"{what}: not within {LIMIT_S} s")
        time.sleep(0.1)


def own_address():
    return socket.gethostbyname(socket.gethostname())


def head():
    start("--head", f"--node-ip-address={own_address()}", f"--port={PORT}", "--include-dashboard=false")
    (folder / "head").write_text(own_address())
    wait_for(lambda: len(list(folder.glob("node-*"))) == tasks - 1, "the other nodes")
    try:
        return subprocess.run([sys.executable, *sys.argv[2:]]).returncode
    finally:
        (folder / "end").touch()


def node():
    wait_for((folder / "head").exists, "the head")
    start(f"--address={(folder / 'head').read_text()}:{PORT}", f"--node-ip-address={own_address()}")
    (folder / f"node-{task}").touch()
    while not (folder / "end").exists():
        time.sleep(0.1)
    return 0


try:
    code = head() if task == 0 else node()
finally:
    subprocess.run([ray, "stop", "--force"], stdout=subprocess.DEVNULL, timeout=LIMIT_S)
sys.exit(code)
