"""A Python that has imported the large libraries already: each start of it is a fork.

A job of a tiny run computes for half a second, and imports for five to ten. `WarmPython.folder` holds two programs,
`python` and `snakemake`, which have a server fork a process for them: with their arguments, their environment, their
folder and their open files. Where a client is killed, so is its process with all that it started. Only libraries are
imported ahead; the project's own modules are imported by each process anew.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

LIBRARIES = {  # what jobs import: module -> names that transformers and diffusers load when they are first read
    "snakemake.cli": (),
    "snakemake.workflow": (),
    "snakemake.script": (),
    "pandas": (),
    "pyarrow.parquet": (),
    "pydantic": (),
    "matplotlib.figure": (),
    "open_clip": (),
    "transformers": (
        *("AutoTokenizer", "BertLMHeadModel", "BertTokenizer", "CLIPImageProcessor", "CLIPTextModel"),
        *("CLIPTokenizer", "CLIPVisionModel", "VisionEncoderDecoderModel"),
    ),
    "diffusers": ("AutoPipelineForText2Image", "DPMSolverMultistepScheduler", "StableDiffusionPipeline"),
    "diffusers.pipelines.stable_diffusion": ("StableDiffusionSafetyChecker",),
}
CLIENT = """#!{python} -SE
import contextlib, json, os, signal, socket, sys
program, real = {program!r}, {real!r}
if program == "python" and (len(sys.argv) < 2 or sys.argv[1].startswith("-")):
    os.execv(real, [real, *sys.argv[1:]])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
arguments = sys.argv[1:] if program == "python" else [real, *sys.argv[1:]]
asked = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(asked).to_bytes(8, "big")], [0, 1, 2])
server.sendall(asked)
status = int(server.recv(16) or b"1")
if status < 0:
    with contextlib.suppress(OSError):  # SIGKILL has no handler
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


class WarmPython:
    """A server and its two programs, as long as it is entered."""

    def __init__(self, folder: Path, libraries: Mapping[str, Sequence[str]] = LIBRARIES) -> None:
        """`folder` must not exist."""
        self.folder, self._libraries = folder, libraries
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "WarmPython":
        self.folder.mkdir()
        address = str(self.folder / "socket")
        for program in ("python", "snakemake"):
            real = sys.executable if program == "python" else str(Path(sys.executable).with_name(program))
            client = self.folder / program
            client.write_text(CLIENT.format(python=sys.executable, program=program, real=real, address=address))
            client.chmod(0o755)
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, __file__, address, str(self.folder / "python"), json.dumps(self._libraries)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )
        assert self._process.stdout and self._process.stdout.readline() == b"ready\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process
        self._process.communicate()  # its stdin is closed, and it ends


def _serve(address: str, python: str) -> None:
    """Until stdin is closed. Returns in each process that it forks, ready to run its script."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        if sys.stdin in select.select([sys.stdin, listener], [], [])[0]:
            os._exit(0)
        client, _ = listener.accept()
        if os.fork():
            client.close()
            continue
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _become(client, python)
        return


def _become(client: socket.socket, python: str) -> None:
    """Returns in the process that the client asked for; its parent stays with the client until one of the two ends."""
    header, files, _, _ = socket.recv_fds(client, 8, 3)
    asked = bytearray()
    while len(asked) < int.from_bytes(header, "big"):
        asked += client.recv(65_536)
    arguments, folder, environment = json.loads(asked)
    process = os.fork()
    with contextlib.suppress(OSError):  # by both, since either may be first
        os.setpgid(process, process)
    if process:
        for file in files:
            os.close(file)
        _attend(client, process)
    client.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv, sys.executable = arguments, python
    sys.path[0] = str(Path(arguments[0]).parent)


def _attend(client: socket.socket, process: int) -> None:
    """Tell the client how the process ended, or kill the process where the client is gone."""
    ended = os.pidfd_open(process)
    if client in select.select([client, ended], [], [])[0]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        client.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


if __name__ == "__main__":
    *where, libraries = sys.argv[1:]
    for name, attributes in json.loads(libraries).items():
        module = importlib.import_module(name)
        for attribute in attributes:
            getattr(module, attribute)
    gc.freeze()
    _serve(*where)
    runpy.run_path(sys.argv[0], run_name="__main__")
