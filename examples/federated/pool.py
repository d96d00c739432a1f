"""A pre-forked pool: each job goes to one child, and every process gets the results.

Run it with: python examples/federated/pool.py

The parent federates once, before it forks. The children are members of one group, so each job goes
to the one of them that has the fewest; the job of a child that dies goes to another.
"""

import os
import signal

import zexchange

WORKERS = 3
JOBS = range(1, 13)
jobs = zexchange.get_exchange("pool.jobs")
results = zexchange.get_exchange("pool.results")


def square(job):
    results.send((job, job**2))


def start(node):
    """Fork a worker that works until SIGTERM; return its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            jobs.handler(square, group="pool")
            with node:
                node.run()
            status = 0
        finally:
            os._exit(status)
    return pid


def main():
    with results.stream(overflow="block") as answers, zexchange.federate("pool-example") as node:
        workers = [start(node) for _ in range(WORKERS)]
        node.wait_subscribers("pool.jobs", WORKERS)
        node.wait_ready()  # the results of all of them reach us from now on
        for job in JOBS:
            jobs.send(job)
        found = dict(answers.get(timeout=20) for _ in JOBS)
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
        ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
    print("ended well:", not any(ends))
    for job, result in sorted(found.items()):
        print(job, result)


if __name__ == "__main__":
    main()
