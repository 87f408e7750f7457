"""Where the tasks of the data engine run: in this process, in local processes, on Ray."""
