"""Where the library runs: the device, graph mode, and tasks on the OpenI platform."""
