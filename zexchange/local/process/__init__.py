"""The package deals with what a process does: it forks, ends, collects garbage and logs.

Other modules register here what is to be mended, or queue what a thread without locks does for
them. Nothing here knows exchanges or tasks, or what it is that is mended, released or logged.
"""
