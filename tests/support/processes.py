"""Starts several processes of one command, as torchrun does."""

import os
import socket
import subprocess

from repository import CHILD_PATH

PATIENCE = 600  # seconds, on a machine that does much else


def run_processes(command: list[str], size: int) -> list[str]:
    """The same command as rank 0, 1, ... of `size` -> what each printed; each must end with 0."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)} | CHILD_PATH
    processes = []
    for rank in range(size):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}
        environment = os.environ | world | place
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        processes.append(process)
    outputs = [process.communicate(timeout=PATIENCE)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * size, outputs
    return outputs
