"""What a process does to the exchanges in it: it forks, ends, collects garbage and logs."""
