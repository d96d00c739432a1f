"""A pre-forked pool: each free child gets the next job, and every process gets the results.

Run it with: python examples/federated/pool.py

The parent federates once, before it forks. A child says that it is free, and has the next job
sent on an exchange of its own; the answer is the word that it is free again.
"""

import os

import zexchange

WORKERS = 3
JOBS = range(1, 13)
free = zexchange.get_exchange("pool.free")


def serve(node, number):
    """Work until there is nothing more to do."""
    with node, zexchange.get_exchange(f"pool.jobs.{number}").stream() as jobs:
        node.wait_subscribers("pool.free", 1)
        node.wait_ready()  # whatever is sent to us from now on arrives
        free.send((number, None, None))
        while (job := jobs.get(timeout=20)) is not None:
            free.send((number, job, job**2))


def start(node, number):
    """Fork a worker; return its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            serve(node, number)
            status = 0
        finally:
            os._exit(status)
    return pid


def main():
    results, left = {}, list(JOBS)
    with free.stream(overflow="block") as answers, zexchange.federate("pool-example") as node:
        workers = [start(node, number) for number in range(WORKERS)]
        working = WORKERS
        while working:
            number, job, result = answers.get(timeout=20)
            if job is not None:
                results[job] = result
            next_job = left.pop(0) if left else None
            working -= next_job is None
            zexchange.get_exchange(f"pool.jobs.{number}").send(next_job)
        ends = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
    print("ended well:", not any(ends))
    for job, result in sorted(results.items()):
        print(job, result)


if __name__ == "__main__":
    main()
