"""The package deals with events in the life of a process: forks, exit, garbage collection, logging.

Other modules register here what a forked child has to repair, and queue calls for a thread that
holds no locks. Nothing here knows exchanges or tasks, or the purpose of the calls.
"""
