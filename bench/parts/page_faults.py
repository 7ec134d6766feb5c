"""`python faults.py keep|default FILE...`: page faults and CPU ms of an image, in a process that only decodes."""

import resource
import sys
import threading
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from service.images.decode import decode
from service.system.memory import keep_heap


def main(choice: str, paths: list[str]) -> None:
    """Decode the files again and again in a thread, as the service does, and count from the second time on."""
    if choice == "keep":
        keep_heap()
    files = [Path(path).read_bytes() for path in paths]
    out = np.zeros((224, 224, 3), np.uint8)

    def work() -> None:
        for times in (2, 20):
            faults, began = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt, time.thread_time()
            for _ in range(times):
                for data in files:
                    decode(data, out, resize=256)
        count = times * len(files)
        faults = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - faults
        print(faults / count, (time.thread_time() - began) * 1000 / count)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
